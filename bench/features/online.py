"""Reading one shopper's windows online, beside a bare read of the same bytes; and how soon a pushed click is seen.

    python -m bench.features.online --shoppers 2000 --reads 2000 --pushes 200 [--redis 127.0.0.1:6379]

The log is simulated. Without `--redis` only SQLite is measured. Prints one JSON object a row, times in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.features.synthetic_log import START_US, write_log
from components.features.history import Behaviour
from components.features.repository import load_config, store_directory
from components.features.schema import PROJECT, SHOPPER
from components.features.step import build, materialise
from components.features.store import FeatureStoreClient
from components.features.windows import DAY_US, behaviour_windows

NOW_US = START_US + 40 * DAY_US


def timed(name: str, environment: str, number: int, work: Callable[[int], None]) -> None:
    """Runs `work(i)` `number` times and prints quantiles."""
    times = np.empty(number)
    for turn in range(number):
        started = time.perf_counter()
        work(turn)
        times[turn] = (time.perf_counter() - started) * 1000
    p50, p99 = np.percentile(times, [50, 99])
    row = {"what": name, "environment": environment, "n": number, "p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}
    print(json.dumps({**row, "simulated": True}), flush=True)


def bare_read(environment: str, workdir: Path, shoppers: list[str]) -> Callable[[int], None]:
    """Fetches the bytes of a shopper's features from the store itself, without Feast."""
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    config = load_config(environment, store_directory(workdir))
    keys = [
        serialize_entity_key(
            EntityKey(join_keys=[SHOPPER], entity_values=[Value(string_val=user_id)]),
            entity_key_serialization_version=3,
        )
        for user_id in shoppers
    ]
    if environment == "local":
        connection = sqlite3.connect(config.online_store.path)
        (table,) = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchone()
        query = f'SELECT feature_name, value FROM "{table}" WHERE entity_key = ?'

        def read(turn: int) -> None:
            assert len(connection.execute(query, (keys[turn % len(keys)],)).fetchall()) == 8

        return read
    from feast.infra.online_stores.redis import RedisOnlineStore

    client = RedisOnlineStore()._get_client(config.online_store)

    def read_redis(turn: int) -> None:
        assert len(client.hgetall(keys[turn % len(keys)] + PROJECT.encode())) == 9

    return read_redis


def measure(environment: str, sources: Path, workdir: Path, shoppers: list[str], reads: int, pushes: int) -> None:
    started = time.perf_counter()
    figures = materialise(sources, workdir, environment)
    seconds = time.perf_counter() - started
    print(json.dumps({"what": "materialise", "environment": environment, "seconds": round(seconds, 2), **figures}))
    client = FeatureStoreClient(workdir, environment)
    client.warm()
    timed("bare read of the same bytes", environment, reads, bare_read(environment, workdir, shoppers))
    timed("history", environment, reads, lambda turn: _read(client, shoppers[turn % len(shoppers)]))
    timed("history with all windows", environment, reads, lambda turn: _windows(client, shoppers[turn % len(shoppers)]))
    timed("push to visible", environment, pushes, lambda turn: _push(client, shoppers[turn % len(shoppers)], turn))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shoppers", type=int, default=2000)
    parser.add_argument("--events-each", type=int, default=100)
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--pushes", type=int, default=200)
    parser.add_argument("--redis", help="host:port of a Redis that may be written to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_log(folder / "log", arguments.shoppers * arguments.events_each, shoppers=arguments.shoppers)
        build(folder / "log", folder / "examples", folder / "sources")
        shoppers = [f"u{number}" for number in np.random.default_rng(3).permutation(arguments.shoppers)]
        if arguments.redis:
            os.environ["TOWERLINE_REDIS"] = arguments.redis
        for environment in ["local", *(["redis"] if arguments.redis else [])]:
            measure(environment, folder / "sources", folder / "work", shoppers, arguments.reads, arguments.pushes)


def _read(client: FeatureStoreClient, user_id: str) -> None:
    assert client.history(user_id)


def _windows(client: FeatureStoreClient, user_id: str) -> None:
    behaviour_windows(client.history(user_id), NOW_US)


def _push(client: FeatureStoreClient, user_id: str, turn: int) -> None:
    client.push(user_id, Behaviour(NOW_US + turn, f"pushed {turn}", "click"))
    while client.history(user_id).product_ids[-1] != f"pushed {turn}":
        pass


if __name__ == "__main__":
    main()
