"""Ways to break a log: each is caught by the right check with the right sentence, or stated to be harmless."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.validation import corruptions_files, corruptions_rows, corruptions_traffic
from tests.validation.corruption import REGISTER, Corruption
from tests.validation.shop import Result, copy, validate

TABLES = ("products", "searches", "events")


def test_the_table_holds_at_least_fifty_corruptions() -> None:
    modules = (corruptions_files, corruptions_rows, corruptions_traffic)
    assert len(REGISTER) >= 50
    assert len({item.damage.__module__ for item in REGISTER}) == len(modules)


@pytest.mark.parametrize("item", REGISTER, ids=lambda item: item.name)
def test_corruption_is_caught_or_harmless(item: Corruption, sound: Result, sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")
    item.damage(log)
    result = validate(log, tmp_path / "run", previous=sound.folder / "statistics")

    assert_nothing_is_lost(result)
    if item.harmless:
        assert result.open, result.verdict["reason"]
        assert not result.stops
        assert all(row["quarantined"] == 0 for row in result.verdict["rows"].values())
    if item.stops:
        assert not result.open
        assert item.stops in result.stops, result.verdict["alarms"]
    if item.warns:
        assert item.warns in result.names, result.verdict["alarms"]
        assert result.alarm(item.warns)["severity"] == "warn"
    if item.says:
        sentences = [i["sentence"] for i in result.verdict["alarms"] if i["name"] == (item.stops or item.warns)]
        assert any(all(text in sentence for text in item.says) for sentence in sentences), sentences
    if item.check:
        found = result.checks(item.table)
        assert item.check in found, found
        assert item.rows is None or found[item.check] == item.rows, found
    if item.check and not item.stops:
        assert result.open, result.verdict["reason"]


def assert_nothing_is_lost(result: Result) -> None:
    """quarantine + good = input, by the verdict and by counting the files."""
    for table in TABLES:
        stored = stored_rows(result.log / table)
        unreadable = stored_rows(result.folder / "quarantine" / "unreadable" / table)
        good, bad = result.count("checked", table), result.count("quarantine", table)
        assert good + bad + unreadable == stored, (table, good, bad, unreadable, stored)
        counts = result.verdict["rows"].get(table, {"in": 0, "good": 0, "quarantined": 0})
        assert counts == {"in": stored, "good": good, "quarantined": bad + unreadable}
    aside = result.folder / "quarantine" / "unreadable"
    kept = {path.relative_to(aside).as_posix() for path in aside.rglob("*.parquet")}
    assert kept == set(result.verdict["unreadable_files"])


def stored_rows(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.parquet"):
        try:
            total += pq.read_metadata(path).num_rows
        except (OSError, ValueError):
            continue  # a torn file holds no countable row; it is kept whole and compared by name
    return total
