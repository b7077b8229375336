"""The nightly run on this machine: one run per cron time, a missed night caught up once, never two at a time."""

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cronsim import CronSim, CronSimError

from components.common.errors import BadInput, BadSetting, TowerlineError, disk_trouble
from components.common.files import read_json, write_json
from components.common.lock import workdir_lock

_LOOK_SECONDS = 60.0
"""How often the clock is looked at: a machine that slept, or whose clock was set, must not be late."""


def six_field_cron(text: str) -> str:
    """A five-field cron expression as the six fields Kubeflow wants (seconds first). Raises BadSetting.

    Kubeflow's client sends whatever it is given, so the expression is checked here.
    """
    fields = text.split()
    try:
        if len(fields) not in (5, 6):
            raise CronSimError("it needs five fields")
        CronSim(" ".join(fields), datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise BadSetting(
            f'--cron "{text}" is not minute hour day month weekday, such as "0 3 * * *": {error}.'
        ) from error
    return " ".join(["0", *fields][-6:])


def next_due(cron: str, last: datetime, now: datetime) -> tuple[datetime, bool]:
    """When the next run is due and whether it is overdue already.

    However many nights were missed since `last`, they are one overdue run: the latest of them.
    """
    due = next(CronSim(cron, last))
    if due > now:
        return due, False
    for moment in CronSim(cron, due):
        if moment > now:
            return due, True
        due = moment
    return due, True


def run_nightly(cron: str, workdir: Path, start: Callable[[], int], wait: Callable[[float], bool] | None = None) -> int:
    """Starts `start()` at every cron time (UTC) until stopped; returns 0 when `wait` says to end.

    The time and outcome of the last start are kept in `<workdir>/schedule.json`: a machine that was off at night, or
    was killed during the run, catches up one run when it comes back. Runs follow each other; a run that lasts past the
    next time delays it. `wait(seconds)` returns True to end (default: never, an interrupt ends it). It is asked for a
    minute at most. Raises WorkdirBusy for a second schedule of the same work directory.
    """
    with workdir_lock(workdir, f'schedule "{cron}"', "schedule.lock"):
        return _every_night(cron, workdir, start, wait or threading.Event().wait)


def _every_night(cron: str, workdir: Path, start: Callable[[], int], wait: Callable[[float], bool]) -> int:
    path = workdir / "schedule.json"
    said: datetime | None = None
    while True:
        now = datetime.now(UTC)
        last, running = _read(path, now)
        due, overdue = (now, True) if running else next_due(cron, last, now)
        if not overdue:
            if due != said:
                print(f"next run at {due:%Y-%m-%d %H:%M} UTC", file=sys.stderr)
                said = due
            if wait(min((due - now).total_seconds(), _LOOK_SECONDS)):
                return 0
            continue
        try:
            _save(path, due, "running", None)
            _save(path, due, "waiting", _code_of(start))
        except OSError as error:
            print(f"schedule: {path} could not be written ({error}); trying again in a minute.", file=sys.stderr)
            if wait(_LOOK_SECONDS):
                return 0


def _code_of(start: Callable[[], int]) -> int:
    """The exit code of one night; an error of it is one sentence, and the next night comes all the same."""
    try:
        return start()
    except TowerlineError as error:
        print(f"schedule: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"schedule: {disk_trouble(error)}.", file=sys.stderr)
        return 1


def _read(path: Path, now: datetime) -> tuple[datetime, bool]:
    """When the last run was due, and whether it was cut off.

    Now where nothing was kept, where it cannot be read, and where it lies in the future because the clock was set
    back: that is kept instead, and the next night is waited for.
    """
    if path.exists():
        try:
            state = read_json(path)
            last = datetime.fromisoformat(state["last"])
            if last <= now:
                return last, state["state"] == "running"
        except (BadInput, KeyError, TypeError, ValueError):
            print(f"schedule: {path} cannot be read; nights missed until now are not caught up.", file=sys.stderr)
    _save(path, now, "waiting", None)
    return now, False


def _save(path: Path, due: datetime, state: str, code: int | None) -> None:
    write_json(path, {"last": due.isoformat(), "state": state, "exit_code": code})
