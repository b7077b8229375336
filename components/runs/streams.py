"""Standard streams that cannot end a command with a traceback: a closed pipe, a full disk, a terminal without UTF-8."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Gives closed streams somewhere to go, shows what a stream cannot encode by its number, and forgets at the end
    what a reader who has gone away will not read."""
    _open_closed_descriptors()
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        forget_unread_output()


def forget_unread_output() -> None:
    """Drops what is left of the output when its reader is gone, or Python would complain about it at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_descriptors() -> None:
    """A file that is opened later must not become descriptor 0, 1 or 2, which libraries print to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
