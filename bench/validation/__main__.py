"""How fast and how lean the data gate is, on simulated logs.

    python -m bench.validation speed  --events 1000000 10000000   # rows a second beside a bare Parquet scan
    python -m bench.validation memory --days 5 10 20 40           # peak memory against the number of equal days
    python -m bench.validation night  --days 30 --per-day 1000000 # a new night against a whole-window pass
    python -m bench.validation vocabulary --products 20000        # the towers' vocabulary from sketches (`vocabulary`)

Each measurement runs in a process of its own, warmed up on a tiny log, so that peak memory is its own. The expectation
suites are left out unless `--suites` (they see a bounded sample and take a constant time, most of it their import).
Prints one JSON object a row and fails beyond `expected.toml`; the processor's seconds count, so that a machine used by
others measures the same. Beside its day a new night links and compares what is known of the other days. That costs the
same for every size of day, and is stated apart: `beyond_an_old_day`, in processor's seconds for each of them.
"""

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.validation.shop_log import describe, write_day, write_log
from components.common.files import read_json
from components.validation.step import run

EXPECTED = tomllib.loads((Path(__file__).parent / "expected.toml").read_text(encoding="utf-8"))
OUTPUTS = ("checked", "quarantine", "statistics", "verdict.json", "report.html")


def measure_scan(log: Path) -> dict[str, Any]:
    """Reads every column of every file and does nothing with it."""
    start, worked, rows = time.perf_counter(), time.process_time(), 0
    for path in sorted(log.rglob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=131_072):
            rows += batch.num_rows
    return _row(rows, time.perf_counter() - start, time.process_time() - worked)


def measure_validation(log: Path, out: Path, previous: str, suites: bool) -> dict[str, Any]:
    """Runs the step on a log."""
    options = json.dumps({"expectations": str(suites).lower()})
    start, worked = time.perf_counter(), time.process_time()
    run(log, *(out / name for name in OUTPUTS), options, previous)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - worked
    verdict = read_json(out / "verdict.json")
    assert verdict["open"], verdict["reason"]
    rows = sum(item["in"] for item in verdict["rows"].values())
    return {**_row(rows, seconds, cpu_seconds), "reused_partitions": verdict["reused_partitions"]}


def _row(rows: int, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    rate = round(rows / seconds)
    times = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
    return {"rows": rows, **times, "rows_per_second": rate, "peak_mb": _peak_megabytes()}


def _peak_megabytes() -> int:
    """This program's own peak of resident memory. `getrusage` would count what its parent held when it forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def apart(what: str, *arguments: str) -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "bench.validation", "one", what, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _warm_up() -> None:
    """Validates a tiny log, so that what a process does once (importing pandas, say) is not measured."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        write_log(Path(name) / "log", 1_200, 2)
        measure_validation(Path(name) / "log", Path(name), "", False)


def show(**values: Any) -> None:
    print(json.dumps({**values, "simulated": True}), flush=True)


def speed(folder: Path, sizes: list[int], days: int, suites: str) -> list[str]:
    """Measures every size; returns what falls short."""
    faults = []
    for events in sizes:
        log = folder / f"log-{events}"
        write_log(log, events, days)
        scan = apart("scan", str(log))
        checked = apart("validation", str(log), str(folder / f"run-{events}"), "", suites)
        times = round(checked["cpu_seconds"] / scan["cpu_seconds"], 1)
        show(measure="speed", events=events, days=days, scan=scan, validation=checked, times_the_scan=times)
        if times > EXPECTED["times_the_scan"]:
            faults.append(f"{events:,} events: {times} times a bare scan")
        shutil.rmtree(log)
    return faults


def memory(folder: Path, day_counts: list[int], per_day: int, suites: str) -> list[str]:
    """Measures logs of these numbers of days; returns what falls short."""
    peaks = []
    for days in day_counts:
        log = folder / f"log-{days}"
        write_log(log, per_day * days, days)
        row = apart("validation", str(log), str(folder / f"run-{days}"), "", suites)
        show(measure="memory", days=days, **row)
        peaks.append(row["peak_mb"])
        shutil.rmtree(log)
    growth = max(peaks) / peaks[0]
    return [f"memory grows with the days: {peaks} MB"] if growth > EXPECTED["peak_growth"] else []


def night(folder: Path, days: int, per_day: int, suites: str) -> list[str]:
    """Measures a new night after a window of days; returns what falls short."""
    log = folder / "log"
    write_log(log, per_day * days, days)
    whole = apart("validation", str(log), str(folder / "whole"), "", suites)
    counts = read_json(log / "log.json")["counts"]
    rows = write_day(log, days, per_day, np.random.default_rng(8))
    describe(log, {**counts, "searches": counts["searches"] + rows[0], "events": counts["events"] + rows[1]})
    statistics = str(folder / "whole" / "statistics")
    new = apart("validation", str(log), str(folder / "night"), statistics, suites)
    clocks = ("seconds", "cpu_seconds")
    worth = {f"days_worth_by_{clock}": round(new[clock] / (whole[clock] / days), 2) for clock in clocks}
    beyond = round((new["cpu_seconds"] - whole["cpu_seconds"] / days) / days, 4)
    show(
        measure="night",
        days=days,
        per_day=per_day,
        whole_window=whole,
        new_night=new,
        **worth,
        beyond_an_old_day=beyond,
    )
    found, limits = worth["days_worth_by_cpu_seconds"], EXPECTED["night"]
    faults = [f"an old day costs a new night {beyond} s"] if beyond > limits["beyond_an_old_day"] else []
    if per_day >= limits["events_a_day"] and found > limits["days_worth"]:
        faults.append(f"a new night of {per_day:,} events costs {found} days' worth")
    return faults


def words(folder: Path, products: int) -> list[str]:
    """Compares vocabularies on a sample marketplace; returns what falls short."""
    from bench.validation.vocabulary import compare

    rows = compare(folder, products, [EXPECTED["vocabulary"]["capacity"], 1_000_000])
    for row in rows:
        show(measure="vocabulary", products=products, **row)
    *_, kept, ample = rows
    faults = []
    if products >= EXPECTED["vocabulary"]["products"] and not kept["tokens_lost"]:
        faults.append("sketches of the kept capacity lose no token: they would do for the towers")
    if ample["tokens_lost"]:
        faults.append("sketches with room for every query lose tokens")
    return faults


def main() -> int:
    """Runs one benchmark; the exit code is 1 when something falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=("speed", "memory", "night", "vocabulary", "one"))
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--days", type=int, nargs="+", default=[])
    parser.add_argument("--per-day", type=int, default=100_000, help="events a day for memory and night")
    parser.add_argument("--products", type=int, default=20_000, help="products of the marketplace for vocabulary")
    parser.add_argument("--suites", action="store_true", help="with the expectation suites")
    chosen = parser.parse_args()
    if chosen.measure == "one":
        what, log, *rest = chosen.rest
        _warm_up()
        result = measure_scan(Path(log)) if what == "scan" else None
        print(json.dumps(result or measure_validation(Path(log), Path(rest[0]), rest[1], rest[2] == "suites")))
        return 0
    suites = "suites" if chosen.suites else "bare"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.measure == "speed":
            faults = speed(folder, chosen.events, (chosen.days or [10])[0], suites)
        elif chosen.measure == "memory":
            faults = memory(folder, chosen.days or [5, 10, 20], chosen.per_day, suites)
        elif chosen.measure == "vocabulary":
            faults = words(folder, chosen.products)
        else:
            faults = night(folder, (chosen.days or [30])[0], chosen.per_day, suites)
    for fault in faults:
        print(f"short of expected: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
