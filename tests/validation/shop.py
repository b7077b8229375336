"""A small shop in the contract, written straight to Parquet: the sound log that every corruption starts from."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.logs.contract import EVENTS, PRODUCTS, SEARCHES
from components.validation.step import run

FIRST = datetime(2024, 3, 1, tzinfo=UTC)
DAY = 86_400_000_000
NOUNS = ("lamp", "chair", "drill", "kettle", "tent", "boots", "rug", "mixer", "desk", "bike")
ADJECTIVES = ("red", "small", "steel", "oak", "light", "garden", "classic", "folding", "blue", "heavy")


def day_name(index: int) -> str:
    return str((FIRST + timedelta(days=index)).date())


def write_shop(
    path: Path, days: int = 6, searches: int = 300, products: int = 400, users: int = 150, seed: int = 0
) -> None:
    """Writes a log: a uniform shop with a daily rhythm, ten products shown a search, position bias in the clicks."""
    rng = np.random.default_rng(seed)
    noun, adjective = rng.integers(0, len(NOUNS), products), rng.integers(0, len(ADJECTIVES), products)
    ids = np.array([f"p{i:05d}" for i in range(products)])
    catalogue = {
        "product_id": ids,
        "title": [f"{ADJECTIVES[adjective[i]]} {NOUNS[noun[i]]} model {i}" for i in range(products)],
        "brand": [f"brand {b}" for b in rng.integers(0, 12, products)],
        "category": [f"Home > {NOUNS[n]}s > {ADJECTIVES[a]}" for a, n in zip(adjective, noun, strict=True)],
        "shop_id": [f"s{b}" for b in rng.integers(0, 20, products)],
        "price": np.round(rng.lognormal(3.2, 0.6, products), 2),
        "in_stock": rng.random(products) < 0.9,
    }
    write_table(path / "products" / "part-00000.parquet", catalogue, PRODUCTS)
    hours = np.array([1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 6, 5, 5, 6, 7, 8, 9, 9, 7, 4, 2], dtype=float)
    counts = {"products": products, "searches": 0, "events": 0}
    by_noun = [np.flatnonzero(noun == n) for n in range(len(NOUNS))]
    for day in range(days):
        start = int(FIRST.timestamp() * 1e6) + day * DAY
        number = int(searches * rng.uniform(0.95, 1.05))
        hour = rng.choice(24, number, p=hours / hours.sum())
        times = np.sort(start + hour * 3_600_000_000 + rng.integers(0, 3_590_000_000, number))
        wanted = rng.integers(0, len(NOUNS), number)
        names = np.array([f"q{day:03d}-{i:05d}" for i in range(number)])
        user = np.array([f"u{u:04d}" for u in rng.integers(0, users, number)])
        table = {
            "search_id": names,
            "timestamp": times,
            "query": [
                NOUNS[w] if r < 0.4 else f"{ADJECTIVES[a]} {NOUNS[w]}" if r < 0.9 else f"cosy {NOUNS[w]}"
                for w, a, r in zip(wanted, rng.integers(0, len(ADJECTIVES), number), rng.random(number), strict=True)
            ],
            "user_id": user,
        }
        write_table(path / "searches" / f"dt={day_name(day)}" / "part-00000.parquet", table, SEARCHES)
        shown = np.stack([rng.choice(by_noun[w], 10, replace=len(by_noun[w]) < 10) for w in wanted])
        position = np.tile(np.arange(1, 11), (number, 1))
        clicked = rng.random((number, 10)) < 0.25 / np.sqrt(position)
        carted = clicked & (rng.random((number, 10)) < 0.4)
        ordered = carted & (rng.random((number, 10)) < 0.5)
        columns: dict[str, list[Any]] = {name: [] for name in EVENTS.names}
        stages = (("impression", np.ones_like(clicked)), ("click", clicked), ("cart", carted), ("order", ordered))
        for delay, (action, mask) in enumerate(stages):
            row, place = np.nonzero(mask)
            columns["timestamp"].append(times[row] + delay * 1_500_000 + place * 1_000)
            columns["product_id"].append(ids[shown[row, place]])
            columns["action"].append(np.full(len(row), action))
            columns["search_id"].append(names[row])
            columns["user_id"].append(user[row])
            columns["position"].append((place + 1).astype(np.int32))
        events = {name: np.concatenate(parts) for name, parts in columns.items()}
        order = np.argsort(events["timestamp"], kind="stable")
        events = {name: values[order] for name, values in events.items()}
        write_table(path / "events" / f"dt={day_name(day)}" / "part-00000.parquet", events, EVENTS)
        counts["searches"] += number
        counts["events"] += len(order)
    describe(path, counts, days)


def describe(path: Path, counts: dict[str, int], days: int, **changes: Any) -> None:
    """Writes log.json."""
    has = {"users": True, "times": True, "impressions": True, "locations": False, "judgements": False}
    body = {
        "source": "test shop",
        "simulated": True,
        "split": "time",
        "has": has,
        "window": [FIRST.isoformat(), (FIRST + timedelta(days=days)).isoformat()],
        "counts": counts,
        "fingerprint": "0" * 64,
        "notes": [],
    }
    (path / "log.json").write_text(json.dumps({**body, **changes}))


def edit_description(path: Path, **changes: Any) -> None:
    body = json.loads((path / "log.json").read_text())
    (path / "log.json").write_text(json.dumps({**body, **changes}))


def write_table(path: Path, columns: dict[str, Any], schema: pa.Schema | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {n: v if isinstance(v, pa.Array | pa.ChunkedArray) else _array(n, v, schema) for n, v in columns.items()}
    pq.write_table(pa.table(arrays), path, row_group_size=1_000)


def _array(name: str, values: Any, schema: pa.Schema | None) -> pa.Array:
    if schema is None or name not in schema.names:
        return pa.array(values)
    kind = schema.field(name).type
    return pa.array(values).cast(kind) if pa.types.is_timestamp(kind) else pa.array(values, kind)


def file_of(log: Path, table: str, day: int | None = None) -> Path:
    """The one file of a table, or of one of its days (-1 the last)."""
    if table == "products":
        return log / "products" / "part-00000.parquet"
    return sorted((log / table).glob("dt=*"))[-1 if day is None else day] / "part-00000.parquet"


def edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Rewrites a file after `change` worked on its columns, given as lists by name (times as microseconds)."""
    table = pq.read_table(path, partitioning=None)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name)
        columns[name] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    result = change(columns)
    schema = {"products": PRODUCTS, "searches": SEARCHES, "events": EVENTS}[_table_of(path)]
    write_table(path, columns if result is None else result, schema)


def _table_of(path: Path) -> str:
    return next(part for part in reversed(path.parts[:-1]) if part in ("products", "searches", "events"))


class Result:
    """What a run of the step left, with the helpers that assertions need."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self.verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
        self.open: bool = self.verdict["open"]

    def alarm(self, name: str) -> dict[str, Any] | None:
        return next((item for item in self.verdict["alarms"] if item["name"] == name), None)

    @property
    def names(self) -> set[str]:
        return {item["name"] for item in self.verdict["alarms"]}

    @property
    def stops(self) -> set[str]:
        return {i["name"] for i in self.verdict["alarms"] if i["severity"] == "stop" and not i["accepted"]}

    def quarantined(self, table: str) -> list[dict[str, Any]]:
        """The rows in quarantine of a table."""
        rows: list[dict[str, Any]] = []
        for path in sorted((self.folder / "quarantine" / table).rglob("*.parquet")):
            rows += pq.read_table(path, partitioning=None).to_pylist()
        return rows

    def checks(self, table: str) -> dict[str, int]:
        """Rows in quarantine by check."""
        counts: dict[str, int] = {}
        for row in self.quarantined(table):
            counts[row["check"]] = counts.get(row["check"], 0) + 1
        return counts

    def count(self, part: str, table: str) -> int:
        """Rows of a table in the checked log or in quarantine, read from the files."""
        files = sorted((self.folder / part / table).rglob("*.parquet"))
        return sum(pq.read_metadata(path).num_rows for path in files)


def validate(log: Path, folder: Path, previous: Path | None = None, accept: str = "", **settings: Any) -> Result:
    """Runs the step, without the expectation suites unless they are asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"expectations": "false", **{name: str(value) for name, value in settings.items()}}
    names = ("checked", "quarantine", "statistics", "verdict.json", "report.html")
    paths = [folder / name for name in names]
    run(log, *paths, json.dumps(options), str(previous or ""), accept)
    return Result(folder, log)


def copy(log: Path, target: Path) -> Path:
    shutil.copytree(log, target)
    return target
