"""Runs the pipeline on this machine through kfp's local runner: a process a task, in this command's environment."""

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from components.common.errors import disk_trouble
from components.common.lock import workdir_lock
from components.common.manifest import current_release_id
from components.common.processes import OWNER, adopted_orphans, end_descendants
from components.common.stopping import exit_code
from components.runs.console import RunConsole
from components.runs.outputs import forget_changed_outputs, remove_old_outputs
from components.runs.report import write_report
from components.runs.state import (
    RunRequest,
    finish_run,
    settle_killed_runs,
    start_run,
    stop_run,
    without_colours,
)

_SCRATCH = "towerline-"
_PATIENCE_SECONDS = 5.0  # for tasks that are told to stop to put their files in order


def run_local(dag: Callable[..., Any], request: RunRequest, workdir: Path, arguments: dict[str, str]) -> dict[str, Any]:
    """Runs `dag` with `arguments` in the work directory and returns the settled `run.json`.

    Holds the work directory's lock for the whole run (WorkdirBusy otherwise), first puts in order what a killed run
    left behind, and never raises for a task's failure: the returned state and reason say what happened. The runner's
    own log goes to `runs/<run id>/log.txt`. A KeyboardInterrupt goes on, when no process of the run is left and its
    `run.json` and report say that it was stopped.
    """
    from components.releases.operations import collect_garbage, retire

    workdir = workdir.absolute()
    folder = workdir / "runs" / request.run_id
    outputs = workdir / "outputs"
    with workdir_lock(workdir, f"run {request.run_id}"):
        settle_killed_runs(workdir)
        _remove_scratch(workdir)
        collect_garbage(workdir)
        retire(workdir)
        forget_changed_outputs(outputs)
        start_run(folder, request, current_release_id(workdir))
        console = RunConsole(folder)
        environment = {
            "TOWERLINE_RUN_DIR": str(folder),
            "TOWERLINE_PROGRESS": console.progress_target(),
            OWNER: str(os.getpid()),
            "GX_ANALYTICS_ENABLED": "false",
            "PYTHONUNBUFFERED": "1",
            # Threads that spin while they wait stand still together when another process, such as a server, has a core:
            # after as many turns as OpenMP itself takes where there are more threads than cores, they sleep.
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000"),
        }
        failure = ""
        try:
            with (
                adopted_orphans(),
                _scratch(request.run_id) as scratch,
                _environment({**environment, "TMPDIR": scratch}),
                console,
                _captured(folder / "log.txt"),
            ):
                try:
                    _execute(dag, outputs, {**arguments, "workdir": str(workdir)})
                except RuntimeError as error:
                    failure = without_colours(str(error))
                except OSError as error:
                    failure = f"{disk_trouble(error)}."
                except KeyboardInterrupt:
                    end_descendants(_PATIENCE_SECONDS)
                    raise
        except KeyboardInterrupt as stop:
            stop_run(folder, exit_code(stop))
            write_report(workdir, request.run_id)
            raise
        run = finish_run(folder, current_release_id(workdir), failure)
        write_report(workdir, request.run_id)
        remove_old_outputs(outputs)
    return run


def _execute(dag: Callable[..., Any], outputs: Path, arguments: dict[str, str]) -> None:
    from kfp import local

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(outputs),
        raise_on_error=True,
        enable_caching=True,
    )
    with warnings.catch_warnings():
        # Resources, volumes and secrets are for the cluster; the local runner says of each that it ignores it.
        warnings.filterwarnings("ignore", message=".*(have no effect in the current local runner|ignored).*")
        dag(**arguments)


@contextlib.contextmanager
def _scratch(run_id: str) -> Iterator[str]:
    """A folder for the temporary files of the run and of this process: kfp makes some in both and removes none."""
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{run_id}-", ignore_cleanup_errors=True) as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder  # this process has looked at TMPDIR before
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def _remove_scratch(workdir: Path) -> None:
    """Removes what killed runs of the work directory left of theirs; called with its lock held, so none of it lives."""
    for path in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        run_id = path.name.removeprefix(_SCRATCH).rpartition("-")[0]
        if (workdir / "runs" / run_id / "run.json").is_file():
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _captured(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8", buffering=1) as file, contextlib.redirect_stdout(file):
        yield
