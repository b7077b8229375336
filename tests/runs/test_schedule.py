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


@pytest.mark.parametrize(
    "text", ["not cron", "", "0 25 * * *", "0 3 * *", "1 2 3 4 5 6 7", "99 0 3 * * *", "0 0 30 2 *"]
)
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
        {"last": "2026-05-01T03:00:00+00:00", "state": "waiting", "exit_code": 0},
    )
    started = []

    def start():
        started.append(read_json(tmp_path / "schedule.json")["state"])
        return 3

    assert run_nightly(THREE, tmp_path, start, wait=lambda seconds: True) == 0
    assert started == ["running"], "so that a machine that goes off now catches the night up"
    assert read_json(tmp_path / "schedule.json")["exit_code"] == 3


def test_a_run_killed_half_way_is_started_again(tmp_path):
    now = datetime.now(UTC).isoformat()
    write_json(tmp_path / "schedule.json", {"last": now, "state": "running", "exit_code": None})
    started = []
    run_nightly(THREE, tmp_path, lambda: started.append(1) or 0, wait=lambda seconds: True)
    assert len(started) == 1


def test_the_first_night_is_waited_for(tmp_path):
    waited = []
    run_nightly(THREE, tmp_path, lambda: 1 / 0, wait=lambda seconds: waited.append(seconds) or True)
    assert 0 < waited[0] <= 60  # then the clock is looked at again


def test_a_busy_work_directory_does_not_end_the_schedule(tmp_path):
    write_json(
        tmp_path / "schedule.json",
        {"last": "2026-05-01T03:00:00+00:00", "state": "waiting", "exit_code": 0},
    )

    def start():
        raise WorkdirBusy("held.")

    assert run_nightly(THREE, tmp_path, start, wait=lambda seconds: True) == 0
    assert read_json(tmp_path / "schedule.json")["exit_code"] == 4


def nights(tmp_path, start=lambda: 0, looks=2):
    """The seconds that were waited for, over some looks at the clock."""
    waited = []
    run_nightly(THREE, tmp_path, start, wait=lambda seconds: waited.append(seconds) or len(waited) >= looks)
    return waited


def test_the_next_night_is_told_once(tmp_path, capsys):
    nights(tmp_path, looks=5)
    assert capsys.readouterr().err.count("next run at") == 1


def test_after_the_clock_was_set_back_the_next_night_comes(tmp_path):
    write_json(tmp_path / "schedule.json", {"last": "2199-05-01T03:00:00+00:00", "state": "waiting", "exit_code": 0})
    nights(tmp_path, start=lambda: 1 / 0)
    assert datetime.fromisoformat(read_json(tmp_path / "schedule.json")["last"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"last": "yesterday", "state": "waiting"}', '{"last": "2026-05-01"}']
)
def test_a_torn_state_is_said_and_the_next_night_comes(tmp_path, capsys, text):
    (tmp_path / "schedule.json").write_text(text)
    nights(tmp_path, start=lambda: 1 / 0)
    assert "cannot be read; nights missed until now are not caught up" in capsys.readouterr().err
    assert read_json(tmp_path / "schedule.json")["state"] == "waiting"


def test_a_full_disk_does_not_end_the_schedule(tmp_path, capsys, monkeypatch):
    write_json(tmp_path / "schedule.json", {"last": "2026-05-01T03:00:00+00:00", "state": "waiting", "exit_code": 0})

    def full(*_):
        raise OSError(28, "No space left on device")

    nights(tmp_path, start=full)
    assert read_json(tmp_path / "schedule.json")["exit_code"] == 1
    write_json(tmp_path / "schedule.json", {"last": "2026-05-01T03:00:00+00:00", "state": "waiting", "exit_code": 0})
    monkeypatch.setattr("components.runs.schedule.write_json", full)
    assert nights(tmp_path, start=lambda: 1 / 0) == [60, 60]
    assert "trying again in a minute" in capsys.readouterr().err


def test_a_second_schedule_of_a_work_directory_is_refused(tmp_path):
    def second(_):
        with pytest.raises(WorkdirBusy, match=r'is held by process \d+ \(schedule "0 3 \* \* \*"\)'):
            run_nightly(THREE, tmp_path, lambda: 0, wait=lambda seconds: True)
        return True

    assert run_nightly(THREE, tmp_path, lambda: 0, wait=second) == 0
    assert run_nightly(THREE, tmp_path, lambda: 0, wait=lambda seconds: True) == 0
