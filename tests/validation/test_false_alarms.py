"""A sound log stays sound: no alarm over seeds, sizes and nights, whatever the noise."""

import shutil
from pathlib import Path

import pytest

from tests.validation.shop import copy, day_name, edit_description, validate, write_shop


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_night_after_a_sound_release_raises_no_alarm(seed: int, tmp_path: Path) -> None:
    write_shop(tmp_path / "new", days=9, searches=120, products=200, users=90, seed=seed)
    old = copy(tmp_path / "new", tmp_path / "old")
    for table in ("searches", "events"):
        shutil.rmtree(old / table / f"dt={day_name(8)}")
    edit_description(old, counts={}, window=[])
    first = validate(old, tmp_path / "one")
    second = validate(tmp_path / "new", tmp_path / "two", previous=first.folder / "statistics")
    for result in (first, second):
        assert result.open
        assert result.names == set(), result.verdict["alarms"]


def test_a_tiny_log_raises_no_alarm_by_its_size(tmp_path: Path) -> None:
    write_shop(tmp_path / "log", days=2, searches=12, products=200, users=4)
    result = validate(tmp_path / "log", tmp_path / "run")
    assert result.open
    assert result.names == set()


def test_a_first_day_has_nothing_to_compare_with_and_passes(tmp_path: Path) -> None:
    write_shop(tmp_path / "log", days=1, searches=200)
    result = validate(tmp_path / "log", tmp_path / "run")
    assert result.open
    assert any("nothing to compare with yet" in note for note in result.verdict["notes"])
