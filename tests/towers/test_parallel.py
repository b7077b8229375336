"""Two processes of a data-parallel training end with the weights of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components.towers.checkpoints import load_tensors

from .conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]
# Dropout is noise that each process draws for itself; without it both runs compute the same numbers.
PLAIN = {
    **SMALL, "epochs": "2", "batch_size": "40", "lstm_dropout": "0", "behaviour_dropout": "0", "history_dropout": "0",
    "id_dropout": "0.3", "order_weight": "3", "learning_rate": "0.01",
}  # fmt: skip


def train(shop, out, processes):
    script = [str(Path(__file__).with_name("parallel_training.py")), str(shop), str(out), "mgdspr", json.dumps(PLAIN)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    launcher = torchrun if processes > 1 else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [load_tensors(path) for path in sorted(Path(out).glob("rank*.safetensors"))]


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    return [train(shop, tmp_path_factory.mktemp(f"processes{count}"), count) for count in (1, 2)]


def test_two_processes_take_part(trained):
    (_, alone), (_, first) = trained[0][0], trained[1][0]
    assert (alone["world"], first["world"]) == (1, 2)
    assert alone["steps"] == first["steps"]
    assert len(trained[1]) == 2


def test_both_processes_hold_the_same_weights(trained):
    first, second = (tensors for tensors, _ in trained[1])
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_their_weights_are_those_of_one_process_up_to_rounding(trained):
    alone, together = trained[0][0][0], trained[1][0][0]
    for name, tensor in alone.items():
        assert torch.allclose(tensor, together[name], atol=2e-4), (name, (tensor - together[name]).abs().max())
    assert trained[0][0][1]["recall"] == pytest.approx(trained[1][0][1]["recall"], abs=0.02)
