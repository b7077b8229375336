"""Removing what is not needed: old releases with their index, and what killed processes left behind.

A release goes in three moves: its directory is renamed so that it is no release any more, its collection on a Milvus
server is dropped, its files are removed. A process killed in between leaves the renamed directory, which the next
`collect_garbage` finishes.
"""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from components.common.candidates import dead_marks, is_held
from components.common.errors import TowerlineError, Unavailable
from components.common.files import fsync_directory
from components.common.manifest import (
    current_release_id,
    list_release_ids,
    read_release,
    release_directory,
    releases_directory,
)
from components.releases.ledger import Promotion, in_force, read_rollout, releases_lock, settle
from components.releases.log_statistics import remove_statistics, statistics_directory
from components.releases.server_index import drop_from_server

KEEP = 2
DropCollection = Callable[[str], None]
"""Drops the collection of a release, by its id, where it lies outside the release's directory; idempotent."""

_RETIRED = ".retired-"
_LEFTOVER = re.compile(r"^\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)$")
_LIVE_FILE_SECONDS = 60.0  # another process may be about to rename a younger file


def retire(workdir: Path, keep: int = KEEP, drop: DropCollection = drop_from_server) -> list[str]:
    """Removes releases that nobody may need: all but those of `servable` and the newest candidates.

    Of the candidates that were never promoted and are newer than the served release the last `keep` stay: a run may be
    testing one, and a gate that stays closed night after night fills no disk. Returns the ids that went. When the index
    does not answer, the release is gone from the list and the rest of it is finished by the next `collect_garbage`.
    """
    with releases_lock(workdir):
        record = settle(workdir)
        kept = servable(workdir, record, keep) | _candidates(workdir, record, keep)
        gone = []
        for release_id in list_release_ids(workdir):
            if release_id in kept or is_held(workdir, release_id):
                continue
            directory = release_directory(workdir, release_id)
            os.rename(directory, directory.with_name(f"{_RETIRED}{release_id}"))
            fsync_directory(directory.parent)
            gone.append(release_id)
    for release_id in gone:
        _remove_retired(workdir, release_id, drop)
    return gone


def servable(workdir: Path, record: list[Promotion], keep: int = KEEP) -> set[str]:
    """The releases that must stay: the served one, the last `keep` distinct ones in force, and a rollout's two.

    With 2 and more also the last one with other towers than the newest: however many upserts follow a night, the model
    before it can be served again.
    """
    rollout = read_rollout(workdir)
    latest: list[str] = []
    for release_id in reversed(in_force(record)):
        if release_id not in latest and (releases_directory(workdir) / release_id).is_dir():
            latest.append(release_id)
    wanted = {current_release_id(workdir), rollout.get("stable"), rollout.get("canary"), *latest[: max(1, keep)]}
    if keep > 1 and latest:
        towers = {entry.release: entry.quality.get("towers") for entry in record if entry.quality is not None}
        wanted.add(next((one for one in latest if towers.get(one) != towers.get(latest[0])), None))
    return {release_id for release_id in wanted if release_id}


def _candidates(workdir: Path, record: list[Promotion], keep: int) -> set[str]:
    """The last releases that were never promoted and are not older than the served one."""
    served = current_release_id(workdir)
    promoted = {entry.release for entry in record}
    newer = [
        release_id
        for release_id in list_release_ids(workdir)
        if release_id not in promoted and (served is None or not _older(workdir, release_id, served))
    ]
    return set(newer[-max(1, keep) :])


def collect_garbage(workdir: Path, drop: DropCollection = drop_from_server) -> list[str]:
    """Finishes cut-off changes and removes what killed processes left; returns the names of what went.

    A directory without a manifest is a killed run's unfinished candidate, unless a live process holds it
    (`candidates.hold_candidate`). Half-written files and half-removed releases go too; a release that was moved aside
    to be replaced, and never was, comes back.
    """
    folder = releases_directory(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    with releases_lock(workdir):
        _restore_replaced(folder)
        settle(workdir)
        doomed = [path for path in _leftovers(Path(workdir), folder) if not _is_held(Path(workdir), path)]
        for path in doomed:
            _remove(path, drop)
    retired = [path.name.removeprefix(_RETIRED) for path in sorted(folder.glob(f"{_RETIRED}*"))]
    for release_id in retired:
        _remove_retired(workdir, release_id, drop)
    return [path.name for path in doomed if not path.exists()] + retired


def _remove_retired(workdir: Path, release_id: str, drop: DropCollection) -> None:
    if _dropped(release_id, drop):
        remove_statistics(workdir, release_id)
        _remove_tree(releases_directory(workdir) / f"{_RETIRED}{release_id}")


def _remove(path: Path, drop: DropCollection) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif path.name.startswith(".") or _dropped(path.name, drop):
        _remove_tree(path)


def _dropped(release_id: str, drop: DropCollection) -> bool:
    """Drops the release's collection; False when the index does not answer: the files then stay until it does."""
    try:
        drop(release_id)
    except Unavailable:
        return False
    return True


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _leftovers(workdir: Path, folder: Path) -> list[Path]:
    young = time.time() - _LIVE_FILE_SECONDS
    found = []
    for path in sorted(entry for place in (folder, workdir, statistics_directory(workdir)) for entry in _inside(place)):
        if _LEFTOVER.match(path.name):
            if path.is_dir() or path.stat().st_mtime < young:
                found.append(path)
        elif _is_candidate(folder, path):
            found.append(path)
    return found + dead_marks(workdir)


def _is_candidate(folder: Path, path: Path) -> bool:
    """Whether it is a release's directory without its manifest."""
    named = path.parent == folder and path.is_dir() and not path.name.startswith(".")
    return named and not (path / "release.json").exists()


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _restore_replaced(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        match = _LEFTOVER.match(path.name)
        if match and match["kind"] == "old" and (path / "release.json").exists():
            original = folder / match["name"]
            if not original.exists():
                os.rename(path, original)


def _older(workdir: Path, release_id: str, served: str) -> bool:
    try:
        return read_release(workdir, release_id).created_at < read_release(workdir, served).created_at
    except TowerlineError:
        return release_id < served  # ids begin with their moment


def _is_held(workdir: Path, path: Path) -> bool:
    """Whether a leftover belongs to a candidate that a live process builds."""
    match = _LEFTOVER.match(path.name)
    return is_held(workdir, match["name"] if match else path.name)
