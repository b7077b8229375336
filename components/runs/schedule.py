"""The nightly run on this machine: one run per cron time, a missed night caught up once, never two at a time."""

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cronsim import CronSim, CronSimError

from components.common.errors import BadSetting, NotFound, TowerlineError
from components.common.files import read_json, write_json


def six_field_cron(text: str) -> str:
    """A five-field cron expression as the six fields Kubeflow wants (seconds first). Raises BadSetting.

    Kubeflow's client sends whatever it is given, so the expression is checked here.
    """
    fields = text.split()
    if len(fields) == 6:
        seconds, fields = fields[0], fields[1:]
    else:
        seconds = "0"
    try:
        if len(fields) != 5:
            raise CronSimError("it needs five fields")
        CronSim(" ".join(fields), datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise BadSetting(
            f'--cron "{text}" is not minute hour day month weekday, such as "0 3 * * *": {error}.'
        ) from error
    return " ".join([seconds, *fields])


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
    next time delays it. `wait(seconds)` returns True to end (default: never, an interrupt ends it).
    """
    wait = wait or threading.Event().wait
    path = workdir / "schedule.json"
    while True:
        now = datetime.now(UTC)
        try:
            state = read_json(path)
        except NotFound:
            state = _save(path, cron, now, "waiting", None)
        due, overdue = next_due(cron, datetime.fromisoformat(state["last"]), now)
        if state["state"] == "running":
            due, overdue = now, True
        if not overdue:
            print(f"next run at {due:%Y-%m-%d %H:%M} UTC", file=sys.stderr)
            if wait((due - now).total_seconds()):
                return 0
            continue
        _save(path, cron, due, "running", None)
        try:
            code = start()
        except TowerlineError as error:
            print(f"schedule: {error}", file=sys.stderr)
            code = error.exit_code
        _save(path, cron, due, "waiting", code)


def _save(path: Path, cron: str, last: datetime, state: str, code: int | None) -> dict[str, Any]:
    body = {"cron": cron, "last": last.isoformat(), "state": state, "exit_code": code}
    write_json(path, body)
    return body
