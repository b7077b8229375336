"""All that is done with releases: promote, upsert, canary, roll back, retire, list.

`current` is one line replaced atomically, so a server sees the old release or the new one. Each operation may be killed
anywhere and repeated: see `ledger`.
"""

import shlex
from pathlib import Path
from typing import Any, Literal

from components.common.errors import BadInput, BadSetting, GateClosed, NotFound, TowerlineError
from components.common.manifest import check_files, current_release_id, list_release_ids, read_release, verify_files
from components.releases.garbage import collect_garbage, retire
from components.releases.ledger import (
    Promotion,
    in_force,
    last_position,
    now,
    point_at,
    read_record,
    read_rollout,
    releases_lock,
    settle,
    withdraw,
)
from components.releases.promotion import promote
from components.releases.rollout import abort, advance, canary_state, finish, start_canary
from components.releases.upsert import upsert_and_promote

__all__ = [
    "change_canary",
    "collect_garbage",
    "list_releases",
    "promote",
    "retire",
    "rollback",
    "upsert_and_promote",
]


def rollback(workdir: Path, release_id: str | None = None) -> str:
    """Serves an earlier release again and returns its id: the one promoted before the served one, or the one named.

    Promotions after it are withdrawn, so that a second rollback goes further back. A rollback or promotion that was
    killed half-way is taken as the one to settle: a half-way rollback is finished, a half-way promotion taken back.

    Raises:
        NotFound: there is no earlier release, or no release of that id.
        GateClosed: the release was never promoted, so no gate ever opened for it.
        BadInput: its files were changed.
    """
    if not list_release_ids(workdir):
        place = shlex.quote(str(workdir))
        raise NotFound(f"{workdir} holds no release; `python pipeline.py run --workdir {place}` makes the first.")
    with releases_lock(workdir):
        if release_id is None and (finished := _settled_half_way(workdir)) is not None:
            return finished
        record = settle(workdir)
        served = current_release_id(workdir)
        target = release_id or _earlier(workdir, record, served)
        release = read_release(workdir, target)
        if all(entry.release != target for entry in record):
            raise GateClosed(
                f"release {target} was never promoted, so no gate has opened for it; run the pipeline to promote one."
            )
        verify_files(release)
        if target == served:
            return target
        position = last_position(record, target)
        if position is not None:
            record = withdraw(record, position)
        else:
            record = [*record, Promotion(target, now(), "rollback", served)]
        point_at(workdir, record, target)
    return target


def change_canary(
    workdir: Path, release_id: str | None, share: float | None, end: Literal["promote", "stop"] | None
) -> dict[str, Any]:
    """One change of the canary, or none when nothing is given; returns `rollout.canary_state` after it.

    With a release it starts one at the share; without, `share` changes the running one's. `end` "promote" gives the
    canary to everybody, "stop" takes it back. Raises BadSetting for a mixture, and what the operation raises.
    """
    if (end and (release_id or share is not None)) or (release_id and share is None):
        raise BadSetting("give a release with its --share, --share alone, --promote or --stop.")
    if end == "promote":
        finish(workdir)
    elif end == "stop":
        if abort(workdir, "it was stopped by hand.").get("stopped") is None:
            raise NotFound("there is no canary to stop.")
    elif release_id is not None and share is not None:
        start_canary(workdir, release_id, share)
    elif share is not None:
        advance(workdir, share)
    return canary_state(workdir)


def list_releases(workdir: Path) -> list[dict[str, Any]]:
    """All complete releases, oldest first, as plain values.

    Keys: release_id, current (bool), state, model, simulated, created_at, parent, promoted_at (None if never). `state`
    is served, canary, standby (a rollback may serve it), withdrawn (rolled back), candidate (never promoted) or broken
    (its manifest cannot be read, or a file is missing; then `problem` says which).
    """
    record, served = read_record(workdir), current_release_id(workdir)
    canary = read_rollout(workdir).get("canary")
    releases = []
    for release_id in list_release_ids(workdir):
        promoted = [entry for entry in record if entry.release == release_id]
        row: dict[str, Any] = {
            "release_id": release_id,
            "current": release_id == served,
            "state": _state(release_id, served, canary, record),
            "promoted_at": promoted[-1].at if promoted else None,
        }
        releases.append(row | _described(workdir, release_id))
    return releases


def _settled_half_way(workdir: Path) -> str | None:
    """The served release after settling a change that was cut off, or None when there was none."""
    record, served = read_record(workdir), current_release_id(workdir)
    wanted = in_force(record)
    if not wanted or wanted[-1] == served:
        return None
    if served is None:  # the pointer is lost: the last promotion whose release is there is finished again
        settle(workdir)
        return current_release_id(workdir)
    position = last_position(record, served)
    if position is not None:  # the promotion of a later release was cut off before anybody saw it
        point_at(workdir, withdraw(record, position), served)
        return served
    if any(entry.release == served for entry in record):  # withdrawn, but still served: a rollback was cut off
        settle(workdir)
        return current_release_id(workdir)
    return None


def _earlier(workdir: Path, record: list[Promotion], served: str | None) -> str:
    """The latest release in force other than the served one whose files are complete and unchanged."""
    for release_id in reversed(in_force(record)):
        if release_id == served:
            continue
        try:
            verify_files(read_release(workdir, release_id))
        except (NotFound, BadInput):
            continue
        return release_id
    raise NotFound("there is no earlier release to roll back to; `python pipeline.py releases` lists them.")


def _state(release_id: str, served: str | None, canary: str | None, record: list[Promotion]) -> str:
    if release_id == served:
        return "served"
    if release_id == canary:
        return "canary"
    if release_id in in_force(record):
        return "standby"
    return "withdrawn" if any(entry.release == release_id for entry in record) else "candidate"


def _described(workdir: Path, release_id: str) -> dict[str, Any]:
    try:
        release = read_release(workdir, release_id)
        check_files(release)
    except TowerlineError as error:
        empty = {"model": "", "simulated": False, "created_at": "", "parent": None}
        return empty | {"state": "broken", "problem": str(error)}
    names = ("model", "simulated", "created_at", "parent")
    return {name: getattr(release, name) for name in names}
