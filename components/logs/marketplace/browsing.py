"""Behaviour outside search: pages viewed from recommendations and shelves, around searches and without any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.engagement import Events, funnel, join
from components.logs.marketplace.postings import encounter, type_key
from components.logs.marketplace.randomness import gumbel
from components.logs.marketplace.searching import STEP_SECONDS
from components.logs.marketplace.sessions import SHORTLIST, Sessions
from components.logs.marketplace.shoppers import Shoppers
from components.logs.marketplace.taste import taste
from components.logs.marketplace.world import World

VIEW_SECONDS = 45.0
_OFFERED = 14  # products a page offers, of which one is opened
_IN_MIND = 3.0
_AFTER_SEARCH, _BEFORE_SEARCH = 0.3, 0.12


def browse(world: World, shoppers: Shoppers, visits: Sessions, today: int, rng: np.random.Generator) -> Events:
    """The pages viewed in visits without a search."""
    visit = np.repeat(np.arange(len(visits)), visits.steps)
    step = np.arange(len(visit)) - np.repeat(np.cumsum(visits.steps) - visits.steps, visits.steps)
    time = visits.start[visit] + VIEW_SECONDS * (step + 0.6 * rng.random(len(visit)))
    return view(world, shoppers, visits, visit, time, today, rng)


def around_searches(
    world: World, shoppers: Shoppers, sessions: Sessions, today: int, rng: np.random.Generator
) -> Events:
    """Pages viewed in visits with searches: some before the first, some between two and after the last."""
    before = np.flatnonzero(rng.random(len(sessions)) < _BEFORE_SEARCH)
    session = np.repeat(np.arange(len(sessions)), sessions.steps)
    step = np.arange(len(session)) - np.repeat(np.cumsum(sessions.steps) - sessions.steps, sessions.steps)
    after = np.flatnonzero(rng.random(len(session)) < _AFTER_SEARCH)
    time = sessions.start[session[after]] + STEP_SECONDS * step[after] + 160.0 + 10.0 * rng.random(len(after))
    rows = np.concatenate([before, session[after]])
    early = sessions.start[before] - 60.0 - 200.0 * rng.random(len(before))
    return view(world, shoppers, sessions, rows, np.concatenate([np.maximum(early, 1.0), time]), today, rng)


def view(
    world: World, shoppers: Shoppers, visits: Sessions, visit: NDArray[np.int64], time: NDArray[np.float64],
    today: int, rng: np.random.Generator,
) -> Events:  # fmt: skip
    """One product opened at each moment: of those in mind and some of the type, the one that suits best.

    Args:
        visit: row of `visits` each view belongs to. time: seconds after midnight.
    """
    kind, who = visits.type[visit], visits.shopper[visit]
    draws = rng.random((len(visit), _OFFERED - SHORTLIST))
    offered = np.concatenate([visits.shortlist[visit], encounter(world.index.type, type_key(kind), draws)], axis=1)
    liking = taste(world, shoppers, who, offered)
    utility = np.float32(1.8) * liking + gumbel(rng.random(offered.shape, dtype=np.float32))
    utility[:, :SHORTLIST] += np.float32(_IN_MIND)
    utility[(offered < 0) | (world.catalogue.born[offered] > today)] = -np.inf
    best = np.argmax(utility, axis=1)[:, None]
    known = np.isfinite(np.take_along_axis(utility, best, axis=1)[:, 0])
    product = np.take_along_axis(offered, best, axis=1)[known, 0]
    liked = np.take_along_axis(liking, best, axis=1)[known, 0]
    user = np.where(visits.anonymous[visit], -1, who)[known]
    nowhere = np.full(len(product), -1, dtype=np.int64)
    outside = np.zeros(len(product), dtype=np.int32)
    return join(
        funnel(world, product, time[known], nowhere, user, outside, liked, np.zeros(len(product), np.float32), rng)
    )
