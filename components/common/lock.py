"""One run at a time in a work directory: a lock the operating system drops when its owner dies."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from components.common.errors import WorkdirBusy


@contextlib.contextmanager
def workdir_lock(workdir: Path, purpose: str, name: str = "lock") -> Iterator[None]:
    """Holds `<workdir>/<name>` while the block runs; raises WorkdirBusy naming the owner's pid, work and start time.

    The lock is `flock`: a killed owner releases it, so no stale lock can be left behind. The file's text only tells
    people who the owner is.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / name, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkdirBusy(_sentence(workdir, file.read())) from None
        file.seek(0)
        file.truncate()
        file.write(
            json.dumps(
                {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds"), "purpose": purpose}
            )
        )
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()
            file.flush()


def _sentence(workdir: Path, text: str) -> str:
    try:
        owner = json.loads(text)
        who = f"process {owner['pid']} ({owner['purpose']}) since {owner['since']}"
    except (json.JSONDecodeError, KeyError, TypeError):
        who = "another process"
    return f"the work directory {workdir} is held by {who}; wait for it, stop it, or use another --workdir."
