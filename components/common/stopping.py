"""Ctrl-C, SIGTERM and a closed terminal end a process in one way, and what it started with it."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from components.common.processes import descendants

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = tuple(128 + number for number in SIGNALS)
"""The exit codes of a process that one of them ended, as a shell counts them."""
_PATIENCE_SECONDS = 10.0
_UNTOUCHED = (signal.SIG_DFL, signal.default_int_handler)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Inside, the first of SIGNALS goes on to every process below this one and raises `KeyboardInterrupt(number)`.

    Those of the next ten seconds change nothing, as the work is being put in order; a later one ends the process at
    once. A signal that was ignored before, as nohup does, stays ignored. Nothing is changed outside the main thread.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
    first: list[float] = []

    def stop(number: int, _: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            for process in descendants():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGTERM)
            raise KeyboardInterrupt(number)
        if time.monotonic() - first[0] > _PATIENCE_SECONDS:
            os._exit(128 + number)

    for number, handler in before.items():
        if handler in _UNTOUCHED:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler in _UNTOUCHED:
                signal.signal(number, handler)


def exit_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a stopped process, as a shell counts it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + (stop.args[0] if stop.args else signal.SIGINT)


def stopped_by(code: int) -> str:
    """What such an exit code stands for, as in "it was stopped by hand"."""
    return "by hand" if code == 128 + signal.SIGINT else f"by {signal.Signals(code - 128).name}"
