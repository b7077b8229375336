"""A run on this machine whose runner ends in ways that no task records."""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from components.common.lock import workdir_lock
from components.runs import local
from components.runs.commands import main
from components.runs.outputs import KEEP_RUNS, forget_changed_outputs
from components.runs.state import RunRequest, find_run, finish_run, settle_killed_runs, start_run
from tests.runs.test_outputs import make_entry


@pytest.fixture
def ended_by(monkeypatch):
    """Lets the runner end with an error."""

    def end(error):
        def execute(*_):
            if error is not None:
                raise error

        monkeypatch.setattr(local, "_execute", execute)

    return end


def run(workdir):
    return main(lambda **_: None, ["run", "--json", "--workdir", str(workdir)])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(30, "Read-only file system"), "a file could not be written or read ([Errno 30]"),
        (OSError(28, "No space left on device"), "the disk is full ([Errno 28] No space left on device); make room "),
        (RuntimeError("\x1b[91mtask x failed\x1b[0m"), "task x failed"),
        (None, "the run ended before its last task."),
    ],
)
def test_an_error_of_the_runner_is_the_runs_reason(tmp_path, capsys, ended_by, error, reason):
    ended_by(error)
    assert run(tmp_path) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["exit_code"]) == ("failed", 1)
    assert shown["reason"].startswith(reason)
    assert find_run(tmp_path, "latest")[1]["state"] == "failed"
    assert (tmp_path / "runs" / shown["run"] / "report.html").exists()


def test_a_run_that_was_stopped_says_so_at_once_and_is_over(tmp_path, capsys, monkeypatch, ended_by):
    ended_by(KeyboardInterrupt(signal.SIGTERM))
    patience = []  # below this process there may be servers of other tests, so nothing is ended for real
    monkeypatch.setattr(local, "end_descendants", patience.append)
    assert run(tmp_path) == 143
    assert patience == [5.0]
    assert capsys.readouterr().err == "run: stopped by SIGTERM; what is served is whole.\n"
    folder, settled = find_run(tmp_path, "latest")
    assert (settled["state"], settled["exit_code"]) == ("killed", 143)
    assert settled["reason"] == "the run was stopped by SIGTERM; nothing that is served changed."
    assert "The run was stopped by SIGTERM; nothing that is served changed." in (folder / "report.html").read_text()
    with workdir_lock(tmp_path, "the next run"):
        assert settle_killed_runs(tmp_path) == []


def test_what_a_run_leaves_in_the_temporary_folder_goes_with_it(tmp_path, capsys, monkeypatch):
    made = []

    def execute(*_):
        made.append(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
        made.append(tempfile.mkdtemp())  # as kfp does in this process, for the run as a whole
        assert all(Path(path).is_dir() for path in made)

    monkeypatch.setenv("TMPDIR", str(tmp_path / "is-not-there"))
    monkeypatch.setattr(local, "_execute", execute)
    before = tempfile.gettempdir()
    run(tmp_path)
    assert not any(Path(path).exists() for path in made)
    assert {str(Path(path).parent.parent) for path in made} == {before}
    assert tempfile.gettempdir() == before
    assert os.environ["TMPDIR"] == str(tmp_path / "is-not-there")


def test_what_a_killed_run_left_in_the_temporary_folder_goes_with_the_next_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, ended, other = (tmp_path / f"towerline-{name}" for name in ("run-1-x", "run-2-x", "run-11-x"))
    for folder in (killed, ended, other):
        (folder / "of a task").mkdir(parents=True)
    for run_id in ("run-1", "run-2"):
        start_run(tmp_path / "runs" / run_id, RunRequest(run_id, "marketplace", "", "mgdspr", {}), None)
    finish_run(tmp_path / "runs" / "run-2", None)  # killed when its last task had told how it ended
    monkeypatch.setattr(local, "_execute", lambda *_: None)
    run(tmp_path)
    assert not killed.exists()
    assert not ended.exists()
    assert other.exists()


def test_a_run_begins_in_a_tidy_work_directory_and_leaves_one(tmp_path, capsys, monkeypatch):
    outputs, unfinished = tmp_path / "outputs", tmp_path / "releases" / "20260101-030405-aaaaaa"
    changed = make_entry(outputs, "k1", "run-0")
    forget_changed_outputs(outputs)
    (changed / "f").write_text("changed in place")
    unfinished.mkdir(parents=True)
    for number in range(1, KEEP_RUNS + 2):
        (outputs / f"run-{number}").mkdir()
    seen = []

    def execute(*_):
        seen.extend([(outputs / ".kfp_cache" / "k1.json").exists(), unfinished.exists()])

    monkeypatch.setattr(local, "_execute", execute)
    run(tmp_path)
    assert seen == [False, False]
    assert len(list(outputs.glob("run-*"))) == KEEP_RUNS


@pytest.mark.parametrize(("own", "found"), [(None, "1000"), ("30000", "30000")])
def test_a_tasks_threads_spin_briefly_unless_told_otherwise(tmp_path, capsys, monkeypatch, own, found):
    seen = []
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if own:
        monkeypatch.setenv("GOMP_SPINCOUNT", own)
    monkeypatch.setattr(local, "_execute", lambda *_: seen.append(os.environ["GOMP_SPINCOUNT"]))
    run(tmp_path)
    assert seen == [found]
    assert os.environ.get("GOMP_SPINCOUNT") == own
