"""The public sets themselves, where TOWERLINE_DATA names them."""

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from components.logs.contract import Log
from components.logs.step import load_log

SETS = {
    "home-depot": ("home_depot", {"products": 54_667, "judgements": 74_067}),
    "chorus": ("chorus_icecat", {"products": 19_406, "searches": 135, "judgements": 3_668}),
    "jdsearch": ("jdsearch_sample", {}),
    "ubi": ("ubi_synthetic", {}),
}


@pytest.fixture(params=sorted(SETS))
def loaded(request, real_data, tmp_path) -> tuple[Log, dict[str, int]]:
    folder, counts = SETS[request.param]
    if not (real_data / folder).is_dir():
        pytest.skip(f"{real_data / folder} is absent")
    load_log(request.param, str(real_data / folder), "{}", tmp_path / "log", tmp_path / "truth")
    return Log(tmp_path / "log"), counts


def test_every_row_of_a_public_set_fits_the_contract(loaded):
    log, counts = loaded
    products = log.products()
    ids = products["product_id"]
    assert {name: log.description["counts"][name] for name in counts} == counts
    assert len(pc.unique(ids)) == len(ids)
    assert pc.all(pc.is_in(log.read("events")["product_id"], pc.unique(ids))).as_py() is not False
    for title in products["title"].to_pylist():
        assert title == unicodedata.normalize("NFC", title).strip()
        assert title
    if log.has["judgements"]:
        assert pc.all(pc.is_in(log.judgements()["product_id"], pc.unique(ids))).as_py()


def test_prices_of_chorus_are_no_cents(real_data, tmp_path):
    if not (real_data / "chorus_icecat").is_dir():
        pytest.skip("the Chorus set is absent")
    load_log("chorus", str(real_data / "chorus_icecat"), "{}", tmp_path / "log", tmp_path / "truth")
    prices = Log(tmp_path / "log").products()["price"].drop_null()
    assert pc.approximate_median(prices).as_py() < 1_000
    assert prices.type == pa.float64()
