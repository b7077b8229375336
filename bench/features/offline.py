"""The path from log to training table, beside Feast's join alone and the same as-of join in plain DuckDB.

    python -m bench.features.offline --events 1000000 10000000
    python -m bench.features.offline --events 1000000 10000000 --in-proportion

The log is simulated (100,000 shoppers, a search per ten events, 30 days). With `--in-proportion` only the largest log
has all shoppers and every shopper of a smaller one does as much: otherwise ten times the events are histories ten times
as long, and the growth of the cost says more about them than about the number of events.

Every part runs in a process of its own, so that its peak memory is its own, after one tiny join: what Feast and ibis
import at first use is not counted. Prints one JSON object a part and checks the ratios of `expected.toml`, of
processor's seconds, so that a machine used by others measures the same; 1 and 10 million events are needed for all.
Ends with 1 where one is above what is expected.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.features.synthetic_log import SHOPPERS, write_log
from components.features.buckets import connect, literal
from components.features.examples import write_lists
from components.features.repository import PointInTimeJoin
from components.features.schema import FEATURES, SHOPPER, SNAPSHOT_TIME, SPLITS, TIMESTAMP
from components.features.settings import FeatureSettings
from components.features.snapshots import ShopperTracks
from components.features.step import build

BEHAVIOURS = pa.schema([(SHOPPER, pa.string()), ("us", pa.int64()), ("product_id", pa.string()), ("action", pa.int8())])
Work = Callable[[], int]
"""What is timed of a part; returns the number of examples."""
_FEAST_MB = 8_000
"""Memory that Feast's join alone may take before it spills."""
EXPECTED = tomllib.loads((Path(__file__).parent / "expected.toml").read_text(encoding="utf-8"))


def whole_path(folder: Path) -> Work:
    """Log to examples."""

    def work() -> int:
        figures = build(folder / "log", folder / "examples", folder / "sources")
        return sum(figures[f"{name}_rows"] for name in SPLITS)

    return work


def feast_join(folder: Path) -> Work:
    """Feast's join alone: all searches of the examples to all their snapshots on disk, in one call."""
    searches = _searches(folder)
    rows = pa.array(range(searches.num_rows))

    def work() -> int:
        with connect(folder, FeatureSettings(memory_limit_mb=_FEAST_MB)) as connection:
            join = PointInTimeJoin(folder / "feast-alone", connection)
            return join(_moments(folder), searches[SHOPPER], searches[SNAPSHOT_TIME], rows).num_rows

    return work


def duckdb_join(folder: Path) -> Work:
    """The same as-of join written directly in DuckDB."""
    connection = duckdb.connect()
    connection.register("searches", _searches(folder))
    features = ", ".join(f"s.{name}" for name in FEATURES)
    joined = connection.sql(
        f"SELECT e.*, {features} FROM searches e ASOF LEFT JOIN read_parquet({literal(str(_moments(folder)))}) s "
        f"ON e.{SHOPPER} = s.{SHOPPER} AND e.{SNAPSHOT_TIME} >= s.{SNAPSHOT_TIME}"
    )
    return lambda: joined.to_arrow_table().num_rows


PARTS = {part.__name__: part for part in (whole_path, feast_join, duckdb_join)}


def storage(folder: Path) -> dict[str, float]:
    """Bytes on disk of the feature tables and the examples over those of the log's events and searches."""
    raw = _size(folder / "log" / "events") + _size(folder / "log" / "searches")
    examples = sum((folder / "examples" / f"{name}.parquet").stat().st_size for name in SPLITS)
    sources = _size(folder / "sources")
    return {"raw_bytes": raw, "sources_over_raw": sources / raw, "examples_over_raw": examples / raw}


def measure(events: int, days: int, shoppers: int, folder: Path) -> dict[str, Any]:
    """Runs every part on a log of this size; prints and returns their rows."""
    write_log(folder / "log", events, days, shoppers)
    rows: dict[str, Any] = {}
    for name in PARTS:
        words = [sys.executable, "-m", "bench.features.offline", "--part", name, "--folder", str(folder)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            rows[name] = {"failed": status}
            continue
        row = json.loads(lines[-1])
        row["peak_gigabytes"] = round(usage.ru_maxrss / 2**20, 2)
        rows[name] = row
        size = {"events": events, "days": days, "shoppers": shoppers}
        print(json.dumps({**size, "part": name, "simulated": True, **row}), flush=True)
    rows["storage"] = storage(folder)
    print(json.dumps({"events": events, "part": "storage", **rows["storage"]}), flush=True)
    return rows


def check(results: dict[int, dict[str, Any]], in_proportion: bool) -> list[str]:
    """One sentence per expectation that these results can judge."""
    sentences = []

    def judge(name: str, value: float, at: str) -> None:
        verdict = "within" if value <= EXPECTED[name] else "ABOVE"
        sentences.append(f"{name} {at}: {value:.2f}, {verdict} {EXPECTED[name]}")

    for events, rows in results.items():
        if "cpu_seconds" in rows["feast_join"]:
            ratio = rows["whole_path"]["cpu_seconds"] / rows["feast_join"]["cpu_seconds"]
            judge("whole_path_over_feast_join", ratio, f"at {events:,} events")
        stored = rows["storage"]["sources_over_raw"] + rows["storage"]["examples_over_raw"]
        judge("storage_over_raw_events", stored, f"at {events:,} events")
    sizes = sorted(results)
    if sizes[-1] >= 10_000_000:
        judge("peak_gigabytes_at_10_million", results[sizes[-1]]["whole_path"]["peak_gigabytes"], "")
    if len(sizes) > 1 and in_proportion:
        each = [results[size]["whole_path"]["cpu_seconds"] / size for size in (sizes[0], sizes[-1])]
        judge("cost_growth_1_to_10_million", each[1] / each[0], f"from {sizes[0]:,} to {sizes[-1]:,}")
    return sentences


def main() -> int:
    """Measures and checks, or runs one part; 1 where a ratio is above what is expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--in-proportion", action="store_true", help="fewer shoppers in the smaller logs")
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.part:
        _warm_up()
        work = PARTS[arguments.part](arguments.folder)
        started, worked = time.monotonic(), time.process_time()
        count = work()
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - worked
        times = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}
        print(json.dumps({"examples": count, **times, "per_second": round(count / seconds)}))
        return 0
    results = {}
    for events in arguments.events:
        with tempfile.TemporaryDirectory() as folder:
            shoppers = SHOPPERS * events // max(arguments.events) if arguments.in_proportion else SHOPPERS
            results[events] = measure(events, arguments.days, shoppers, Path(folder))
    sentences = check(results, arguments.in_proportion)
    print("\n".join(sentences))
    return int(any("ABOVE" in sentence for sentence in sentences))


def _warm_up() -> None:
    """A join of one search to one snapshot."""
    with tempfile.TemporaryDirectory() as name:
        row = pa.table({SHOPPER: ["u"], "us": pa.array([1], pa.int64()), "query": ["q"]})
        tracks = ShopperTracks(BEHAVIOURS.empty_table(), row, FeatureSettings())
        write_lists(tracks.latest(), Path(name) / "latest.parquet")
        shopper, moment = pa.chunked_array([["u"]]), pa.chunked_array([[2]]).cast(TIMESTAMP)
        with connect(Path(name), FeatureSettings()) as connection:
            join = PointInTimeJoin(Path(name) / "feast", connection)
            join(Path(name) / "latest.parquet", shopper, moment, pa.array([0]))


def _searches(folder: Path) -> pa.Table:
    tables = [pq.read_table(folder / "examples" / f"{name}.parquet", columns=[SHOPPER, "timestamp"]) for name in SPLITS]
    return pa.concat_tables(tables).rename_columns([SHOPPER, SNAPSHOT_TIME])


def _moments(folder: Path) -> Path:
    return folder / "sources" / "shopper_history" / "moments-*.parquet"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
