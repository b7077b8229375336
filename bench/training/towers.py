"""Examples a second and memory of one model's training steps, in this process."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.training.plain import Plain, plainly
from components.common.settings import from_overrides
from components.towers.data import TrainingData, load_training_data
from components.towers.models import model_class
from components.towers.trainer import Trainer, pick_device

WARM = 2
"""Steps before the clock starts: optimiser state is made in the first."""


def measure(
    examples: Path, model: str, overrides: dict[str, str], rows: int, how: Plain, steps: int
) -> dict[str, float]:
    """Trains `steps` steps of `model` with token and id tables of at least `rows` rows.

    Returns examples_per_second, examples_per_core_second (processor time of all threads, which a busy machine distorts
    less), table_megabytes (tables alone), held_megabytes (tables and what the optimiser keeps), memory_megabytes (what
    training added to the process at its peak: what it holds, gradients, batches).
    """
    kind = model_class(model)
    dense = {"sparse_gradients": "false"} if how.dense else {}
    settings = from_overrides(kind.Settings, {**overrides, **dense, "hash_buckets": str(rows)})
    data = load_training_data(examples, kind, settings)
    data = replace(data, schema=replace(data.schema, items=max(rows, data.schema.items)))
    before = peak_megabytes()
    trainer = _trainer(plainly(kind, how) if how != Plain() else kind, settings, data)
    watch = Watch()
    for step in range(WARM + steps):
        if step == WARM:
            watch = Watch()
        trainer._step(trainer._batch(step))
        trainer.state.step += 1
    tables = sum(table.weight.nbytes for table in trainer.model.modules() if isinstance(table, torch.nn.Embedding))
    kept = sum(value.nbytes for state in trainer.optimiser.state.values() for value in state.values())
    return {
        **watch.rates(steps * trainer.batches.size),
        "table_megabytes": tables / 2**20,
        "held_megabytes": (tables + kept) / 2**20,
        "memory_megabytes": peak_megabytes() - before,
    }


class Watch:
    """Seconds and processor seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cores = time.perf_counter(), time.process_time()

    def rates(self, examples: int) -> dict[str, float]:
        """Examples a second, by the clock and by the processor."""
        wall, cores = time.perf_counter() - self._wall, time.process_time() - self._cores
        return {"examples_per_second": examples / wall, "examples_per_core_second": examples / cores}


def _trainer(kind: Any, settings: Any, data: TrainingData) -> Trainer:
    torch.manual_seed(settings.seed)
    model = kind(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    device = pick_device(settings)
    return Trainer(model.to(device), data, settings, device)


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
