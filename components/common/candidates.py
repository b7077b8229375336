"""A mark on a release that is being built, so that nobody takes it for what a killed run left."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from components.common.manifest import releases_directory

_MARK = re.compile(r"^\.(?P<release_id>.+)\.hold$")


@contextlib.contextmanager
def hold_candidate(workdir: Path, release_id: str) -> Iterator[None]:
    """Marks a candidate as being built by this process until the block ends or the process dies (`flock`)."""
    path = _mark(workdir, release_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(open(path, "a", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX)
            if _lies_at(path, file):
                break  # else it was taken for a dead one and removed before it was locked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_held(workdir: Path, release_id: str) -> bool:
    """Whether a live process builds this candidate."""
    return _locked(_mark(workdir, release_id))


def held_candidates(workdir: Path) -> list[str]:
    """Ids of the candidates that live processes build."""
    return [name for name, path in _marks(workdir) if _locked(path)]


def dead_marks(workdir: Path) -> list[Path]:
    """Marks whose process is gone."""
    return [path for _, path in _marks(workdir) if not _locked(path)]


def _mark(workdir: Path, release_id: str) -> Path:
    return releases_directory(workdir) / f".{release_id}.hold"


def _marks(workdir: Path) -> list[tuple[str, Path]]:
    found = ((_MARK.match(path.name), path) for path in sorted(releases_directory(workdir).glob(".*.hold")))
    return [(match["release_id"], path) for match, path in found if match]


def _lies_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is the one that is found at the path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def _locked(path: Path) -> bool:
    try:
        with open(path, "r+", encoding="utf-8") as file:  # on NFS only what is open for writing is locked exclusively
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
