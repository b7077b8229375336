"""When things happen: seasons, weeks, weekdays, hours."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.randomness import running, uniform
from components.logs.marketplace.world import World

LATEST_START = 84_000.0
"""No session starts later: the longest takes 40 minutes, and what happens on a day stays in its partition."""
_HOURS = (8, 5, 3, 2, 2, 4, 9, 17, 26, 33, 38, 42, 46, 44, 41, 41, 43, 48, 56, 66, 74, 70, 50, 24)
_WEEKDAYS = (0.95, 0.94, 0.95, 0.97, 1.0, 1.1, 1.14)
_SEASON_SWING = 0.6
_WEEK_SWING = 0.4


def season(world: World, today: int) -> NDArray[np.float64]:
    """How much each type is wanted on a day, summing to 1: lasting demand, time of year, and fashions of the week."""
    day = (world.first_day + timedelta(days=today)).timetuple().tm_yday
    peaks = world.lexicon.column("season")
    cosines = [
        round(1 + _SEASON_SWING * math.cos(2 * math.pi * (day / 365 - (peak - 0.5) / 12)), 6) if peak else 1.0
        for peak in peaks.tolist()
    ]
    types = np.arange(len(peaks))
    week, part = divmod(today, 7)
    now, then = (uniform(world.seed, "fashion", types, week + step) - 0.5 for step in (0, 1))
    fashion = 1 + _WEEK_SWING * 2 * (now * (7 - part) + then * part) / 7
    wanted = world.demand * cosines * fashion
    return wanted / wanted.sum()


def weekday_factor(world: World, today: int) -> float:
    """How busy a day is, 1 on average."""
    return _WEEKDAYS[(world.first_day + timedelta(days=today)).weekday()]


def start_times(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Seconds after midnight at which `count` sessions start."""
    hours = np.searchsorted(running(_HOURS), rng.random(count), side="right")
    return np.minimum((hours + rng.random(count)) * 3600.0, LATEST_START - 600.0 * rng.random(count))
