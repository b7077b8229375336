"""What a person accepts by name goes through, and stands in the verdict."""

from pathlib import Path

import pytest

from components.common.errors import BadSetting
from components.common.records import read_task_records
from components.validation.alarms import Alarms
from tests.validation.corruptions_files import half_a_day, partition_doubled_inside_its_file
from tests.validation.corruptions_traffic import category_tree_replaced
from tests.validation.shop import Result, copy, edit, file_of, validate


@pytest.fixture
def new_tree(sound_log: Path, tmp_path: Path) -> Path:
    log = copy(sound_log, tmp_path / "log")
    category_tree_replaced(log)
    return log


def test_a_closed_gate_says_what_to_accept(new_tree: Path, sound: Result, tmp_path: Path) -> None:
    result = validate(new_tree, tmp_path / "run", previous=sound.folder / "statistics")
    assert not result.open
    assert result.verdict["reason"].endswith("If this is meant, accept 'category_mix' by name.")


def test_the_reason_is_the_cause_and_not_what_follows_from_it(sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")
    half_a_day(log)
    result = validate(log, tmp_path / "run")
    assert {"search_volume", "event_volume"} < result.stops
    assert "hours 12 to 23 UTC" in result.verdict["reason"]
    assert result.verdict["alarms"][0]["name"] == "missing_hours"


def test_an_accepted_change_goes_through_and_is_recorded(new_tree: Path, sound: Result, tmp_path: Path) -> None:
    result = validate(new_tree, tmp_path / "run", previous=sound.folder / "statistics", accept="category_mix")
    assert result.open
    assert result.verdict["accepted"] == ["category_mix"]
    assert result.alarm("category_mix")["accepted"]
    assert result.alarm("category_mix")["severity"] == "stop"


def test_accepting_one_alarm_accepts_no_other(new_tree: Path, sound: Result, tmp_path: Path) -> None:
    result = validate(new_tree, tmp_path / "run", previous=sound.folder / "statistics", accept="brand_mix")
    assert not result.open
    assert "Accepted but not found: brand_mix." in result.verdict["notes"]


def test_the_accepted_tree_is_the_next_nights_usual(new_tree: Path, sound: Result, tmp_path: Path) -> None:
    accepted = validate(new_tree, tmp_path / "one", previous=sound.folder / "statistics", accept="category_mix")
    result = validate(new_tree, tmp_path / "two", previous=accepted.folder / "statistics")
    assert result.open
    assert "category_mix" not in result.names


def test_an_accepted_partition_stays_accepted_while_its_content_does(sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")
    partition_doubled_inside_its_file(log)
    names = "doubled_partition,bad_day,bad_events,counts"
    first = validate(log, tmp_path / "one", accept=names)
    second = validate(log, tmp_path / "two", previous=first.folder / "statistics", accept="counts")
    assert first.open
    assert second.open, second.verdict["reason"]
    assert second.alarm("doubled_partition")["accepted"]


def test_what_was_accepted_for_one_partition_is_accepted_for_no_other_and_for_no_other_alarm() -> None:
    alarms = Alarms(earlier=[("bad_day", "content of Monday"), ("counts", "")])
    alarms.add("bad_day", "Monday is bad.", scope="content of Monday")
    alarms.add("bad_day", "Tuesday is bad.", scope="content of Tuesday")
    alarms.add("doubled_partition", "Monday was written twice.", scope="content of Monday")
    alarms.add("counts", "The counts differ.")
    assert [item.sentence for item in alarms.closing()] == [
        "Monday was written twice.", "The counts differ.", "Tuesday is bad."
    ]  # fmt: skip
    assert alarms.acceptances() == [("bad_day", "content of Monday")]


def test_an_unknown_name_is_refused_before_any_work(sound_log: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"unknown alarm 'categry_mix'.*Did you mean 'category_mix'"):
        validate(sound_log, tmp_path / "run", accept="categry_mix")
    assert not (tmp_path / "run" / "checked").exists()


def test_a_shop_can_turn_an_alarm_into_a_warning(new_tree: Path, sound: Result, tmp_path: Path) -> None:
    previous = sound.folder / "statistics"
    result = validate(new_tree, tmp_path / "run", previous=previous, warn_only="category_mix")
    assert result.open
    assert result.alarm("category_mix")["severity"] == "warn"


def test_expectations_can_be_accepted_by_their_name() -> None:
    alarms = Alarms(accept=["titles_differ"], expectations=["titles_differ"])
    alarms.add("titles_differ", "The titles are all the same.")
    assert alarms.closing() == []


def test_of_many_alarms_of_one_name_the_run_notes_the_first(
    sound_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = copy(sound_log, tmp_path / "log")
    for day in range(6):
        edit(file_of(log, "events", day), lambda c: {**c, "action": ["CLICK"] * len(c["action"])})
    monkeypatch.setenv("TOWERLINE_RUN_DIR", str(tmp_path / "night"))
    result = validate(log, tmp_path / "run")
    assert sum(alarm["name"] == "bad_day" for alarm in result.verdict["alarms"]) == 6
    notes = read_task_records(tmp_path / "night")["validate_logs"]["notes"]
    assert sum("are bad. Most common" in note and " rows of 2024-03-" in note for note in notes) == 3
    assert "3 more alarms bad_day are in the report." in notes
