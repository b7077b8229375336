"""Two processes train UEPPR and MMSE to what one process makes of the same global batches."""

import os

import pytest
import torch
import torch.multiprocessing

from components.common.settings import from_overrides
from components.towers.data import load_training_data
from components.towers.models import model_class
from components.towers.parallel import world
from components.towers.trainer import Trainer
from tests.towers.tiny_shop import write_tiny_shop

SMALL = {"dimension": 16, "heads": 4, "batch_size": 16, "negatives": 10, "hash_buckets": 50, "epochs": 1,
         "order_weight": 3.0, "threads": 1, "optimiser": "adagrad", "learning_rate": 0.1}  # fmt: skip
OWN = {
    "ueppr": {"hidden": 24, "dynamic_pool": 30, "end_weights": "1,1,1", "location_width": 4, "graph_neighbours": 2},
    "mmse": {"shopper_dimension": 4},
}


def trained(folder, name):
    """Every trained number of a model after one epoch in this process's world."""
    torch.set_num_threads(1)
    kind = model_class(name)
    settings = from_overrides(kind.Settings, SMALL | OWN[name])
    with world("cpu") as processes:
        data = load_training_data(folder, kind, settings)
        torch.manual_seed(3)
        model = kind(settings, data.schema)
        model.prepare(data.catalogue, data.train)
        trainer = Trainer(model, data, settings, torch.device("cpu"), None, processes)
        for step in range(4):
            trainer._step(trainer._batch(step))
            trainer.state.step += 1
    return {key: value.clone() for key, value in model.state_dict().items()}


def worker(rank, folder, out, port):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for number, name in enumerate(OWN):
        os.environ["MASTER_PORT"] = str(port + number)
        torch.save(trained(folder, name), out / f"{name}-{rank}.pt")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = write_tiny_shop(tmp_path_factory.mktemp("parallel") / "examples", searches=80)
    out = tmp_path_factory.mktemp("states")
    port = 20_000 + os.getpid() % 20_000
    torch.multiprocessing.spawn(worker, (folder, out, port), nprocs=2)
    return folder, out


@pytest.mark.parametrize("name", list(OWN))
def test_two_processes_equal_one(both, name):
    """Batch normalisation, hard negatives, mining and the graph's draws see the whole batch in every process.

    With Adagrad: Adam would blow the rounding of gradients that are zero in truth up to whole steps.
    """
    folder, out = both
    alone = trained(folder, name)
    for rank in range(2):
        state = torch.load(out / f"{name}-{rank}.pt", weights_only=True)
        for key, value in alone.items():
            assert torch.allclose(state[key], value, atol=1e-5, rtol=1e-4), key
