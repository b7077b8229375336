"""What shoppers do with what they see: look, click, favourite, cart, order.

A click follows relevance, taste, what the visit is about, and things that have nothing to do with relevance: the rank,
the picture, a low price. An order follows a click and the product's quality, which moves no click.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from components.logs.contract import ACTIONS
from components.logs.marketplace.lexicon import SLOTS
from components.logs.marketplace.randomness import happens
from components.logs.marketplace.searching import Searches
from components.logs.marketplace.sessions import OCCASION, Sessions
from components.logs.marketplace.shoppers import Shoppers
from components.logs.marketplace.taste import taste
from components.logs.marketplace.world import World

PAGE, PAGES = 10, 3
IMPRESSION, CLICK, FAVOURITE, CART, ORDER = (
    ACTIONS.index(name) for name in ("impression", "click", "favourite", "cart", "order")
)
_NEXT_PAGE = 0.22
_BASE, _RELEVANT, _TASTE, _IN_MIND, _ATTRIBUTE = -5.6, 2.9, 1.6, 5.2, 0.35
_PICTURE, _CHEAP, _NEAR = 0.5, 0.5, 1.6
_GIFT_TASTE = 0.2  # what somebody else would like says little about one's own taste
_MOST_CLICKS = 6
_FAVOURITE, _CART, _ORDER = -2.9, -1.6, -1.25


@dataclass(frozen=True)
class Events:
    """Events of one day in any order, one row each."""

    time: NDArray[np.float64]  # seconds after midnight
    product: NDArray[np.int32]
    action: NDArray[np.int8]  # place in ACTIONS
    search: NDArray[np.int64]  # row of Searches, -1 outside search
    shopper: NDArray[np.int64]  # row of Shoppers, -1 for anonymous ones
    position: NDArray[np.int32]  # from 1, 0 outside search

    def __len__(self) -> int:
        return len(self.time)

    def later_searches(self, count: int) -> Events:
        """The same events, their searches counted from `count`."""
        return replace(self, search=np.where(self.search < 0, -1, self.search + count))


def join(parts: list[Events]) -> Events:
    """All events of several lists."""
    return Events(**{field.name: np.concatenate([getattr(part, field.name) for part in parts])
                     for field in fields(Events)})  # fmt: skip


def pages_seen(searches: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many products each searcher sees: pages are turned rarely."""
    draws = rng.random((searches, 1))
    turned = draws < np.array([_NEXT_PAGE**page for page in range(1, PAGES)])
    return PAGE * (1 + turned.sum(axis=1))


def react(
    world: World, shoppers: Shoppers, sessions: Sessions, searches: Searches, shown: NDArray[np.int32],
    rng: np.random.Generator,
) -> Events:  # fmt: skip
    """Impressions of the shown lists, int32 [searches, depth] (-1: no product), and the actions on them."""
    seen = (shown >= 0) & (np.arange(shown.shape[1]) < pages_seen(len(searches), rng)[:, None])
    who = sessions.shopper[searches.session]
    utility, liking = _utility(world, shoppers, sessions, searches, shown, who)
    looked = np.array([round(1 / (1 + 0.35 * rank**0.7), 6) for rank in range(shown.shape[1])], dtype=np.float32)
    clicked = happens(utility, rng.random(shown.shape, dtype=np.float32), looked) & seen
    clicked &= np.cumsum(clicked, axis=1) <= _MOST_CLICKS
    row, place = np.nonzero(seen)
    user = np.where(sessions.anonymous[searches.session], -1, who)
    parts = [
        Events(
            searches.time[row] + 0.2,
            shown[row, place],
            np.full(len(row), IMPRESSION, dtype=np.int8),
            row,
            user[row],
            (place + 1).astype(np.int32),
        )
    ]
    row, place = np.nonzero(clicked)
    order = (np.cumsum(clicked, axis=1) - 1)[row, place]
    time = searches.time[row] + 5.0 + 22.0 * order + 10.0 * rng.random(len(row))
    grade = utility[row, place] * np.float32(0.25)
    parts += funnel(
        world, shown[row, place], time, row, user[row], (place + 1).astype(np.int32), liking[row, place], grade, rng
    )
    return join(parts)


def funnel(
    world: World, product: NDArray[np.int32], time: NDArray[np.float64], search: NDArray[np.int64],
    user: NDArray[np.int64], position: NDArray[np.int32], liking: NDArray[np.float32], grade: NDArray[np.float32],
    rng: np.random.Generator,
) -> list[Events]:  # fmt: skip
    """The clicks given, and the favourites, carts and orders that follow them.

    Args:
        liking: taste of each clicked product. grade: what else speaks for it, relevance above all.
    """
    catalogue = world.catalogue
    draws = rng.random((3, len(product)), dtype=np.float32)
    favourite = happens(_FAVOURITE + np.float32(0.5) * liking + np.float32(0.2) * grade, draws[0])
    cart = happens(_CART + np.float32(0.35) * liking + np.float32(0.9) * grade, draws[1])
    good = (
        np.float32(0.7) * catalogue.quality[product] + np.float32(0.4) * world.shops.conversion[catalogue.shop[product]]
    )
    fresh = np.where(catalogue.born[product] >= 0, np.float32(0.4), np.float32(0))
    order = cart & happens(_ORDER + good + fresh + np.float32(0.3) * liking, draws[2])
    wait = rng.random((3, len(product)))
    events = []
    for action, rows, delay in (
        (CLICK, np.ones(len(product), dtype=bool), np.zeros(len(product))),
        (FAVOURITE, favourite, 2.0 + 4.0 * wait[0]),
        (CART, cart, 7.0 + 10.0 * wait[1]),
        (ORDER, order, 40.0 + 90.0 * wait[2]),
    ):
        events.append(
            Events(
                (time + delay)[rows],
                product[rows],
                np.full(int(rows.sum()), action, dtype=np.int8),
                search[rows],
                user[rows],
                position[rows],
            )
        )
    return events


def _utility(
    world: World, shoppers: Shoppers, sessions: Sessions, searches: Searches, shown: NDArray[np.int32],
    who: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """What speaks for a click on each product shown, and how much of it is taste; float32 [searches, depth] each."""
    catalogue = world.catalogue
    session = searches.session
    gift = np.where(sessions.source[session] == OCCASION, np.float32(_GIFT_TASTE), np.float32(1))
    liking = taste(world, shoppers, who, shown) * gift[:, None]
    utility = np.float32(_BASE) + np.float32(_RELEVANT) * world.relevance.grades(searches.wants, shown)
    utility += np.float32(_TASTE) * liking
    mind = sessions.shortlist[session]
    for place in range(mind.shape[1]):
        utility += np.where((shown == mind[:, place, None]) & (shown >= 0), np.float32(_IN_MIND), np.float32(0))
    # The colour somebody has in mind shows in this visit's clicks before any query names it.
    target = sessions.target[session][:, None]
    alike = (catalogue.type[shown] == catalogue.type[target]) & (gift[:, None] == 1)
    for slot in range(SLOTS):
        same = alike & (catalogue.slots[shown, slot] == catalogue.slots[target, slot])
        utility += np.where(same, np.float32(_ATTRIBUTE), np.float32(0))
    utility += np.float32(_PICTURE) * catalogue.appeal[shown]
    utility += np.float32(_CHEAP) * (np.float32(0.5) - catalogue.level[shown])
    local = np.array([kind.local for kind in world.lexicon.types])[catalogue.type[shown]]
    near = world.shops.place[catalogue.shop[shown]] == shoppers.place[who][:, None]
    utility += np.where(local, np.where(near, np.float32(_NEAR), np.float32(-0.3)), np.float32(0))
    return utility, liking
