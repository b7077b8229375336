"""The errors a person sees: one sentence that says what was wrong, where, and what to do."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK = (*_FULL, errno.EROFS, errno.EACCES, errno.EIO)
"""The numbers of an OSError that speak of files alone; others may come from a socket."""


class TowerlineError(Exception):
    """Base of every expected failure. Its text is the sentence shown; `exit_code` is the command's exit status."""

    exit_code = 1


class BadInput(TowerlineError):
    """The data given does not follow its format: names the file or table, the column, the row and the value."""

    exit_code = 2


class BadSetting(TowerlineError):
    """A setting or argument is unknown, of the wrong type or out of range."""

    exit_code = 2


class NotFound(TowerlineError):
    """A path, model, release or run that was asked for does not exist."""

    exit_code = 2


class GateClosed(TowerlineError):
    """A gate (data, quality, infrastructure) refused; nothing that is served has changed."""

    exit_code = 3


class WorkdirBusy(TowerlineError):
    """Another run holds the work directory."""

    exit_code = 4


class Unavailable(TowerlineError):
    """A dependency (Milvus, feature store, Kubeflow) does not answer in time."""

    exit_code = 5


def disk_trouble(error: OSError) -> str:
    """What a failed read or write means and what to do, without a full stop."""
    reason = " ".join(str(error).split()).rstrip(".")
    if error.errno in _FULL:
        spare = "outputs/ of the work directory may go, a run makes it anew"
        return f"the disk is full ({reason}); make room ({spare}) and run this again"
    return f"a file could not be written or read ({reason}); mend that and run this again"
