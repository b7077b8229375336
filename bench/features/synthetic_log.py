"""A simulated log of any size for these benchmarks: shoppers, times and searches, no meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.files import write_json
from components.logs.contract import EVENTS, PRODUCTS, SEARCHES

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
SHOPPERS, PRODUCT_COUNT, QUERIES = 100_000, 50_000, 20_000
SEARCH_SHARE = 0.1
"""Searches per event; a search is answered by its click, half of the other events lie outside search."""


def write_log(folder: Path, events: int, days: int = 30, shoppers: int = SHOPPERS, seed: int = 7) -> None:
    """Writes a log of about this many behaviours (clicks, favourites, carts, orders; no impressions)."""
    generator = np.random.default_rng(seed)
    per_day = events // days
    first_search = 0
    for day in range(days):
        name = f"dt={np.datetime64(START_US + day * DAY_US, 'us').astype('datetime64[D]')}"
        n_searches = max(1, int(per_day * SEARCH_SHARE))
        times = np.sort(START_US + day * DAY_US + generator.integers(0, DAY_US - 3_600_000_000, n_searches))
        search_ids = _ids("s", first_search + np.arange(n_searches))
        first_search += n_searches
        searchers = generator.integers(0, shoppers, n_searches)
        searches = {
            "search_id": search_ids,
            "timestamp": times,
            "query": _ids("query ", generator.zipf(1.3, n_searches) % QUERIES),
            "user_id": _ids("u", searchers),
        }
        answered = np.arange(per_day) < n_searches
        source = np.where(answered, np.arange(per_day) % n_searches, 0)
        happened = np.where(
            answered,
            times[source] + generator.integers(1_000_000, 600_000_000, per_day),
            START_US + day * DAY_US + generator.integers(0, DAY_US, per_day),
        )
        columns = {
            "timestamp": happened,
            "product_id": _ids("p", generator.zipf(1.2, per_day) % PRODUCT_COUNT),
            "action": np.array(["click", "favourite", "cart", "order"])[
                generator.choice(4, per_day, p=[0.85, 0.05, 0.06, 0.04])
            ],
            "search_id": pc.if_else(pa.array(answered), search_ids.take(pa.array(source)), None),
            "user_id": _ids("u", np.where(answered, searchers[source], generator.integers(0, shoppers, per_day))),
            "position": pa.nulls(per_day, pa.int32()),
        }
        _write(searches, SEARCHES, folder / "searches" / name)
        _write(columns, EVENTS, folder / "events" / name)
    products = {"product_id": _ids("p", np.arange(PRODUCT_COUNT)), "title": _ids("product ", np.arange(PRODUCT_COUNT))}
    _write(products, PRODUCTS, folder / "products")
    write_json(
        folder / "log.json",
        {
            "source": "bench",
            "simulated": True,
            "split": "time",
            "has": {"users": True, "times": True, "impressions": False, "locations": False, "judgements": False},
            "window": ["2026-01-01T00:00:00+00:00", "2026-01-31T00:00:00+00:00"],
            "counts": {"products": PRODUCT_COUNT, "searches": first_search, "events": per_day * days},
            "fingerprint": f"bench-{events}-{days}-{seed}",
            "notes": ["simulated for a benchmark"],
        },
    )


def _ids(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pc.cast(pa.array(numbers), pa.string()), "")


def _write(columns: dict, schema: pa.Schema, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(columns.values())))
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        array = pa.nulls(rows, field.type) if values is None else pa.array(values)
        arrays.append(array.cast(field.type) if array.type != field.type else array)
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), folder / "part-0.parquet", compression="zstd")
