"""What a night costs in time, memory, disk and money at a size nobody here can run, from unit costs measured here.

    python -m bench.capacity measure events      # 0.5, 1 and 2 million events: log, validation, features, online store
    python -m bench.capacity measure products    # 5,000 and 40,000 products: training, evaluation, embedding, upsert
    python -m bench.capacity predict             # the night of night.toml
    python -m bench.capacity limits              # up to how many rows the memory of each task in pipeline.py suffices
    python -m bench.capacity processes           # memory of each process of the night's training, by their number
    python -m bench.capacity check               # predicts a run of 10 million events, writes that down, then makes it

Logs are simulated. A stage's processor's seconds, peak memory and bytes are measured in a process of its own with one
thread, so that a machine used by others measures the same; `measured.json` holds every sample, `checked.json` the
prediction of the check with the time at which it was made, and the outcome. `check` exits with 1 where a ratio of
outcome to prediction leaves the limits of `expected.toml`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.capacity import chain
from bench.capacity.model import GROWS_WITH, TABLE_COPIES, fit, predict, training_memory
from components.common.files import read_json, write_json
from components.towers.settings import TowerSettings

HERE = Path(__file__).parent
MEASURED, CHECKED = HERE / "measured.json", HERE / "checked.json"
EXPECTED = tomllib.loads((HERE / "expected.toml").read_text(encoding="utf-8"))
NIGHT = tomllib.loads((HERE / "night.toml").read_text(encoding="utf-8"))
DIMENSION = TowerSettings().dimension
"""What the products were measured with."""
OF_EVENTS = ("load_log", "validate_logs", "build_features", "materialise_features")
OF_PRODUCTS = ("train_towers", "evaluate_towers", "embed_catalogue", "upsert_embeddings")
EVENTS = ((500_000,), (1_000_000,), (2_000_000,))
PRODUCTS = ((5_000, 0.2), (40_000, 0.05))
"""Catalogue and activity: eight times the products with twice the searches."""


def measure(what: str, folder: Path) -> None:
    """Measures one group of stages at each of its sizes and replaces their samples in `measured.json`."""
    stages = OF_EVENTS if what == "events" else OF_PRODUCTS
    kept = [sample for sample in (chain.read(MEASURED) if MEASURED.exists() else []) if sample.stage not in stages]
    for number, size in enumerate(EVENTS if what == "events" else PRODUCTS):
        place = folder / str(number)
        place.mkdir()
        chain.apart("events_log" if what == "events" else "marketplace", place, *size)
        for stage in stages:
            kept.append(chain.measure(stage, place))
            print(kept[-1], flush=True)
            chain.save(MEASURED, kept)
        shutil.rmtree(place)


def night() -> str:
    """The predicted night as a Markdown table, with what one million rows cost and the money at the night's prices."""
    costs, prices = fit(chain.read(MEASURED)), NIGHT["prices"]
    sizes = {**NIGHT["night"], "examples": NIGHT["night"]["examples"] * NIGHT["night"]["epochs"]}
    lines = [
        "| stage | grows with | core-seconds a million | core-hours | memory GB | written GB | cost |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    total = [0.0, 0.0, 0.0]
    for found in predict(costs, sizes):
        hours = found.cpu_seconds / 3600
        money = hours * prices["core_hour"] + found.gigabyte_hours * prices["gigabyte_hour"]
        total = [total[0] + hours, total[1] + found.disk_bytes / 1e9, total[2] + money]
        each = costs[found.stage].seconds.each * 1e6
        lines.append(
            f"| `{found.stage}` | {GROWS_WITH[found.stage][0]} | {each:,.1f} | {hours:,.1f} | "
            f"{found.peak_bytes / 1e9:,.1f} | {found.disk_bytes / 1e9:,.1f} | {money:,.2f} |"
        )
    lines.append(f"| all | | | {total[0]:,.1f} | | {total[1]:,.1f} | {total[2]:,.2f} |")
    return "\n".join(lines)


def limits() -> str:
    """How many rows fit into the memory that pipeline.py gives each task, as a Markdown table."""
    from pipeline import towerline

    executors = towerline.pipeline_spec.deployment_spec["executors"]
    lines = ["| task | memory | a base of | and for each million | suffices for |", "| --- | --- | --- | --- | --- |"]
    for stage, cost in fit(chain.read(MEASURED)).items():
        given = executors[f"exec-{stage.replace('_', '-')}"]["container"]["resources"]["resourceMemoryLimit"]
        rows = (float(given.removesuffix("G")) * 1e9 - cost.memory.base) / cost.memory.each if cost.memory.each else 0
        enough = f"{rows / 1e6:,.0f} million {GROWS_WITH[stage][1]}" if rows else "any size"
        lines.append(
            f"| `{stage}` | {given} | {cost.memory.base / 1e9:.2f} GB | {cost.memory.each / 1e3:,.2f} GB | {enough} |"
        )
    return "\n".join(lines)


def processes() -> str:
    """Memory of each process of the night's training with whole and with sharded id tables, as a Markdown table."""
    cost, products = fit(chain.read(MEASURED))["train_towers"], NIGHT["night"]["products"]
    lines = [
        "| processes | memory of each, GB | with `towers.table_sharding` | of it ids, GB |",
        "| --- | --- | --- | --- |",
    ]
    for number in (1, 2, 4, 8, 16):
        whole, parts = (training_memory(cost, products, DIMENSION, number, way) / 1e9 for way in (False, True))
        ids = products * DIMENSION * 4 * TABLE_COPIES / number / 1e9
        lines.append(f"| {number} | {whole:,.1f} | {parts:,.1f} | {ids:,.1f} |")
    return "\n".join(lines)


def check(events: int, folder: Path) -> list[str]:
    """Makes a log, predicts the event stages on it, writes that down, runs them; returns what left the limits."""
    chain.apart("events_log", folder, events)
    rows = read_json(folder / "source" / "log.json")["counts"]["events"]
    predicted = predict(fit(chain.read(MEASURED)), {"events": rows})
    body: dict[str, Any] = {
        "events": rows,
        "predicted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "predicted": {item.stage: _values(item) for item in predicted},
        "simulated": True,
    }
    write_json(CHECKED, body)
    print(body, flush=True)
    body["outcome"] = {}
    for stage in body["predicted"]:
        body["outcome"][stage] = _values(chain.measure(stage, folder))
        print(stage, body["outcome"][stage], flush=True)
    together = {
        name: how(row[name] for row in body["outcome"].values()) / how(row[name] for row in body["predicted"].values())
        for name, how in (("cpu_seconds", sum), ("peak_megabytes", max), ("disk_megabytes", sum))
    }
    body["outcome_over_prediction"] = {name: round(ratio, 2) for name, ratio in together.items()}
    write_json(CHECKED, body)
    print(body["outcome_over_prediction"], flush=True)
    return [
        f"{name} of the stages together is {ratio:.2f} of what was predicted"
        for name, ratio in together.items()
        if not EXPECTED[name][0] <= ratio <= EXPECTED[name][1]
    ]


def _values(item: Any) -> dict[str, float]:
    return {
        "cpu_seconds": round(item.cpu_seconds, 1),
        "peak_megabytes": round(item.peak_bytes / 1e6),
        "disk_megabytes": round(item.disk_bytes / 1e6),
    }


def main() -> int:
    """Runs one command; the exit code is 1 when the check leaves its limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "predict", "limits", "processes", "check"))
    parser.add_argument("group", nargs="?", choices=("events", "products"), default="events")
    parser.add_argument("--events", type=int, default=11_000_000, help="asked of the generator, which makes 10 million")
    options = parser.parse_args()
    tables = {"predict": night, "limits": limits, "processes": processes}
    if options.what in tables:
        print(tables[options.what]())
        return 0
    with tempfile.TemporaryDirectory() as name:
        if options.what == "measure":
            measure(options.group, Path(name))
            return 0
        faults = check(options.events, Path(name))
    for fault in faults:
        print(f"outside expected.toml: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
