"""The marketplace's rate, memory and calibration (simulated data).

    python -m bench.logs rate --products 5000 50000 1000000 --days 2   # events a second of one core, peak memory
    python -m bench.logs calibration --products 5000 50000 > bench/logs/calibration.md   # JDsearch beside the log

Each measurement runs in a process of its own with one thread. A rate counts making and writing days of searches with
their events, without the catalogue and the index, which are made once; the processor's seconds count, so that a
machine used by others measures the same. Prints one JSON object or table a row and fails below `expected.toml`.
Expected: 150,000 events a second and more at any size; memory that grows with the catalogue and not with the days.
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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.logs.contract import Log
from components.logs.marketplace.calibration import Fact, calibration, table
from components.logs.marketplace.day import make_day
from components.logs.marketplace.generate import generate, write_day
from components.logs.marketplace.ranker import Ranker
from components.logs.marketplace.world import build_world
from components.logs.settings import LogSettings
from components.logs.writer import LogWriter

EXPECTED = tomllib.loads((Path(__file__).parent / "expected.toml").read_text(encoding="utf-8"))
_HISTORY = 21


def measure_rate(products: int, days: int) -> dict[str, Any]:
    """Makes and writes days with searches; the shards of a day are made one after the other."""
    settings = LogSettings(products=products, days=max(3, days), history_days=_HISTORY)
    started = time.process_time()
    world = build_world(settings)
    ranker = Ranker(world)
    make_day(world, ranker, 0, 0)
    built = time.process_time() - started
    with tempfile.TemporaryDirectory() as folder:
        log, truth = Path(folder) / "log", Path(folder) / "truth"
        started = time.process_time()
        with LogWriter(log, "marketplace", simulated=True, split="time") as writer:
            for today in range(_HISTORY, _HISTORY + days):
                for shard in range(world.shards):
                    write_day(world, writer, truth, today, shard, make_day(world, ranker, today, shard))
        seconds = time.process_time() - started
        counts = writer.description["counts"]
    return {
        "products": products,
        "days": days,
        "events": counts["events"],
        "searches": counts["searches"],
        "cpu_seconds": round(seconds, 2),
        "events_a_second": round(counts["events"] / seconds),
        "build_cpu_seconds": round(built, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "simulated": True,
    }


def measure_calibration(products: int) -> list[dict[str, Any]]:
    """The facts of a marketplace of this size, everything else by default."""
    with tempfile.TemporaryDirectory() as folder:
        generate(LogSettings(products=products), Path(folder) / "log", Path(folder) / "truth")
        return [asdict(fact) for fact in calibration(Log(Path(folder) / "log"))]


def _apart(*arguments: object) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.logs", *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def run_rate(sizes: list[int], days: int) -> list[str]:
    """Measures every size; returns what falls short."""
    faults = []
    for products in sizes:
        one, two = (_apart("one-rate", "--products", products, "--days", count) for count in (days, 2 * days))
        for row in (one, two):
            print(json.dumps(row), flush=True)
        if two["events_a_second"] < EXPECTED["rate"]["events_a_second"]:
            faults.append(f"{products:,} products: {two['events_a_second']:,} events a second")
        if two["peak_mb"] > EXPECTED["rate"]["peak_growth"] * one["peak_mb"]:
            faults.append(f"{products:,} products: memory grows with the days, {one['peak_mb']} to {two['peak_mb']} MB")
    return faults


def run_calibration(sizes: list[int]) -> list[str]:
    """Prints the table of every size; returns which facts of the default size are off."""
    expected, faults = EXPECTED["calibration"], []
    for products in sizes:
        facts = [Fact(**fact) for fact in _apart("one-calibration", "--products", products)]
        print(table(facts, f"## Marketplace of {products:,} products") + "\n", flush=True)
        for fact in facts if products == LogSettings().products else []:
            ratio = fact.produced / fact.target
            if fact.name in expected["facts"] and not expected["lowest"] <= ratio <= expected["highest"]:
                faults.append(f"{fact.name}: {fact.produced:.3g} instead of {fact.target:.3g}")
    return faults


def main() -> int:
    """Runs one benchmark; the exit code is 1 when something falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "calibration", "one-rate", "one-calibration"])
    parser.add_argument("--products", type=int, nargs="+", default=[LogSettings().products])
    parser.add_argument("--days", type=int, default=2, help="days with searches; measured again with twice as many")
    options = parser.parse_args()
    if options.what.startswith("one-"):
        (products,) = options.products
        row = measure_rate(products, options.days) if options.what == "one-rate" else measure_calibration(products)
        print(json.dumps(row))
        return 0
    faults = run_rate(options.products, options.days) if options.what == "rate" else run_calibration(options.products)
    for fault in faults:
        print(f"short of expected: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
