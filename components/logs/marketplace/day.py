"""One shard of one day: its searches and events as tables, made without any other day or shard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.logs.contract import ACTIONS, EVENTS, SEARCHES
from components.logs.marketplace.browsing import around_searches, browse
from components.logs.marketplace.engagement import PAGE, PAGES, Events, join, react
from components.logs.marketplace.identifiers import numbered
from components.logs.marketplace.randomness import generator, uniform
from components.logs.marketplace.ranker import Ranker
from components.logs.marketplace.searching import Searches, make_searches
from components.logs.marketplace.sessions import Sessions, make_sessions
from components.logs.marketplace.shoppers import Shoppers, make_shoppers
from components.logs.marketplace.wants import Wants
from components.logs.marketplace.wording import query_codes, query_texts
from components.logs.marketplace.world import SHARD, World

_BLOCK = 8_192  # searches worked on at once: their candidates fit the processor's cache


@dataclass(frozen=True)
class Day:
    """What a shard of a day holds. `queries` and `wants` are its distinct queries and what they mean."""

    searches: pa.Table
    events: pa.Table
    queries: list[str]
    wants: Wants


def shard_shoppers(world: World, today: int, shard: int) -> Shoppers:
    """The shoppers of a shard as they are on a day."""
    number = np.arange(shard * SHARD, min((shard + 1) * SHARD, world.shoppers))
    return make_shoppers(world.seed, number, world.days, today, world.lexicon, world.brands, world.demand)


def make_day(world: World, ranker: Ranker, today: int, shard: int) -> Day:
    """The searches and events of one shard of day `today` (0 is the first day of behaviour), in order of time."""
    rng = generator(world.seed, "day", today, shard)
    shoppers = shard_shoppers(world, today, shard)
    visits = make_sessions(world, shoppers, today, False, rng)
    parts = [browse(world, shoppers, visits, today, rng)]
    searching = today >= world.settings.history_days
    sessions = make_sessions(world, shoppers, today, True, rng)
    sessions = sessions if searching else sessions.take(slice(0, 0))
    searches = make_searches(world, sessions, rng)
    if searching:
        parts.append(around_searches(world, shoppers, sessions, today, rng))
        for start in range(0, len(searches), _BLOCK):
            block = searches.take(slice(start, start + _BLOCK))
            shown = ranker.shown(block.wants, block.wording, today, PAGE * PAGES, rng)
            parts.append(react(world, shoppers, sessions, block, shown, rng).later_searches(start))
    codes, first, texts = _texts(world, searches)
    number = shard * 10**6 + np.argsort(np.argsort(searches.time, kind="stable"), kind="stable")
    ids = numbered("s", today * 10**11 + number, 15)
    midnight = int(datetime.combine(world.first_day + timedelta(days=today), time(), UTC).timestamp()) * 10**6
    return Day(
        _searches_table(world, shoppers, sessions, searches, ids, pa.array(texts).take(codes), midnight),
        _events_table(world, shoppers, join(parts), ids, midnight),
        texts,
        searches.wants.take(first),
    )


def user_ids(shoppers: Shoppers, rows: NDArray[np.int64]) -> pa.StringArray:
    """The ids of shoppers, null for row -1."""
    return numbered("u", shoppers.number[rows], 8, rows < 0)


def _texts(world: World, searches: Searches) -> tuple[pa.Array, NDArray[np.int64], list[str]]:
    """For each search the place of its text, for each text a search that has it, and the distinct texts."""
    if not len(searches):
        return pa.array([], pa.int64()), np.empty(0, np.int64), []
    _, first, codes = np.unique(query_codes(searches.wants, searches.wording), return_index=True, return_inverse=True)
    return pa.array(codes), first, query_texts(world, searches.wants.take(first), searches.wording.take(first))


def _searches_table(
    world: World, shoppers: Shoppers, sessions: Sessions, searches: Searches, ids: pa.Array, texts: pa.Array,
    midnight: int,
) -> pa.Table:  # fmt: skip
    who = sessions.shopper[searches.session]
    places = world.lexicon.places
    place = shoppers.place[who]
    drift = uniform(world.seed, "shopper/address", shoppers.number)[who] - 0.5
    unplaced = uniform(world.seed, "shopper/located", shoppers.number)[who] < 0.2
    columns = {
        "search_id": ids,
        "timestamp": _moments(searches.time, midnight),
        "query": texts.cast(pa.string()),
        "user_id": user_ids(shoppers, np.where(sessions.anonymous[searches.session], -1, who)),
        "latitude": pa.array(np.round(np.array([p[2] for p in places])[place] + 0.3 * drift, 3), mask=unplaced),
        "longitude": pa.array(np.round(np.array([p[3] for p in places])[place] - 0.3 * drift, 3), mask=unplaced),
        "country": pa.array([p[1] for p in places]).take(pa.array(place, mask=unplaced)),
    }
    table = pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in SEARCHES]))
    return table.take(pa.array(np.argsort(searches.time, kind="stable"))).cast(SEARCHES)


def _events_table(world: World, shoppers: Shoppers, events: Events, ids: pa.Array, midnight: int) -> pa.Table:
    moments = np.rint(events.time * 10**6).astype(np.int64)
    order = np.argsort(moments, kind="stable")
    outside = events.search[order] < 0
    columns = {
        "timestamp": pa.array(midnight + moments[order]).cast(EVENTS.field("timestamp").type),
        "product_id": numbered("p", events.product[order], 8),
        "action": pa.array(ACTIONS).take(pa.array(events.action[order])),
        "search_id": ids.take(pa.array(events.search[order], mask=outside)),
        "user_id": user_ids(shoppers, events.shopper[order]),
        "position": pa.array(events.position[order], mask=outside),
    }
    return pa.table(columns, schema=EVENTS)


def _moments(seconds: NDArray[np.float64], midnight: int) -> pa.Array:
    return pa.array(midnight + np.rint(seconds * 10**6).astype(np.int64)).cast(SEARCHES.field("timestamp").type)
