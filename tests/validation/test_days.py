"""Which days are compared with which: every new one with the days before it, and none where days mean nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.validation.corruptions_traffic import add_a_program
from tests.validation.shop import FIRST, Result, copy, day_name, edit, edit_description, file_of, validate, write_shop

TABLES = ("searches", "events")


def _thinned(columns: dict[str, Any]) -> dict[str, Any]:
    """Every fifth row."""
    return {name: values[::5] for name, values in columns.items()}


def _window(log: Path, days: int) -> None:
    edit_description(log, counts={}, window=[FIRST.isoformat(), f"{day_name(days - 1)}T23:59:59"])


@pytest.fixture
def released(sound_log: Path, tmp_path: Path) -> Result:
    """The run on the first three days, as the served release's."""
    log = copy(sound_log, tmp_path / "released" / "log")
    for table in TABLES:
        for day in (3, 4, 5):
            shutil.rmtree(log / table / f"dt={day_name(day)}")
    _window(log, 3)
    return validate(log, tmp_path / "released" / "run")


@pytest.fixture
def thin_day(sound_log: Path, tmp_path: Path) -> Path:
    """A log of six days, of which the fifth has a fifth of its searches and what belongs to them."""
    log = copy(sound_log, tmp_path / "log")
    edit(file_of(log, "searches", 4), _thinned)
    kept: set[str] = set()
    edit(file_of(log, "searches", 4), lambda c: kept.update(c["search_id"]))
    edit(file_of(log, "events", 4), lambda c: _of(c, kept))
    edit_description(log, counts={})
    return log


def _of(columns: dict[str, Any], searches: set[str]) -> dict[str, Any]:
    keep = [row for row, name in enumerate(columns["search_id"]) if name in searches]
    return {name: [values[row] for row in keep] for name, values in columns.items()}


def test_every_day_since_the_served_release_is_compared(released: Result, thin_day: Path, tmp_path: Path) -> None:
    result = validate(thin_day, tmp_path / "run", previous=released.folder / "statistics")
    assert result.verdict["judged_days"] == [day_name(3), day_name(4), day_name(5)]
    assert result.stops == {"search_volume", "event_volume"}
    alarm = result.alarm("search_volume")
    assert alarm is not None
    assert alarm["sentence"].startswith(f"{day_name(4)} has 6")
    assert "the 4 days before" in alarm["sentence"]
    assert "3 days are new since the served release; each was compared." in result.verdict["notes"]


def test_the_day_that_alarms_stands_beyond_the_limits_and_the_others_within(thin_day: Path, tmp_path: Path) -> None:
    verdict = validate(thin_day, tmp_path / "run").verdict
    limits = {item["measure"]: item for item in verdict["limits"]}
    assert set(limits) == {"searches", "impression", "click", "cart", "order"}
    for item in limits.values():
        first, *times = item["times"]
        assert first is None
        assert len(times) == len(verdict["days"]) - 1
        assert times[3] < 1 / item["stop"]
        assert all(1 / item["warn"] < value < item["warn"] for day, value in enumerate(times, 1) if day != 4)


def test_a_day_that_a_release_was_made_with_is_not_judged_again(thin_day: Path, tmp_path: Path) -> None:
    before = validate(thin_day, tmp_path / "before")
    again = validate(thin_day, tmp_path / "again", previous=before.folder / "statistics")
    assert again.verdict["judged_days"] == [day_name(5)]
    assert again.open


def test_a_repaired_day_is_judged_again(sound_log: Path, thin_day: Path, tmp_path: Path) -> None:
    before = validate(sound_log, tmp_path / "before")
    result = validate(thin_day, tmp_path / "run", previous=before.folder / "statistics")
    assert result.verdict["judged_days"] == [day_name(4), day_name(5)]
    assert "search_volume" in result.stops


def test_programs_are_looked_for_on_every_day_of_a_first_log(sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")

    edit(file_of(log, "searches", 2), add_a_program)
    edit_description(log, counts={})
    result = validate(log, tmp_path / "run")
    alarm = result.alarm("bot_traffic")
    assert alarm is not None
    assert f"searches of {day_name(2)}" in alarm["sentence"]


def test_days_of_a_log_split_by_query_are_not_compared_and_this_is_said(
    sound_log: Path, thin_day: Path, tmp_path: Path
) -> None:
    before = validate(sound_log, tmp_path / "before")
    for day in (3, 5):
        for table in TABLES:
            shutil.rmtree(thin_day / table / f"dt={day_name(day)}")
    edit_description(thin_day, split="query")
    result = validate(thin_day, tmp_path / "run", previous=before.folder / "statistics", expectations=True)
    assert result.open
    assert result.names == set()
    assert result.verdict["newest_day"] is None
    assert any(
        "split by query" in note and "volumes a day were not checked" in note for note in result.verdict["notes"]
    )
    assert "the log of the served release" in result.verdict["compared_with"]


@pytest.mark.parametrize(("earlier", "daily"), [((9, 10), True), ((0, 7), False)])
def test_a_usual_day_is_known_only_where_the_log_has_most_days(
    tmp_path: Path, earlier: tuple[int, int], daily: bool
) -> None:
    log = tmp_path / "log"
    write_shop(log, days=12, searches=60, products=60)
    for day in set(range(11)) - set(earlier):
        for table in TABLES:
            shutil.rmtree(log / table / f"dt={day_name(day)}")
    for place in (0, 1):
        edit(file_of(log, "searches", place), _thinned)
    edit_description(log, counts={})
    result = validate(log, tmp_path / "run", events_bad_share="1", day_bad_share="1")
    assert ("search_volume" in result.stops) == daily
    note = f"Only 2 of the 8 days from {day_name(0)} to {day_name(7)} hold searches"
    assert any(text.startswith(note) for text in result.verdict["notes"]) != daily
