"""Trains on an examples folder and saves the weights: run alone, or by torchrun as one of several processes."""

import sys
from pathlib import Path

import torch

from components.common.settings import from_overrides
from components.towers.checkpoints import model_state, save_tensors
from components.towers.data import load_training_data
from components.towers.models import model_class
from components.towers.parallel import world
from components.towers.trainer import Trainer


def main(folder: str, out: str, name: str, overrides: str) -> None:
    torch.set_num_threads(1)
    kind = model_class(name)
    settings = from_overrides(kind.Settings, overrides)
    with world("cpu") as processes:
        data = load_training_data(Path(folder), kind, settings)
        torch.manual_seed(settings.seed)
        model = kind(settings, data.schema)
        model.prepare(data.catalogue, data.train)
        trainer = Trainer(model, data, settings, torch.device("cpu"), processes=processes)
        state = trainer.run()
        # Every process must have ended with the same weights, so each writes its own.
        facts = {"world": processes.size, "steps": state.step, "recall": state.best}
        save_tensors(Path(out) / f"rank{processes.rank}.safetensors", model_state(model), facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
