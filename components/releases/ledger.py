"""The record of promotions, `releases/promoted.json`, and the order in which a change of the served release is written.

Every change writes its intent into the record first and then moves the pointer `current`. A process killed between the
two leaves a record that is ahead of the pointer; `settle` finishes that change, and every operation begins with it. A
rolled-back promotion stays in the record, marked as withdrawn.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, TowerlineError, WorkdirBusy
from components.common.files import read_json, write_json
from components.common.manifest import current_release_id, read_release, releases_directory, rollout_path, set_current
from components.releases.log_statistics import make_newest

_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Promotion:
    """One entry of the record: which release was promoted when, by what, and why it was allowed.

    `action` is promote (both gates were open), rollback (served again after having been withdrawn or superseded) or
    adopt (found served without a record). `quality` and `infrastructure` are the blessings' `{"reason",
    "towers"}`. `withdrawn` is the moment a rollback took it back, or None.
    """

    release: str
    at: str
    action: str
    previous: str | None = None
    quality: dict[str, Any] | None = None
    infrastructure: dict[str, Any] | None = None
    withdrawn: str | None = None


def now() -> str:
    """The present moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def releases_lock(workdir: Path, wait_seconds: float = _WAIT_SECONDS) -> Iterator[None]:
    """One change of the releases at a time. Apart from the run's own lock, so that a rollback never waits for a run.

    It is `flock`, which a killed owner releases. Raises WorkdirBusy after `wait_seconds`.
    """
    folder = releases_directory(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a", encoding="utf-8") as file:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise WorkdirBusy(
                        f"another process has been changing the releases of {workdir} for {wait_seconds:g} seconds; "
                        "try again when it is done."
                    ) from None
                time.sleep(_LOOK_SECONDS)
        yield


def read_record(workdir: Path) -> list[Promotion]:
    """All promotions, oldest first. Raises BadInput for a record that cannot be read."""
    path = _path(workdir)
    if not path.exists():
        return []
    try:
        return [Promotion(**entry) for entry in read_json(path)]
    except (BadInput, TypeError) as error:
        reason = str(error).rstrip(".")
        raise BadInput(
            f"{path} is not a record of promotions: {reason}; restore it from a backup or delete it."
        ) from error


def write_record(workdir: Path, record: list[Promotion]) -> None:
    """Replaces the record atomically."""
    write_json(_path(workdir), [asdict(entry) for entry in record])


def in_force(record: list[Promotion]) -> list[str]:
    """Releases whose promotion was not withdrawn, in order; the last one is to be served."""
    return [entry.release for entry in record if entry.withdrawn is None]


def withdraw(record: list[Promotion], after: int) -> list[Promotion]:
    """The record with every entry behind position `after` withdrawn."""
    moment = now()
    return [
        entry if index <= after or entry.withdrawn else replace(entry, withdrawn=moment)
        for index, entry in enumerate(record)
    ]


def last_position(record: list[Promotion], release_id: str) -> int | None:
    """The position of the last promotion of a release that is in force, or None."""
    return next(
        (i for i in reversed(range(len(record))) if record[i].release == release_id and not record[i].withdrawn), None
    )


def point_at(workdir: Path, record: list[Promotion], release_id: str) -> None:
    """Writes the record, then the pointer, then ends a canary beside the old release: the order `settle` relies on."""
    write_record(workdir, record)
    _move_pointer(workdir, release_id)
    end_stale_canary(workdir)


def settle(workdir: Path) -> list[Promotion]:
    """Finishes a change that was cut off between record and pointer; returns the record. Call with the lock held.

    A served release that the record does not know (set by hand) is entered. A recorded release whose files are gone is
    withdrawn. A canary that was begun beside another release than the served one is ended. Once a server has stopped a
    canary, the next log is compared with that of the served release again.
    """
    record = _settle_pointer(workdir)
    end_stale_canary(workdir)
    if (rollout := read_rollout(workdir)).get("stopped"):
        make_newest(workdir, rollout["stable"])
    return record


def end_stale_canary(workdir: Path) -> None:
    """Removes `rollout.json` when its stable release is not the served one: it must not come back with a rollback.

    One that cannot be read goes too, so that no rollback waits until somebody has mended it.
    """
    path = rollout_path(workdir)
    if path.exists() and _rollout(path).get("stable") != current_release_id(workdir):
        path.unlink()


def _settle_pointer(workdir: Path) -> list[Promotion]:
    record, served = read_record(workdir), current_release_id(workdir)
    if served is not None and all(entry.release != served for entry in record):
        record.append(Promotion(served, now(), "adopt", previous=in_force(record)[-1] if in_force(record) else None))
        write_record(workdir, record)
        return record
    while (wanted := in_force(record)) and wanted[-1] != served:
        try:
            read_release(workdir, wanted[-1])
        except TowerlineError:
            position = last_position(record, wanted[-1])
            assert position is not None
            record = withdraw(record, position - 1)
            write_record(workdir, record)
            continue
        _move_pointer(workdir, wanted[-1])
        break
    return record


def _move_pointer(workdir: Path, release_id: str) -> None:
    set_current(workdir, release_id)
    make_newest(workdir, release_id)


def read_rollout(workdir: Path) -> dict[str, Any]:
    """The rollout; an empty one (`canary` None) without a readable one, or when another release is served by now."""
    served = current_release_id(workdir)
    path = rollout_path(workdir)
    rollout = _rollout(path) if path.exists() else {}
    if rollout.get("stable") != served:
        return {"stable": served, "canary": None, "percent": 0}
    return rollout


def _rollout(path: Path) -> dict[str, Any]:
    """What a rollout's file holds; nothing where that cannot be read."""
    with contextlib.suppress(TowerlineError):
        if isinstance(found := read_json(path), dict):
            return found
    return {}


def _path(workdir: Path) -> Path:
    return releases_directory(workdir) / "promoted.json"
