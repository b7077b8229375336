"""Other processes of this machine: whether one still runs, what this one started, and whom it works for."""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

OWNER = "TOWERLINE_OWNER_PID"
"""Environment variable that names the process for whose own use this one was started."""
_WATCH_SECONDS = 0.2
_OWNER_GONE = 70
_LOOK_SECONDS = 0.05
_SET_CHILD_SUBREAPER = 36  # prctl(2)


def is_alive(pid: int) -> bool:
    """True while a process with this id runs, whoever owns it; one that has ended and is not yet buried does not."""
    return _state_and_parent(pid)[0] not in ("", "Z", "X")


def descendants() -> list[int]:
    """The ids of all running processes below this one."""
    found = {pid: _state_and_parent(pid) for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*"))}
    below: list[int] = []
    parents = {os.getpid()}
    while parents:
        children = {pid for pid, (_, parent) in found.items() if parent in parents}
        below += sorted(pid for pid in children if found[pid][0] not in ("Z", "X"))
        parents = children
    return below


def end_descendants(seconds: float) -> None:
    """Waits until no process is left below this one, and kills what is left after `seconds`."""
    deadline = time.monotonic() + seconds
    while left := descendants():
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def adopted_orphans() -> Iterator[None]:
    """Inside, what a process below this one started and left behind counts as started by this one.

    A task stands behind a shell, and the shell is gone as soon as it is told to stop.
    """
    library = ctypes.CDLL(None)
    library.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        library.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _state_and_parent(pid: int) -> tuple[str, int]:
    """The state's letter and the parent's id as /proc has them; ("", 0) for a process that is not there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)


def end_with_owner() -> None:
    """Ends this process when the one that TOWERLINE_OWNER_PID names is gone, so that no orphan goes on; once.

    Local tasks are grandchildren of the run (a shell stands between), so the kernel's parent-death signal does not
    reach them; the run names itself and each task watches it.
    """
    owner = os.environ.get(OWNER, "")
    if not (owner.isascii() and owner.isdigit()) or int(owner) == os.getpid():
        return
    if all(thread.name != "owner-watch" for thread in threading.enumerate()):
        threading.Thread(target=_watch, args=(int(owner),), name="owner-watch", daemon=True).start()


def _watch(owner: int) -> None:
    while is_alive(owner):
        threading.Event().wait(_WATCH_SECONDS)
    os._exit(_OWNER_GONE)
