"""Trainings of several settings one after the other, alone or as one of torchrun's processes: JOBS is a JSON list.

A job is {"name", "examples", "out", "model", "settings", "checkpoints", "killed"}; with "killed" every process ends the
training before that step. Each process writes the weights, whole, and what it saw to `out/name.rank.safetensors`.
"""

import json
import sys
from pathlib import Path

import torch

from components.common.settings import from_overrides
from components.towers.checkpoints import model_state, save_tensors
from components.towers.data import load_training_data
from components.towers.models import model_class
from components.towers.parallel import World, world
from components.towers.sharding import whole_state
from components.towers.trainer import Trainer


class Killed(Exception):
    """Stands for a kill in the middle of a training."""


def train(job, processes):
    kind = model_class(job["model"])
    settings = from_overrides(kind.Settings, job["settings"])
    data = load_training_data(Path(job["examples"]), kind, settings)
    torch.manual_seed(settings.seed)
    model = kind(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    kept = Path(job["checkpoints"]) if job.get("checkpoints") else None
    trainer = Trainer(model, data, settings, torch.device("cpu"), kept, processes)
    step = trainer._step

    def dying(batch):
        if trainer.state.step == job.get("killed"):
            raise Killed
        return step(batch)

    trainer._step = dying
    try:
        state = trainer.run()
    except Killed:
        return
    facts = {
        "losses": [point["loss"] for point in state.curve],
        "rows": {name: list(table.weight.shape) for name, table in trainer.tables.items()},
        "optimiser": sum(value.nbytes for of in trainer.optimiser.state.values() for value in of.values()),
    }
    weights = whole_state(model) if trainer.tables else model_state(model)
    save_tensors(Path(job["out"]) / f"{job['name']}.{processes.rank}.safetensors", weights, facts)


def main(jobs: str) -> None:
    torch.set_num_threads(1)
    with world("cpu") as processes:
        for job in json.loads(jobs):
            train(job, processes)


def alone(job) -> None:
    """A training in this process."""
    train(job, World())


if __name__ == "__main__":
    main(sys.argv[1])
