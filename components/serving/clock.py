"""When a search is taken to happen: now, or, for a log that ended long ago, as long after its end as it is in use.

A shopper's windows reach back some days. Behind a log of last year, read by today's clock, every window would be empty
and the tower would see shoppers it was never trained on. So for a simulated or historical log the clock goes on from
the log's end, counted from when the release was made.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

HISTORICAL_DAYS = 7
_DAY_US = 86_400_000_000


def clock_of(
    kind: str,
    simulated: bool,
    log: Mapping[str, Any],
    created_at: str,
    wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Callable[[], int]:
    """A clock in microseconds since the epoch.

    kind: "wall"; "log", which goes on from the log's end; or "auto", which is "log" for a simulated log and for one
    that ended more than a week before the release was made. A log without times has the wall's clock.
    """
    end, made = _latest(log.get("window")), _latest(created_at)
    if kind == "wall" or end is None or made is None:
        return wall_us
    if kind == "auto" and not simulated and made - end < HISTORICAL_DAYS * _DAY_US:
        return wall_us
    behind = made - end
    return lambda: wall_us() - behind


def _latest(value: Any) -> int | None:
    """The latest moment in a text, or anywhere in a list or an object of them; None when there is none."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return max((moment for moment in map(_latest, value) if moment is not None), default=None)
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1_000_000)
