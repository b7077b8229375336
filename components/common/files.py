"""Files that are never half-written, and fingerprints of their content."""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, NotFound

_CHUNK = 1 << 20


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by `text` atomically: a reader sees the old content or the new, also after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically. NaN and infinity are refused (ValueError): they are not JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The parsed content of a JSON file. Raises NotFound or BadInput with the path."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid JSON: {error}.") from error


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tree_fingerprint(directory: Path) -> str:
    """Hex SHA-256 over the relative names and contents of all files below a directory (or of the one file)."""
    directory = Path(directory)
    if not directory.exists():
        raise NotFound(f"{directory} does not exist.")
    if directory.is_file():
        return sha256_file(directory)
    digest = hashlib.sha256()
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        digest.update(f"{path.relative_to(directory).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def staged_directory(final: Path) -> Iterator[Path]:
    """A fresh sibling directory that becomes `final` in one rename when the block succeeds, and vanishes when it fails.

    An existing `final` is replaced: it is moved aside first and removed after the rename. What is written in the block
    is on disk before the rename; a hard link to an older file is as safe as that file is.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    staging.mkdir()
    begun = staging.stat().st_mtime_ns
    try:
        yield staging
        fsync_tree(staging, begun)
        if final.exists():
            aside = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
            os.rename(final, aside)
            os.rename(staging, final)
            shutil.rmtree(aside)
        else:
            os.rename(staging, final)
        fsync_directory(final.parent)
    finally:
        if staging.exists():
            shutil.rmtree(staging)


def link_tree(source: Path, target: Path) -> None:
    """Copies a directory by hard links where the file system allows it, by content otherwise."""
    for path in sorted(Path(source).rglob("*")):
        copy = Path(target) / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copy2(path, copy)


def fsync_tree(directory: Path, begun: int = 0) -> None:
    """Flushes every file below a directory to disk, but hard links to files last written before `begun`, ns since 1970.

    Those were flushed by whoever wrote them: a night links thousands of files of earlier nights, and asking the disk
    for each takes longer than the night's own work.
    """
    for path in Path(directory).rglob("*"):
        state = path.stat()
        if stat.S_ISREG(state.st_mode) and not (state.st_nlink > 1 and state.st_mtime_ns < begun):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def fsync_directory(directory: Path) -> None:
    """Flushes a directory's own entries, so that a rename in it survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
