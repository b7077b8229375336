"""A run on this machine whose runner ends in ways that no task records."""

import json

import pytest

from components.runs import local
from components.runs.commands import main
from components.runs.state import find_run


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
        (OSError(28, "No space left on device"), "a file could not be written or read ([Errno 28]"),
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


def test_a_run_of_this_process_that_was_cut_off_is_settled_by_its_next(tmp_path, capsys, monkeypatch, ended_by):
    monkeypatch.setattr("components.runs.state.new_run_id", lambda: "run-1")
    ended_by(KeyboardInterrupt())
    assert run(tmp_path) == 130
    assert "stopped by hand; what is served is whole." in capsys.readouterr().err
    monkeypatch.setattr("components.runs.state.new_run_id", lambda: "run-2")
    ended_by(None)
    run(tmp_path)
    assert find_run(tmp_path, "run-1")[1]["state"] == "killed"
