"""Runs a materialisation in a process that kills itself (SIGKILL) at a chosen moment."""

import multiprocessing
import os
import signal
from pathlib import Path

from components.features import materialise as module
from components.features import online, repository
from components.features.step import materialise

MOMENTS = {
    "before the registry is in place": (repository.os, "replace", 1, "before"),
    "before the first batch": (online.OnlineHistories, "write", 1, "before"),
    "after the first batch": (online.OnlineHistories, "write", 1, "after"),
    "in the middle": (online.OnlineHistories, "write", 3, "after"),
    "before the marker": (online.OnlineHistories, "set_marker", 1, "before"),
    "after the marker": (online.OnlineHistories, "set_marker", 1, "after"),
    "after the record": (module, "_remember", 1, "after"),
}
"""Moment: (where, what, which call, before or after it)."""


def materialise_until_killed(moment: str, sources: Path, workdir: Path, environment: str) -> int:
    """Runs and returns the exit code; -9 when it was killed. The process is forked from a server that has Feast."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.features.killed", "feast", "ibis", "redis"])
    process = context.Process(target=_run, args=(moment, sources, workdir, environment, dict(os.environ)))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the process hung"
    return process.exitcode


def _run(moment: str, sources: Path, workdir: Path, environment: str, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    owner, name, number, when = MOMENTS[moment]
    original = getattr(owner, name)
    calls = 0

    def killing(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killing)
    materialise(sources, workdir, environment)
