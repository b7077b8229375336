"""Whether another process of this machine still runs."""

import os


def is_alive(pid: int) -> bool:
    """True while a process with this id exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
