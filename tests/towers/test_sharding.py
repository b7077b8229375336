"""An id table whose rows lie over two processes trains, resumes and exports as one that each of them holds whole."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from components.common.errors import BadSetting, Unavailable
from components.common.files import read_json
from components.common.settings import from_overrides
from components.towers import step
from components.towers.checkpoints import load_tensors
from components.towers.encoder import ItemEncoder
from components.towers.models.mgdspr import MgdsprSettings
from components.towers.sharding import ShardedTable, block_of, id_table
from components.towers.torchrec_exchange import TorchRecExchange

from .conftest import SMALL
from .sharded_training import alone

ROOT = Path(__file__).resolve().parents[2]
TORCHREC = importlib.util.find_spec("torchrec") is not None
# A validation after each of the 8 steps: its curve is the loss by step.
PLAIN = {
    **SMALL, "epochs": "1", "batch_size": "100", "validations_per_epoch": "8", "validation_examples": "10",
    "patience": "99", "learning_rate": "0.01", "checkpoint_seconds": "0", "shard_above_megabytes": "0",
}  # fmt: skip
# Dropout is noise that each process draws for itself; without it one process computes the same numbers.
QUIET = {"lstm_dropout": "0", "behaviour_dropout": "0", "history_dropout": "0"}
MMSE = {"model": "mmse", "optimiser": "adam", "learning_rate": "0.001", "shopper_dimension": "4"}


def torchrun(*words):
    """Runs a script or module in two processes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launcher, *map(str, words)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def job(shop, folder, name, sharding, model="mgdspr", checkpoints="", killed=None, **more):
    return {
        "name": name, "examples": str(shop), "out": str(folder), "model": model, "killed": killed,
        "settings": {**PLAIN, **more, "table_sharding": sharding},
        "checkpoints": str(folder / checkpoints) if checkpoints else "",
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    """Weights and facts of each training of two processes, and of those of one, by name."""
    folder = tmp_path_factory.mktemp("trained")
    alone(job(shop, folder, "alone", "none", **QUIET))
    alone(job(shop, folder, "", "row", checkpoints="alone then two", killed=3, **QUIET))
    jobs = [
        job(shop, folder, "whole", "none"),
        job(shop, folder, "sharded", "row"),
        job(shop, folder, "whole mmse", "none", **MMSE),
        job(shop, folder, "sharded mmse", "row", **MMSE),
        job(shop, folder, "", "row", checkpoints="kept", killed=3),
        job(shop, folder, "resumed", "row", checkpoints="kept"),
        job(shop, folder, "", "row", checkpoints="two then alone", killed=3, **QUIET),
        job(shop, folder, "alone then two", "row", checkpoints="alone then two", **QUIET),
    ]
    if TORCHREC:
        jobs.append(job(shop, folder, "torchrec", "torchrec"))
    torchrun(Path(__file__).with_name("sharded_training.py"), json.dumps(jobs))
    files = {path.name for path in (folder / "two then alone").iterdir()}
    alone(job(shop, folder, "two then alone", "row", checkpoints="two then alone", **QUIET))
    found = {path.name.removesuffix(".0.safetensors"): load_tensors(path) for path in folder.glob("*.0.safetensors")}
    return {**found, "files": files}


def assert_same(first, second, losses=1e-5, weights=2e-6):
    (one, facts), (two, others) = first, second
    assert facts["losses"] == pytest.approx(others["losses"], rel=losses)
    assert len(facts["losses"]) >= 4
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=weights), (name, (tensor - two[name]).abs().max())


def test_losses_by_step_and_rows_are_those_of_the_whole_table(trained):
    assert_same(trained["whole"], trained["sharded"])
    assert trained["whole"][0]["ids.weight"].abs().sum() > 0


def test_each_process_holds_half_of_the_rows_and_of_their_optimiser_state(trained):
    (weights, whole), (_, sharded) = trained["whole"], trained["sharded"]
    rows, width = weights["ids.weight"].shape
    assert whole["rows"] == {}
    assert sharded["rows"] == {"ids.weight": [-(-rows // 2), width]}
    assert whole["optimiser"] - sharded["optimiser"] == (rows // 2) * width * 4


@pytest.mark.skipif(not TORCHREC, reason="TorchRec, the optional extra sharded, is not installed")
def test_torchrec_sends_the_same_rows(trained):
    assert trained["torchrec"][1]["rows"] == trained["sharded"][1]["rows"]
    assert_same(trained["whole"], trained["torchrec"])


def test_mmse_and_adam_are_sharded_alike(trained):
    """Adam blows the rounding of a gradient that is nearly zero up to whole steps, so rows are compared in the mean."""
    (one, facts), (two, others) = trained["whole mmse"], trained["sharded mmse"]
    assert others["rows"]
    assert facts["losses"] == pytest.approx(others["losses"], rel=1e-4)
    assert (one["ids.weight"] - two["ids.weight"]).abs().mean() < 1e-3 * one["ids.weight"].abs().mean()


def test_a_killed_training_goes_on_from_the_rows_of_all_processes_to_the_same_result(trained):
    (weights, facts), (expected, uninterrupted) = trained["resumed"], trained["sharded"]
    assert facts["losses"] == uninterrupted["losses"]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights.items())


@pytest.mark.parametrize(("way", "steps"), [("two then alone", slice(3, None)), ("alone then two", slice(3))])
def test_another_number_of_processes_may_go_on(trained, way, steps):
    """Losses are compared in the steps of one process: of two, each notes that of its half of the batch."""
    (one, facts), (two, others) = trained["alone"], trained[way]
    assert facts["losses"][steps] == pytest.approx(others["losses"][steps], rel=1e-4)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=2e-4), (name, (tensor - two[name]).abs().max())


def test_a_checkpoint_keeps_the_rows_of_its_own_step_alone(trained):
    assert sorted(name for name in trained["files"] if name.startswith("state")) == [
        "state-rows-3-0of2.safetensors", "state-rows-3-1of2.safetensors", "state.safetensors",
    ]  # fmt: skip


def test_the_job_of_a_cluster_exports_the_towers_of_one_process(shop, tmp_path):
    settings = json.dumps({**PLAIN, **QUIET, "table_sharding": "row"})
    step.run(shop, tmp_path / "alone", "mgdspr", settings)
    words = [f"--examples={shop}", f"--out={tmp_path / 'two'}", "--model=mgdspr", f"--settings={settings}"]
    torchrun("-m", "components.towers", *words)
    folders = tmp_path / "alone", tmp_path / "two"
    assert [read_json(folder / "training.json")["processes"] for folder in folders] == [1, 2]
    first, second = (load_tensors(folder / "towers.safetensors")[0] for folder in folders)
    assert {name: tensor.shape for name, tensor in first.items()} == {n: t.shape for n, t in second.items()}
    assert torch.allclose(first["ids.weight"], second["ids.weight"], atol=2e-4)
    products = pq.read_table(shop / "products.parquet")
    assert np.allclose(*(ItemEncoder(folder, "onnx").encode(products) for folder in folders), atol=1e-3)


def test_blocks_cover_every_row_once():
    for rows in (1, 7, 8, 100):
        for size in (1, 2, 3, 8):
            blocks = [block_of(rows, rank, size) for rank in range(size)]
            assert [row for first, last in blocks for row in range(first, last)] == list(range(rows))


def test_a_process_alone_holds_its_table_whole():
    settings = from_overrides(MgdsprSettings, {"table_sharding": "row", "shard_above_megabytes": "0"})
    assert not isinstance(id_table(10, settings), ShardedTable)


def test_what_does_not_fit_is_one_sentence(monkeypatch):
    with pytest.raises(BadSetting, match="table_sharding must be one of none, row, torchrec"):
        from_overrides(MgdsprSettings, {"table_sharding": "column"})
    with pytest.raises(BadSetting, match="sparse_gradients must be true with table_sharding"):
        from_overrides(MgdsprSettings, {"table_sharding": "row", "sparse_gradients": "false"})
    monkeypatch.setitem(sys.modules, "torchrec", None)
    with pytest.raises(Unavailable, match="optional extra sharded"):
        TorchRecExchange(4)
