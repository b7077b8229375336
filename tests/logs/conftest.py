"""Shared logs of these tests: the default marketplace, made once, and where real data may lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from components.logs.contract import Log
from components.logs.marketplace.day import make_day
from components.logs.marketplace.generate import generate
from components.logs.marketplace.ranker import Ranker
from components.logs.marketplace.truth import Truth
from components.logs.marketplace.world import World, build_world
from components.logs.settings import LogSettings

SMALL = LogSettings(products=1000, days=3, history_days=4)


@dataclass(frozen=True)
class Market:
    """A generated log with everything that is known about it."""

    folder: Path
    log: Log
    truth: Truth
    world: World
    events: pd.DataFrame
    searches: pd.DataFrame


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """The marketplace of the default settings."""
    folder = tmp_path_factory.mktemp("market")
    generate(LogSettings(), folder / "log", folder / "truth")
    log = Log(folder / "log")
    return Market(
        folder,
        log,
        Truth.read(folder / "truth"),
        build_world(LogSettings()),
        log.read("events").to_pandas(),
        log.read("searches").to_pandas(),
    )


def day_alone(settings: LogSettings, today: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Searches and events of one day of the window, shard by shard, without any other day."""
    world = build_world(settings)
    ranker = Ranker(world)
    for shard in range(world.shards):
        day = make_day(world, ranker, today, shard)
        yield day.searches, day.events
