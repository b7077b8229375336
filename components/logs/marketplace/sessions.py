"""Visits: who comes on a day, what for, and which few products they have in mind.

A need has one of four sources: the shopper's project of the week, what they always come back for, what everybody wants
now, or an occasion. Project and habit bring back the same few products, so shoppers find things again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.calendar import season, start_times, weekday_factor
from components.logs.marketplace.postings import encounter, type_key
from components.logs.marketplace.randomness import mix, running, uniform
from components.logs.marketplace.shoppers import LASTING_TYPES, Shoppers, weekly_project
from components.logs.marketplace.taste import taste
from components.logs.marketplace.wants import ANY
from components.logs.marketplace.world import World

PROJECT, LASTING, TREND, OCCASION = range(4)
SHORTLIST = 8
SEARCHES_A_DAY = 2.15
VISITS_A_DAY = 0.3
"""Searches, and visits without a search, of an average shopper on an average day."""
_MET = 48  # products a shopper came across before the shortlist was made
_SEARCH_COUNTS = (0.6, 0.25, 0.1, 0.05)
_VIEW_COUNTS = (0.2, 0.25, 0.2, 0.15, 0.1, 0.06, 0.04)
_SOURCES = {True: (0.44, 0.34, 0.16, 0.06), False: (0.48, 0.40, 0.12, 0.0)}
_ANONYMOUS = {True: 0.12, False: 0.04}
_MOST_VISITS = 6
_KEPT_DAYS = 28


@dataclass(frozen=True)
class Sessions:
    """Visits of one day, one row each."""

    shopper: NDArray[np.int64]  # row of Shoppers
    anonymous: NDArray[np.bool_]
    start: NDArray[np.float64]  # seconds after midnight
    source: NDArray[np.int8]
    type: NDArray[np.int16]
    occasion: NDArray[np.int8]
    shortlist: NDArray[np.int32]  # [visits, SHORTLIST] products in mind, -1: fewer
    target: NDArray[np.int32]  # the one of them that queries describe
    steps: NDArray[np.int64]  # searches, or pages viewed in a visit without a search

    def __len__(self) -> int:
        return len(self.shopper)

    def take(self, rows: slice) -> Sessions:
        """Some of the visits."""
        return Sessions(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def make_sessions(world: World, shoppers: Shoppers, today: int, searching: bool, rng: np.random.Generator) -> Sessions:
    """The visits of a day, with searches or without."""
    counts = _SEARCH_COUNTS if searching else _VIEW_COUNTS
    mean = sum((place + 1) * share for place, share in enumerate(_SEARCH_COUNTS))
    rate = SEARCHES_A_DAY / mean if searching else VISITS_A_DAY
    rate *= world.settings.activity * weekday_factor(world, today)
    visits = np.minimum(rng.poisson(rate * shoppers.activity), _MOST_VISITS * max(1, int(world.settings.activity)))
    visits[shoppers.joined > today] = 0
    who = np.repeat(np.arange(len(shoppers)), visits)
    source = np.searchsorted(running(_SOURCES[searching]), rng.random(len(who)), side="right").astype(np.int8)
    occasion = np.where(source == OCCASION, rng.integers(0, len(world.lexicon.occasions), len(who)), ANY)
    kind = _types(world, shoppers, who, source, occasion, today, rng)
    shortlist = _shortlists(world, shoppers, who, source, kind, today, rng)
    favourite = (rng.random(len(who)) ** 2 * SHORTLIST).astype(np.int64)
    target = np.take_along_axis(shortlist, favourite[:, None], axis=1)[:, 0]
    return Sessions(
        shopper=who,
        anonymous=rng.random(len(who)) < _ANONYMOUS[searching],
        start=start_times(rng, len(who)),
        source=source,
        type=kind,
        occasion=occasion.astype(np.int8),
        shortlist=shortlist,
        target=np.where(target >= 0, target, shortlist[:, 0]).astype(np.int32),
        steps=np.searchsorted(running(counts), rng.random(len(who)), side="right") + 1,
    )


def _types(
    world: World, shoppers: Shoppers, who: NDArray[np.int64], source: NDArray[np.int8], occasion: NDArray[np.int64],
    today: int, rng: np.random.Generator,
) -> NDArray[np.int16]:  # fmt: skip
    """The type of product each visit is about."""
    wanted = season(world, today)
    kind = np.searchsorted(running(wanted), rng.random(len(who)), side="right")
    week = today // 7
    part = rng.integers(0, 2, len(who))
    project = weekly_project(world.seed, shoppers.number[who], week, part, season(world, week * 7))
    habit = (rng.random(len(who)) ** 1.5 * LASTING_TYPES).astype(np.int64)
    kind = np.where(source == PROJECT, project, kind)
    kind = np.where(source == LASTING, shoppers.types[who, habit], kind)
    place = rng.random(len(who))
    for code, named in enumerate(world.lexicon.occasions):
        rows = np.flatnonzero(occasion == code)
        kind[rows] = np.asarray(named.types)[(place[rows] * len(named.types)).astype(np.int64)]
    return kind.astype(np.int16)


def _shortlists(
    world: World, shoppers: Shoppers, who: NDArray[np.int64], source: NDArray[np.int8], kind: NDArray[np.int16],
    today: int, rng: np.random.Generator,
) -> NDArray[np.int32]:  # fmt: skip
    """Of the products of the type that a shopper met, those that suit best; the same for a month, but for occasions."""
    phase = mix(world.seed, "shortlist/phase", shoppers.number[who], kind) % np.uint64(_KEPT_DAYS)
    period = (today + phase.astype(np.int64)) // _KEPT_DAYS
    period = np.where(source == OCCASION, 1_000 + rng.integers(0, 1 << 40, len(who)), period)
    met = np.arange(_MET)
    draws = uniform(world.seed, "shortlist", shoppers.number[who][:, None], kind[:, None], period[:, None], met)
    products = encounter(world.index.type, type_key(kind), draws)
    liking = taste(world, shoppers, who, products) + np.float32(0.2) * (met % 3)
    liking[world.catalogue.born[products] > (today // 7 * 7)] = -np.inf
    best = np.argsort(-liking, axis=1, kind="stable")[:, :SHORTLIST]
    chosen = np.take_along_axis(products, best, axis=1)
    return np.where(np.isfinite(np.take_along_axis(liking, best, axis=1)), chosen, -1).astype(np.int32)
