"""Each day's volumes beside those of the days before it, with the limits that the gate holds them to."""

from datetime import date, timedelta
from typing import Any

import numpy as np

from components.logs.contract import ACTIONS
from components.validation.settings import ValidationSettings


def day_limits(days: list[dict[str, Any]], settings: ValidationSettings, shown: int) -> list[dict[str, Any]]:
    """How many times a usual day each of the last `shown` days is, of searches and of each action that occurs.

    Args:
        days: figures a day, in order (`day`, `searches`, and a count an action), as `frames.day_figures` gives them.

    Returns:
        One `{"measure", "setting", "warn", "stop", "times": [float or None a day shown]}` a measure. A usual day is the
        median of the `trailing_days` before; None is the first day, and one before the first search. Beyond `warn`, up
        or down, the gate says so, beyond `stop` it closes, unless chance or the days' own spread explains it.
    """
    searched = [day["day"] for day in days if day["searches"]]
    known = [day for day in days if not searched or day["day"] >= searched[0]]
    found = []
    for measure in ("searches", *ACTIONS):
        counts = {day["day"]: float(day[measure] or 0) for day in known}
        if not any(counts.values()):
            continue
        name = "searches_volume" if measure == "searches" else "events_volume"
        warn, stop = getattr(settings, name)
        times = [_times(counts, day["day"], settings.trailing_days) for day in days[-shown:]]
        found.append({"measure": measure, "setting": name, "warn": warn, "stop": stop, "times": times})
    return found


def _times(counts: dict[str, float], day: str, trailing: int) -> float | None:
    first = str(date.fromisoformat(day) - timedelta(days=trailing))
    before = [count for other, count in counts.items() if first <= other < day]
    usual = float(np.median(before)) if before else 0.0
    return counts[day] / usual if day in counts and usual else None
