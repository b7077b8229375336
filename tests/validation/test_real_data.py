"""The public sets through the data gate, where TOWERLINE_DATA names them."""

from pathlib import Path

import pytest

from components.logs.step import load_log
from tests.validation.shop import validate

SETS = {
    "home-depot": ("home_depot", {"products": 54_667, "searches": 11_795, "judgements": 74_067}),
    "chorus": ("chorus_icecat", {"searches": 135, "judgements": 3_668}),
    "jdsearch": ("jdsearch_sample", {"products": 421}),
    "ubi": ("ubi_synthetic", {"products": 825, "searches": 4_414}),
}


@pytest.mark.parametrize("source", SETS)
def test_a_public_set_passes_the_gate_with_all_its_products_and_searches(
    source: str, real_data: Path, tmp_path: Path
) -> None:
    folder, kept = SETS[source]
    if not (real_data / folder).is_dir():
        pytest.skip(f"{real_data / folder} is absent")
    load_log(source, str(real_data / folder), "{}", tmp_path / "log", tmp_path / "truth")
    result = validate(tmp_path / "log", tmp_path / "run")
    assert result.open, result.verdict["reason"]
    for table, rows in kept.items():
        assert result.verdict["rows"][table] == {"in": rows, "good": rows, "quarantined": 0}
