"""The canary: a share of the shoppers sees a new release before all do. Serving reads `releases/rollout.json`.

The file is `{"stable": id, "canary": id or null, "percent": 0..100}` and the blessings of the canary. Serving sends
shoppers to the canary only while `stable` is the served release, and writes `"stopped": {"release", "reason", "at"}`
with percent 0 when the canary breaks its budget. Which shoppers are in the share is serving's: it keeps a shopper in
the same release.
"""

from pathlib import Path
from typing import Any

from components.common.errors import BadSetting, GateClosed, NotFound
from components.common.files import write_json
from components.common.manifest import current_release_id, read_release, rollout_path
from components.releases.blessings import check_blessings
from components.releases.ledger import now, read_record, read_rollout, releases_lock, settle
from components.releases.log_statistics import make_newest
from components.releases.promotion import promote

Blessing = dict[str, Any]


def promote_to_share(workdir: Path, release_id: str, share: float, quality: Blessing, infrastructure: Blessing) -> str:
    """Gives a release to a share of the shoppers in percent: a promotion at 100, below it a canary.

    The first release has nothing to be compared with, so everybody gets it. Returns the id of the served release.
    Raises as `promote` and `start_canary`.
    """
    served = current_release_id(workdir)
    if share == 100 or served in (None, release_id):
        return promote(workdir, release_id, quality, infrastructure)
    start_canary(workdir, release_id, share, quality, infrastructure)
    return str(served)


def start_canary(
    workdir: Path,
    release_id: str,
    percent: float,
    quality: Blessing | None = None,
    infrastructure: Blessing | None = None,
) -> dict[str, Any]:
    """Shows `release_id` to `percent` of the shoppers; returns the rollout.

    A canary is served to people, so it needs both blessings as a promotion does; those not given are the ones that the
    release was promoted with, or was a canary with, before. Raises GateClosed, NotFound, BadInput, or BadSetting (a
    share out of range, or a release that is served already).
    """
    check_share(percent)
    with releases_lock(workdir):
        settle(workdir)
        kept = _kept_blessings(workdir, release_id)
        quality, infrastructure = quality or kept["quality"], infrastructure or kept["infrastructure"]
        stable = current_release_id(workdir)
        if stable is None:
            raise NotFound("nothing is served yet, so there is nothing to compare a canary with; promote the release.")
        if release_id == stable:
            raise BadSetting(f"release {release_id} is served to everybody already.")
        check_blessings(read_release(workdir, release_id), quality, infrastructure)
        rollout = {
            "stable": stable,
            "canary": release_id,
            "percent": percent,
            "started": now(),
            "quality": quality,
            "infrastructure": infrastructure,
        }
        write_json(rollout_path(workdir), rollout)
        return rollout


def advance(workdir: Path, percent: float) -> dict[str, Any]:
    """Changes the canary's share; returns the rollout. NotFound without a canary, GateClosed for a stopped one."""
    check_share(percent)
    with releases_lock(workdir):
        rollout = _running(workdir)
        rollout["percent"] = percent
        write_json(rollout_path(workdir), rollout)
        return rollout


def abort(workdir: Path, reason: str) -> dict[str, Any]:
    """Takes the canary back from everybody; the stable release goes on. Idempotent; returns the rollout."""
    with releases_lock(workdir):
        rollout = read_rollout(workdir)
        if rollout.get("canary") is None:
            return rollout
        stopped = rollout.get("stopped") or {"release": rollout["canary"], "reason": reason, "at": now()}
        rollout = {**rollout, "canary": None, "percent": 0, "stopped": stopped}
        write_json(rollout_path(workdir), rollout)
        make_newest(workdir, rollout["stable"])
        return rollout


def canary_state(workdir: Path) -> dict[str, Any]:
    """What `canary` shows: stable, canary (None without one), percent, started, and stopped with its reason."""
    rollout = read_rollout(workdir)
    return {name: rollout.get(name) for name in ("stable", "canary", "percent", "started", "stopped")}


def finish(workdir: Path) -> str:
    """Promotes the canary to everybody with the blessings it started with; returns its id."""
    with releases_lock(workdir):
        rollout = _running(workdir)
    return promote(workdir, rollout["canary"], rollout["quality"], rollout["infrastructure"])


def _running(workdir: Path) -> dict[str, Any]:
    rollout = read_rollout(workdir)
    if rollout.get("canary") is None:
        raise NotFound("there is no canary; `python pipeline.py canary RELEASE --share 10` starts one.")
    stopped = rollout.get("stopped")
    if stopped:
        raise GateClosed(f"the canary {rollout['canary']} was stopped: {stopped.get('reason')} End it with --stop.")
    return rollout


def _kept_blessings(workdir: Path, release_id: str) -> dict[str, Blessing]:
    """The blessings a release was shown to shoppers with; empty ones, which `check_blessings` refuses, where none."""
    rollout = read_rollout(workdir)
    if release_id in (rollout.get("canary"), (rollout.get("stopped") or {}).get("release")):
        return {gate: rollout.get(gate) or {} for gate in ("quality", "infrastructure")}
    for entry in reversed(read_record(workdir)):
        if entry.release == release_id and entry.quality and entry.infrastructure:
            return {"quality": entry.quality, "infrastructure": {**entry.infrastructure, "release": release_id}}
    return {"quality": {}, "infrastructure": {}}


def check_share(percent: float) -> None:
    """Raises BadSetting unless the share of a canary is a number from 0 to 100."""
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not number or not 0 <= percent <= 100:
        raise BadSetting(f"a canary's share must be 0 to 100 percent, not {percent!r}.")
