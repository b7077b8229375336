"""The canary: a share of the shoppers sees a new release before all do. Serving reads `releases/rollout.json`.

The file is `{"stable": id, "canary": id or null, "percent": 0..100}`. Serving sends shoppers to the canary only while
`stable` is the served release, and writes `"stopped": {"release", "reason", "at"}` with percent 0 when the canary
breaks its budget. Which shoppers are in the share is serving's: it keeps a shopper in the same release.
"""

from pathlib import Path
from typing import Any

from components.common.errors import BadSetting, GateClosed, NotFound
from components.common.files import write_json
from components.common.manifest import current_release_id, read_release
from components.releases.blessings import check_blessings
from components.releases.ledger import now, read_rollout, releases_lock, rollout_path, settle
from components.releases.promotion import promote


def start_canary(
    workdir: Path, release_id: str, percent: float, quality: dict[str, Any], infrastructure: dict[str, Any]
) -> dict[str, Any]:
    """Shows `release_id` to `percent` of the shoppers; returns the rollout.

    A canary is served to people, so it needs both blessings as a promotion does. Raises GateClosed, NotFound, BadInput,
    or BadSetting (a share out of range, or a release that is served already).
    """
    _check_percent(percent)
    with releases_lock(workdir):
        settle(workdir)
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
    _check_percent(percent)
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
        rollout = {"stable": rollout["stable"], "canary": None, "percent": 0, "stopped": stopped}
        write_json(rollout_path(workdir), rollout)
        return rollout


def finish(workdir: Path) -> str:
    """Promotes the canary to everybody with the blessings it started with; returns its id."""
    with releases_lock(workdir):
        rollout = _running(workdir)
    return promote(workdir, rollout["canary"], rollout["quality"], rollout["infrastructure"])


def _running(workdir: Path) -> dict[str, Any]:
    rollout = read_rollout(workdir)
    if rollout.get("canary") is None:
        raise NotFound("there is no canary; start one first.")
    stopped = rollout.get("stopped")
    if stopped:
        raise GateClosed(f"the canary {rollout['canary']} was stopped: {stopped.get('reason')} Abort it first.")
    return rollout


def _check_percent(percent: float) -> None:
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not number or not 0 <= percent <= 100:
        raise BadSetting(f"a canary's share must be 0 to 100 percent, not {percent!r}.")
