import os
import subprocess
import sys

import pytest

from components.common.errors import BadInput, GateClosed
from components.common.files import write_json
from components.common.gate import pass_gate
from components.common.records import read_task_records, task_record


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERLINE_RUN_DIR", str(tmp_path))
    return tmp_path


def test_a_task_leaves_its_state_notes_and_figures(run_folder):
    with task_record("load_log") as record:
        assert read_task_records(run_folder)["load_log"]["state"] == "running"
        record.note("one sentence.")
        record.note("one sentence.")
        record.figure("rows", 3)
    saved = read_task_records(run_folder)["load_log"]
    assert (saved["state"], saved["notes"], saved["figures"]) == ("done", ["one sentence."], {"rows": 3})


@pytest.mark.parametrize("text", ["", "[]", '{"state": "done"}'])
def test_a_damaged_record_hides_no_other(run_folder, text):
    with task_record("load_log"):
        (run_folder / "tasks" / "validate_logs.json").write_text(text)
    assert list(read_task_records(run_folder)) == ["load_log"]


def test_a_failed_task_keeps_its_sentence(run_folder):
    with pytest.raises(BadInput), task_record("load_log"):
        raise BadInput("table products lacks column title.")
    saved = read_task_records(run_folder)["load_log"]
    assert (saved["state"], saved["reason"]) == ("failed", "table products lacks column title.")
    assert saved["exit_code"] == BadInput.exit_code


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "the disk is full ([Errno 28] No space left on device); make room "),
        (ConnectionRefusedError(111, "Connection refused"), "ConnectionRefusedError: [Errno 111] Connection refused"),
    ],
)
def test_an_error_of_the_disk_says_what_to_do_and_one_of_a_socket_is_none(run_folder, error, reason):
    with pytest.raises(type(error), match=str(error.errno)), task_record("load_log"):
        raise error
    assert read_task_records(run_folder)["load_log"]["reason"].startswith(reason)


@pytest.mark.parametrize("verdict", [{"open": False, "reason": "no."}, {"open": "yes", "reason": "no."}, {"open": 1}])
def test_a_gate_opens_for_true_alone(run_folder, verdict):
    write_json(run_folder / "verdict.json", verdict)
    with pytest.raises(GateClosed):
        pass_gate("data_gate", run_folder / "verdict.json")
    assert read_task_records(run_folder)["data_gate"]["state"] == "closed"


def test_an_unreadable_verdict_never_opens_a_gate(run_folder):
    write_json(run_folder / "verdict.json", {"reason": "fine"})
    with pytest.raises(BadInput, match="lacks 'open'"):
        pass_gate("data_gate", run_folder / "verdict.json")


def test_an_open_gate_lets_through(run_folder):
    write_json(run_folder / "verdict.json", {"open": True, "reason": "fine."})
    pass_gate("data_gate", run_folder / "verdict.json")
    assert read_task_records(run_folder)["data_gate"]["notes"] == ["fine."]


def test_a_task_ends_when_its_run_is_killed(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    code = (
        "from components.common.records import task_record\nimport threading\n"
        "with task_record('x'):\n    print('up', flush=True)\n    threading.Event().wait(60)\n"
    )
    environment = {**os.environ, "TOWERLINE_OWNER_PID": str(owner.pid), "TOWERLINE_RUN_DIR": str(tmp_path)}
    task = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert task.stdout.readline() == "up\n"
    owner.kill()
    owner.wait()
    assert task.wait(timeout=30) == 70
