"""Whether another process of this machine still runs, and ending with the one that this process works for."""

import os
import threading

OWNER = "TOWERLINE_OWNER_PID"
"""Environment variable that names the process for whose own use this one was started."""
_WATCH_SECONDS = 0.2
_OWNER_GONE = 70


def is_alive(pid: int) -> bool:
    """True while a process with this id exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
