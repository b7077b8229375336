from datetime import UTC, datetime

import pytest

from components.common.errors import BadSetting, WorkdirBusy
from components.common.files import read_json, write_json
from components.runs.schedule import next_due, run_nightly, six_field_cron

THREE = "0 3 * * *"


def at(day, hour):
    return datetime(2026, 5, day, hour, tzinfo=UTC)


def test_five_fields_become_kubeflows_six():
    assert six_field_cron(THREE) == "0 0 3 * * *"
    assert six_field_cron("15 0 3 * * *") == "15 0 3 * * *"


@pytest.mark.parametrize("text", ["not cron", "", "0 25 * * *", "0 3 * *", "1 2 3 4 5 6 7"])
def test_a_wrong_cron_is_refused_here(text):
    with pytest.raises(BadSetting, match="minute hour day month weekday"):
        six_field_cron(text)


def test_the_next_run_is_due_at_the_next_time():
    assert next_due(THREE, at(1, 4), at(1, 12)) == (at(2, 3), False)


def test_three_missed_nights_are_one_overdue_run():
    assert next_due(THREE, at(1, 4), at(4, 12)) == (at(4, 3), True)


def test_a_night_missed_while_the_machine_was_off_is_run_once(tmp_path):
    write_json(
        tmp_path / "schedule.json",
        {"cron": THREE, "last": "2026-05-01T03:00:00+00:00", "state": "waiting", "exit_code": 0},
    )
    started = []
    assert run_nightly(THREE, tmp_path, lambda: started.append(1) or 3, wait=lambda seconds: True) == 0
    assert len(started) == 1
    assert read_json(tmp_path / "schedule.json")["exit_code"] == 3


def test_a_run_killed_half_way_is_started_again(tmp_path):
    now = datetime.now(UTC).isoformat()
    write_json(tmp_path / "schedule.json", {"cron": THREE, "last": now, "state": "running", "exit_code": None})
    started = []
    run_nightly(THREE, tmp_path, lambda: started.append(1) or 0, wait=lambda seconds: True)
    assert len(started) == 1


def test_the_first_night_is_waited_for(tmp_path):
    waited = []
    run_nightly(THREE, tmp_path, lambda: 1 / 0, wait=lambda seconds: waited.append(seconds) or True)
    assert 0 < waited[0] <= 86400


def test_a_busy_work_directory_does_not_end_the_schedule(tmp_path):
    write_json(
        tmp_path / "schedule.json",
        {"cron": THREE, "last": "2026-05-01T03:00:00+00:00", "state": "waiting", "exit_code": 0},
    )

    def start():
        raise WorkdirBusy("held.")

    assert run_nightly(THREE, tmp_path, start, wait=lambda seconds: True) == 0
    assert read_json(tmp_path / "schedule.json")["exit_code"] == 4
