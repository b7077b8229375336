"""Nights of a small shop as processes: `python pipeline.py run` started, watched, killed, and what is left of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from components.common.files import read_json
from components.common.processes import is_alive

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "logs.products=1000", "towers.epochs=1", "towers.dimension=16", "towers.lstm_layers=0", "towers.negatives=64",
    "towers.batch_size=128", "towers.title_queries=0", "towers.checkpoint_seconds=0.2",
    "evaluation.bootstrap_samples=100", "evaluation.lexical_margin=1", "evaluation.tolerance=1",
    "evaluation.slice_tolerance=1", "serving.smoke_requests=24",
)  # fmt: skip
"""A night of the smallest shop, whose gates open whatever a seed brings: what is tested is not its quality."""
VICTIMS = ("command", "all", "command", "all", "task")  # a task is tried again, so that night goes on to its end
_LOOK_SECONDS = 0.005


def start_night(workdir: Path, seed: int) -> subprocess.Popen[bytes]:
    """A run in a session of its own; the same seed again reuses what an earlier night has made."""
    temporary(workdir).mkdir(exist_ok=True)
    words = [sys.executable, "pipeline.py", "run", "--workdir", str(workdir)]
    for setting in (*SETTINGS, f"towers.seed={seed}"):
        words += ["--set", setting]
    null = subprocess.DEVNULL
    environment = {**os.environ, "TMPDIR": str(temporary(workdir))}
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stdin=null, stdout=null, stderr=null, start_new_session=True
    )


def temporary(workdir: Path) -> Path:
    """The folder of the nights' temporary files, which no completed night leaves anything in."""
    return workdir / "temporary"


def wait_for_end_of(task: str, night: subprocess.Popen[bytes], workdir: Path) -> bool:
    """Returns True the moment a night's task is done, False when the night has ended without it."""
    while night.poll() is None:
        for path in workdir.glob(f"runs/*-{night.pid:x}/tasks/{task}*.json"):
            if read_json(path)["state"] == "done":
                return True
        time.sleep(_LOOK_SECONDS)
    return False


def kill(night: subprocess.Popen[bytes], victim: str) -> None:
    """Kills the command, its latest process (as a kernel out of memory does), or all of them."""
    tasks = _started_by(night)
    for pid in {"command": [night.pid], "task": tasks[:1] or [night.pid], "all": [night.pid, *tasks]}[victim]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended meanwhile
            continue


def ended(night: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the command and all it started are gone within a time; what is left is killed."""
    deadline = time.monotonic() + seconds
    while night.poll() is None or _started_by(night):
        if time.monotonic() > deadline:
            kill(night, "all")
            night.wait()
            return False
        time.sleep(0.1)
    return True


def runs(workdir: Path) -> list[dict[str, Any]]:
    """`run.json` of each night, in the order they began."""
    return sorted((read_json(path) for path in workdir.glob("runs/*/run.json")), key=lambda run: str(run["started"]))


def last_task(night: subprocess.Popen[bytes], workdir: Path) -> str:
    """The task that a night was at, or after which it was killed; `before the first` without any."""
    found = [read_json(path) for path in workdir.glob(f"runs/*-{night.pid:x}/tasks/*.json")]
    return str(max(found, key=lambda task: str(task["started"]))["task"]) if found else "before the first"


def _started_by(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes of a run's session beside itself, latest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if pid != process.pid and os.getsid(pid) == process.pid and is_alive(pid):
                found.append(pid)
        except ProcessLookupError:  # it has just ended
            continue
    return sorted(found, reverse=True)
