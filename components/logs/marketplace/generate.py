"""Writes the marketplace as a log in the contract, partition by partition; any day can be made without the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from components.common.progress import Progress
from components.logs.marketplace.day import Day, make_day, shard_shoppers
from components.logs.marketplace.ranker import Ranker
from components.logs.marketplace.titles import day_of, product_rows
from components.logs.marketplace.truth import write_queries, write_shoppers, write_world
from components.logs.marketplace.world import World, build_world
from components.logs.settings import LogSettings
from components.logs.writer import LogWriter

_PRODUCT_ROWS = 65_536


def generate(settings: LogSettings, log: Path, truth: Path) -> dict[str, Any]:
    """Writes the whole log, and the truth beside it; returns the log's description. Simulated, and labelled so."""
    world = _world(settings)
    tasks = list(itertools.product(range(world.days), range(world.shards)))
    with LogWriter(log, "marketplace", simulated=True, split="time") as writer:
        writer.note("Simulated: made by the built-in marketplace; no real shopper, product or shop is in it.")
        write_products(world, writer)
        write_world(truth, world)
        for shard in range(world.shards):
            write_shoppers(truth, shard_shoppers(world, world.days - 1, shard), shard)
        with Progress(len(tasks), "marketplace", "partitions") as progress:
            for (today, shard), day in zip(tasks, _days(settings, tasks), strict=True):
                write_day(world, writer, truth, today, shard, day)
                progress.advance()
    return writer.description


def write_products(world: World, writer: LogWriter) -> None:
    """Writes the products table, a part at a time."""
    total = world.settings.products
    with Progress(total, "catalogue", "products") as progress:
        for start in range(0, total, _PRODUCT_ROWS):
            stop = min(start + _PRODUCT_ROWS, total)
            writer.write("products", product_rows(world, start, stop))
            progress.advance(stop - start)


def write_day(world: World, writer: LogWriter, truth: Path, today: int, shard: int, day: Day) -> None:
    """Writes one shard of a day into the log and the truth."""
    name = day_of(world, today).isoformat()
    if day.searches.num_rows:
        writer.write("searches", day.searches, name)
        write_queries(truth, name, shard, day.queries, day.wants)
    writer.write("events", day.events, name)


def _days(settings: LogSettings, tasks: list[tuple[int, int]]) -> Iterator[Day]:
    if settings.workers == 1:
        yield from (_make(settings, *task) for task in tasks)
        return
    with ProcessPoolExecutor(settings.workers, mp_context=get_context("spawn")) as pool:
        # Few are under way at a time, so that finished days do not pile up in memory.
        waiting = []
        for task in tasks:
            waiting.append(pool.submit(_make, settings, *task))
            if len(waiting) > 2 * settings.workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _make(settings: LogSettings, today: int, shard: int) -> Day:
    return make_day(_world(settings), _ranker(settings), today, shard)


@lru_cache(maxsize=1)
def _world(settings: LogSettings) -> World:
    return build_world(settings)


@lru_cache(maxsize=1)
def _ranker(settings: LogSettings) -> Ranker:
    return Ranker(_world(settings))
