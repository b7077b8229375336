"""A simulated log of any size for this benchmark: impressions, clicks and orders with position bias, no meaning."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.files import write_json
from components.logs.contract import EVENTS, PRODUCTS, SEARCHES

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
SHOWN = 10
PRODUCT_COUNT, WORDS = 50_000, 5_000


def day_name(day: int) -> str:
    """The partition's day, YYYY-MM-DD."""
    return str(np.datetime64(START_US + day * DAY_US, "us").astype("datetime64[D]"))


def write_log(folder: Path, events: int, days: int, seed: int = 7, shoppers: int = 50_000) -> None:
    """Writes about `events` events over `days` equal days, 10 of 12 of them impressions."""
    generator = np.random.default_rng(seed)
    numbers = np.arange(PRODUCT_COUNT)
    products = {
        "product_id": _ids("p", numbers),
        "title": _words(generator, PRODUCT_COUNT, 6),
        "brand": _ids("brand ", generator.integers(0, 500, PRODUCT_COUNT)),
        "category": _ids("Shop > Aisle ", generator.integers(0, 60, PRODUCT_COUNT)),
        "price": np.round(generator.lognormal(3, 1, PRODUCT_COUNT) + 0.5, 2),
    }
    write_table(products, PRODUCTS, folder / "products")
    counts = {"products": PRODUCT_COUNT, "searches": 0, "events": 0}
    for day in range(days):
        rows = write_day(folder, day, events // days, generator, shoppers)
        counts["searches"] += rows[0]
        counts["events"] += rows[1]
    describe(folder, counts)


def describe(folder: Path, counts: dict[str, int]) -> None:
    """Writes log.json."""
    has = {"users": True, "times": True, "impressions": True, "locations": False, "judgements": False}
    body: dict[str, Any] = {"source": "bench", "simulated": True, "split": "time", "has": has, "window": []}
    write_json(folder / "log.json", {**body, "counts": counts, "fingerprint": "", "notes": []})


def write_day(
    folder: Path, day: int, events: int, generator: np.random.Generator, shoppers: int = 50_000
) -> tuple[int, int]:
    """Writes one day's partitions; returns the rows of searches and of events."""
    searches = max(1, events // 12)
    hours = np.sin((np.arange(24) - 9) / 24 * 2 * np.pi) + 1.3
    hour = generator.choice(24, searches, p=hours / hours.sum())
    times = np.sort(START_US + day * DAY_US + hour * 3_600_000_000 + generator.integers(0, 3_500_000_000, searches))
    ids = _ids(f"s{day:04d}-", np.arange(searches))
    users = _ids("u", generator.integers(0, shoppers, searches))
    table = {"search_id": ids, "timestamp": times, "query": _words(generator, searches, 2), "user_id": users}
    write_table(table, SEARCHES, folder / "searches" / f"dt={day_name(day)}")

    shown = generator.integers(0, PRODUCT_COUNT, (searches, SHOWN))
    position = np.tile(np.arange(1, SHOWN + 1), (searches, 1))
    clicked = generator.random((searches, SHOWN)) < 0.3 / position
    ordered = clicked & (generator.random((searches, SHOWN)) < 0.2)
    parts = []
    for code, mask in ((0, np.ones_like(clicked)), (1, clicked), (4, ordered)):
        row, place = np.nonzero(mask)
        parts.append((row, place, np.full(len(row), code)))
    row, place, code = (np.concatenate(part) for part in zip(*parts, strict=True))
    moment = times[row] + code * 2_000_000 + place * 1_000
    order = np.argsort(moment, kind="stable")
    row, place, code, moment = row[order], place[order], code[order], moment[order]
    names = pa.array(["impression", "click", "favourite", "cart", "order"])
    columns = {
        "timestamp": moment,
        "product_id": _ids("p", shown[row, place]),
        "action": names.take(pa.array(code)),
        "search_id": ids.take(pa.array(row)),
        "user_id": users.take(pa.array(row)),
        "position": position[row, place],
    }
    write_table(columns, EVENTS, folder / "events" / f"dt={day_name(day)}")
    return searches, len(row)


def write_table(columns: dict[str, Any], schema: pa.Schema, folder: Path) -> None:
    """Writes one file `part-00000.parquet` with the columns in contract types."""
    arrays = [pa.array(v).cast(schema.field(n).type) if isinstance(v, np.ndarray) else v for n, v in columns.items()]
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_arrays(arrays, names=list(columns))
    pq.write_table(table, folder / "part-00000.parquet", compression="zstd", row_group_size=131_072)


def _ids(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pc.cast(pa.array(numbers), pa.string()), "")


def _words(generator: np.random.Generator, rows: int, count: int) -> pa.Array:
    vocabulary = _ids("word", np.arange(WORDS))
    picked = [vocabulary.take(pa.array(generator.zipf(1.3, rows) % WORDS)) for _ in range(count)]
    return pc.binary_join_element_wise(*picked, " ")
