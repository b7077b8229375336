"""The step: what it refuses at the start, and fingerprints that follow content."""

import shutil

import pytest

from components.common.errors import BadInput, BadSetting, NotFound
from components.logs.step import check_source, fingerprint_source, inspect, load_log
from tests.logs.test_contract import write_log


def test_an_unknown_source_is_named_with_the_known_ones():
    with pytest.raises(BadSetting, match=r"unknown source 'amazon'; known: marketplace, parquet.*own-data"):
        check_source("amazon", "")


def test_a_source_that_is_not_downloaded_needs_data():
    with pytest.raises(NotFound, match="source chorus needs --data PATH"):
        check_source("chorus", "")
    check_source("wands", "")
    check_source("marketplace", "")


def test_data_that_the_marketplace_would_not_read_is_refused_instead_of_simulated(tmp_path):
    with pytest.raises(BadSetting, match=r"--data .* needs the --source that reads it, .*`--source parquet`"):
        check_source("marketplace", str(tmp_path))


def test_a_fingerprint_follows_the_content_and_not_the_place(tmp_path):
    one = write_log(tmp_path / "one")
    other = shutil.copytree(one, tmp_path / "other")
    assert fingerprint_source("parquet", str(one), "{}") == fingerprint_source("parquet", str(other), "{}")
    part = next((other / "products").glob("*.parquet"))
    part.write_bytes(part.read_bytes() + b" ")
    assert fingerprint_source("parquet", str(one), "{}") != fingerprint_source("parquet", str(other), "{}")


def test_a_fingerprint_of_the_marketplace_follows_its_settings():
    base = fingerprint_source("marketplace", "", "{}")
    assert base == fingerprint_source("marketplace", "", '{"seed": "7"}')
    assert base != fingerprint_source("marketplace", "", '{"seed": "8"}')


def test_inspect_says_what_a_run_starts_from(tmp_path):
    found = inspect("marketplace", "", "{}", str(tmp_path))
    assert found.current_release == ""
    assert found.fingerprint == fingerprint_source("marketplace", "", "{}")


def test_a_load_that_fails_leaves_the_log_of_before(tmp_path):
    load_log("parquet", str(write_log(tmp_path / "good")), "{}", tmp_path / "log", tmp_path / "truth")
    before = (tmp_path / "log" / "log.json").read_text()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.csv").write_text("nothing,of,the,kind\n1,2,3,4\n")
    with pytest.raises(BadInput):
        load_log("home-depot", str(tmp_path / "bad"), "{}", tmp_path / "log", tmp_path / "truth")
    assert (tmp_path / "log" / "log.json").read_text() == before
