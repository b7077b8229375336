"""The stages of a night on a simulated log, each in a process of its own: processor's seconds, peak memory, bytes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.common.files import read_json, write_json

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
TOWERS = {"epochs": "1", "threads": "1"}


@dataclass(frozen=True)
class Sample:
    """What one stage cost on one log. `sizes` are the rows that a stage may grow with."""

    stage: str
    sizes: dict[str, int]
    cpu_seconds: float
    peak_bytes: int
    disk_bytes: int


def load(folder: Path) -> None:
    from components.logs.step import load_log

    load_log("parquet", str(folder / "source"), "{}", folder / "log", folder / "truth")


def validate(folder: Path) -> None:
    from components.validation.step import run

    names = ("checked", "quarantine", "statistics", "verdict.json", "validation.html")
    run(folder / "log", *(folder / name for name in names), "{}")


def features(folder: Path) -> None:
    from components.features.step import build

    build(folder / "checked", folder / "examples", folder / "sources")


def materialise(folder: Path) -> None:
    from components.features.step import materialise as step

    step(folder / "sources", folder / "work")


def train(folder: Path) -> None:
    from components.towers.step import run

    run(folder / "examples", folder / "towers", "mgdspr", json.dumps(TOWERS))


def evaluate(folder: Path) -> None:
    from components.evaluation.step import run

    run(folder / "examples", folder / "towers", str(folder / "truth"), str(folder / "work"), "", folder / "evaluation")


def embed(folder: Path) -> None:
    from components.index.step import embed_part

    embed_part(folder / "examples", folder / "towers", folder / "vectors", "1/1")


def upsert(folder: Path) -> None:
    from components.index.step import run

    run(folder / "examples", folder / "towers", folder / "evaluation", folder / "work", shards=[folder / "vectors"])


STAGES: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "load_log": (load, ("log",)),
    "validate_logs": (validate, ("checked", "quarantine", "statistics")),
    "build_features": (features, ("examples", "sources")),
    "materialise_features": (materialise, ("work/feature_store",)),
    "train_towers": (train, ("towers",)),
    "evaluate_towers": (evaluate, ("evaluation",)),
    "embed_catalogue": (embed, ("vectors",)),
    "upsert_embeddings": (upsert, ("work/releases",)),
}
"""Each stage's function and the folders it writes, in the order of the night."""


def measure(stage: str, folder: Path) -> Sample:
    """Runs one stage on `folder` in a process of its own. Raises RuntimeError with its last words when it fails."""
    usage = apart(stage, folder)
    written = sum(_bytes(folder / name) for name in STAGES[stage][1])
    return Sample(stage, sizes(folder), round(usage.ru_utime + usage.ru_stime, 2), usage.ru_maxrss * 1024, written)


def apart(what: str, folder: Path, *arguments: object) -> resource.struct_rusage:
    """Runs a stage or a maker of logs in a process of its own and returns what it used.

    The caller stays small: a process inherits its parent's size as its own peak. Raises RuntimeError.
    """
    words = [sys.executable, "-m", "bench.capacity.chain", what, str(folder), *map(str, arguments)]
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        process = subprocess.Popen(words, env={**os.environ, **ONE_THREAD}, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{what} failed: {(folder / 'log.txt').read_text(encoding='utf-8')[-2000:]}")
    return usage


def sizes(folder: Path) -> dict[str, int]:
    """Rows of a folder's log, training examples and shoppers with a history, as far as they are there."""
    counts = dict(read_json(folder / "log" / "log.json")["counts"])
    examples = folder / "examples" / "train.parquet"
    if examples.exists():
        counts["examples"] = pq.ParquetFile(examples).metadata.num_rows
        histories = (folder / "sources" / "shopper_history").glob("latest-*.parquet")
        counts["shoppers"] = sum(pq.ParquetFile(path).metadata.num_rows for path in histories)
    return counts


def events_log(folder: Path, events: str) -> None:
    """A shop's log of about `events` events over ten days, ten of twelve of them impressions, as a source."""
    from bench.validation.shop_log import write_log

    write_log(folder / "source", int(events), 10, shoppers=max(1_000, int(events) // 20))


def marketplace(folder: Path, products: str, activity: str) -> None:
    """The sample marketplace's log and its examples: what the towers' stages start from."""
    from components.features.step import build
    from components.logs.step import load_log

    log_settings = {"products": products, "activity": activity}
    load_log("marketplace", "", json.dumps(log_settings), folder / "log", folder / "truth")
    build(folder / "log", folder / "examples", folder / "sources")


def save(path: Path, samples: list[Sample]) -> None:
    """Writes samples as JSON."""
    write_json(path, [asdict(sample) for sample in samples])


def read(path: Path) -> list[Sample]:
    """What `save` wrote."""
    rows: list[dict[str, Any]] = read_json(path)
    return [Sample(**row) for row in rows]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    makers: dict[str, Callable[..., None]] = {made.__name__: made for made in (events_log, marketplace)}
    (makers.get(sys.argv[1]) or STAGES[sys.argv[1]][0])(Path(sys.argv[2]), *sys.argv[3:])
