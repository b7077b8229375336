"""What a night costs at another size: a straight line through what the stages cost at the sizes that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.capacity.chain import Sample

GROWS_WITH = {
    "load_log": ("events", "events", "events"),
    "validate_logs": ("events", "events", "events"),
    "build_features": ("events", "events", "events"),
    "materialise_features": ("shoppers", "shoppers", "shoppers"),
    "train_towers": ("examples", "products", "products"),
    "evaluate_towers": ("products", "products", "products"),
    "embed_catalogue": ("products", "products", "products"),
    "upsert_embeddings": ("products", "products", "products"),
}
"""What a stage's seconds, memory and bytes on disk grow with."""


@dataclass(frozen=True)
class Line:
    """base + each x rows; neither is below zero."""

    base: float
    each: float

    def at(self, rows: float) -> float:
        """The value for this many rows."""
        return self.base + self.each * rows


@dataclass(frozen=True)
class StageCost:
    """One stage's three lines."""

    stage: str
    seconds: Line
    memory: Line
    disk: Line


@dataclass(frozen=True)
class Prediction:
    """One stage at one size: seconds of one core, peak bytes of one process, bytes written."""

    stage: str
    cpu_seconds: float
    peak_bytes: float
    disk_bytes: float

    @property
    def gigabyte_hours(self) -> float:
        """Memory held while the stage runs on one core, in gigabyte-hours."""
        return self.peak_bytes / 1e9 * self.cpu_seconds / 3600


def line(rows: Sequence[float], values: Sequence[float]) -> Line:
    """The least-squares line through the points, with base and slope of at least zero. Needs two different sizes."""
    if len(set(rows)) < 2:
        raise ValueError(f"a line needs two different sizes, not {sorted(set(rows))}.")
    each, base = np.polyfit(rows, values, 1)
    if each < 0:
        return Line(float(np.mean(values)), 0.0)
    if base < 0:
        return Line(0.0, float(np.dot(rows, values) / np.dot(rows, rows)))
    return Line(float(base), float(each))


def fit(samples: Sequence[Sample]) -> dict[str, StageCost]:
    """The cost of every stage that was measured at two sizes or more."""
    found = {}
    for stage, drivers in GROWS_WITH.items():
        own = [sample for sample in samples if sample.stage == stage]
        if not own:
            continue
        values = ("cpu_seconds", "peak_bytes", "disk_bytes")
        lines = [
            line([sample.sizes[driver] for sample in own], [getattr(sample, value) for sample in own])
            for driver, value in zip(drivers, values, strict=True)
        ]
        found[stage] = StageCost(stage, *lines)
    return found


TABLE_COPIES = 3
"""Of the id table in training: itself, Adagrad's sums, the best weights so far."""


def training_memory(cost: StageCost, products: float, dimension: int, processes: int, sharded: bool) -> float:
    """Peak bytes of each of `processes` that train together, every product engaged in the log.

    A process holds what one alone would hold; of a sharded id table (products x dimension x 4 bytes, `TABLE_COPIES`
    times) only its part.
    """
    table = products * dimension * 4 * TABLE_COPIES
    return cost.memory.at(products) - (table * (1 - 1 / processes) if sharded else 0.0)


def predict(costs: dict[str, StageCost], sizes: dict[str, float]) -> list[Prediction]:
    """Every stage whose rows are given in `sizes` (events, products, shoppers, examples over all epochs)."""
    found = []
    for stage, cost in costs.items():
        drivers = GROWS_WITH[stage]
        if all(driver in sizes for driver in drivers):
            values = (
                part.at(sizes[driver])
                for part, driver in zip((cost.seconds, cost.memory, cost.disk), drivers, strict=True)
            )
            found.append(Prediction(stage, *values))
    return found
