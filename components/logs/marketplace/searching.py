"""Searches: how a visit's need becomes queries, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.lexicon import SLOTS
from components.logs.marketplace.randomness import running
from components.logs.marketplace.relevance import BANDS
from components.logs.marketplace.sessions import Sessions
from components.logs.marketplace.wants import ANY, CHEAP, DEAR, Wants
from components.logs.marketplace.wording import COMPOUND, ORDERS, TWISTS, Wording
from components.logs.marketplace.world import World

STEP_SECONDS = 175.0
"""From one search of a visit to the next."""
_KINDS = (0.44, 0.26, 0.08, 0.09, 0.02, 0.03, 0.08)
_TYPE, _ONE, _TWO, _MAKER, _BRAND, _MODEL, _PRICE = range(len(_KINDS))
_TYPOS, _COMPOUNDS, _FILLERS = 0.04, 0.03, 0.05


@dataclass(frozen=True)
class Searches:
    """Searches of one day, one row each."""

    session: NDArray[np.int64]  # row of Sessions
    step: NDArray[np.int64]  # 0 for the first of a visit
    time: NDArray[np.float64]  # seconds after midnight
    wants: Wants
    wording: Wording

    def __len__(self) -> int:
        return len(self.session)

    def take(self, rows: slice) -> Searches:
        """Some of the searches."""
        return Searches(
            self.session[rows], self.step[rows], self.time[rows], self.wants.take(rows), self.wording.take(rows)
        )


def make_searches(world: World, sessions: Sessions, rng: np.random.Generator) -> Searches:
    """The searches of all visits.

    A visit's queries describe one product in mind, its target, to different depths. A later query more often uses the
    words of the catalogue: shoppers learn them from the titles they saw.
    """
    session = np.repeat(np.arange(len(sessions)), sessions.steps)
    step = np.arange(len(session)) - np.repeat(np.cumsum(sessions.steps) - sessions.steps, sessions.steps)
    wants = _wants(world, sessions, session, rng)
    return Searches(
        session=session,
        step=step,
        time=sessions.start[session] + step * STEP_SECONDS + 40.0 * rng.random(len(session)),
        wants=wants,
        wording=_wording(world, wants, step, rng),
    )


def _wants(world: World, sessions: Sessions, session: NDArray[np.int64], rng: np.random.Generator) -> Wants:
    catalogue, count = world.catalogue, len(session)
    target = sessions.target[session]
    occasion = sessions.occasion[session]
    kind = np.searchsorted(running(_KINDS), rng.random(count), side="right")
    # The shopper's own audience goes without saying more often than a colour does.
    first = np.searchsorted(running([0.4, 0.3, 0.3]), rng.random(count), side="right")
    second = (first + 1 + rng.integers(0, SLOTS - 1, count)) % SLOTS
    asked = np.zeros((count, SLOTS), dtype=bool)
    rows = np.arange(count)
    asked[rows, first] = (kind == _ONE) | (kind == _TWO)
    asked[rows, second] |= kind == _TWO
    level = catalogue.level[target]
    fitting = (level <= BANDS[0]) | (level >= BANDS[1])
    band = np.where(level >= BANDS[1], DEAR, CHEAP)
    plain = occasion == ANY
    branded = np.isin(kind, (_MAKER, _BRAND, _MODEL))
    return Wants(
        type=np.where(plain & ~np.isin(kind, (_BRAND, _MODEL)), sessions.type[session], ANY).astype(np.int16),
        slots=np.where(asked & plain[:, None], catalogue.slots[target], ANY).astype(np.int8),
        brand=np.where(branded & plain, catalogue.brand[target], ANY).astype(np.int32),
        product=np.where((kind == _MODEL) & plain, target, ANY).astype(np.int32),
        band=np.where((kind == _PRICE) & plain & fitting, band, ANY).astype(np.int8),
        occasion=occasion,
    )


def _wording(world: World, wants: Wants, step: NDArray[np.int64], rng: np.random.Generator) -> Wording:
    count = len(wants)
    overlap = world.settings.overlap
    # The share of title words rises with every step of a visit, and on average is what the setting says.
    titled = rng.random(count) < np.clip(overlap + 0.2 * (step - 0.6), 0, 1)
    titles = np.array([len(kind.titles) for kind in world.lexicon.types])[np.maximum(wants.type, 0)]
    said = np.array([len(kind.say) for kind in world.lexicon.types])[np.maximum(wants.type, 0)]
    skewed = rng.random(count) ** 2.0
    noun = np.where(titled, (skewed * titles).astype(np.int64), titles + (skewed * said).astype(np.int64))
    sayings = np.array([len(occasion.say) for occasion in world.lexicon.occasions])[np.maximum(wants.occasion, 0)]
    noun = np.where(wants.occasion >= 0, (skewed * sayings).astype(np.int64), noun)
    words = np.where(rng.random((count, SLOTS)) < overlap + 0.15, 0, 1 + rng.integers(0, 3, (count, SLOTS)))
    twist = np.where(rng.random(count) < _TYPOS, rng.integers(1, TWISTS + 1, count), 0)
    compound = (rng.random(count) < _COMPOUNDS) & (twist == 0) & (wants.type >= 0)
    order = np.where(rng.random(count) < 0.7, 0, rng.integers(0, ORDERS, count))
    filler = np.where(rng.random(count) < _FILLERS, rng.integers(1, 5, count), 0)
    filler = np.where(wants.band != ANY, (skewed * 4).astype(np.int64), filler)
    plain = (wants.type >= 0) & (wants.occasion == ANY)
    return Wording(
        noun=np.where(plain | (wants.occasion >= 0), noun, 0).astype(np.int8),
        words=np.where(wants.slots != ANY, words, 0).astype(np.int8),
        order=np.where((wants.type >= 0) | (wants.product >= 0), order, 0).astype(np.int8),
        twist=np.where(compound, COMPOUND, twist).astype(np.int8),
        filler=np.where(plain, filler, 0).astype(np.int8),
    )
