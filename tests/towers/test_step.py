"""The pipeline's task: what it writes, what it says, how it fails."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, BadSetting
from components.features.history import History
from components.towers import step
from components.towers.encoder import ItemEncoder, QueryEncoder, Request
from components.towers.step import run

from .conftest import SMALL

FILES = {
    "model.json", "vocabulary.parquet", "catalogue.parquet", "towers.safetensors", "query_tower.onnx",
    "item_tower.onnx", "training.json",
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


def test_the_folder_holds_everything_and_no_pickle(towers):
    assert {path.name for path in towers.iterdir()} == FILES
    description = json.loads((towers / "model.json").read_text())
    assert description["name"] == "mgdspr"
    assert description["dimension"] == 32
    assert description["score"] == "cosine"
    assert description["simulated"] is True
    assert description["feature_service"] == "test_v1"


def test_the_curve_tells_loss_rate_and_recall(towers):
    training = json.loads((towers / "training.json").read_text())
    for point in training["curve"]:
        assert {"step", "loss", "examples_per_second", "validation"} <= point.keys()
        assert {"recall@10", "recall@100"} <= point["validation"].keys()
    assert training["best_step"] in [point["step"] for point in training["curve"]]


def test_titles_alone_and_no_shopper_are_enough(bare_shop, tmp_path, capsys):
    facts = run(bare_shop, tmp_path / "out", "mgdspr", json.dumps({**SMALL, "title_queries": "1"}))
    assert "no shoppers" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "model.json").read_text())["needs"] == []
    products = pq.read_table(bare_shop / "products.parquet")
    vectors = ItemEncoder(tmp_path / "out").encode(products)
    query = QueryEncoder(tmp_path / "out").encode([Request("drill", History.empty(), 0)])[0]
    drills = np.array(["drill" in title for title in products["title"].to_pylist()])
    assert (vectors @ query)[drills].mean() > (vectors @ query)[~drills].mean() + 0.1
    assert facts["dimension"] == 16


def test_titles_pooled_towards_their_sum_export_and_rank_a_new_product(bare_shop, tmp_path):
    """What suits a set of real titles: inner products, sums of distinct words, ids left out, rates of their own."""
    of_titles = {
        "score": "inner_product", "temperature": "0.02", "title_units": "stems,character_3grams", "title_length": "0.2",
        "title_repeats": "false", "idf_power": "0.5", "query_only_zero": "true", "segment_layers": "0", "trm": "false",
        "gram_2": "character_3grams", "min_item_count": "1000", "dense_rate": "0.2", "weight_rate": "25",
        "learning_rate": "0.003",
    }  # fmt: skip
    run(bare_shop, tmp_path / "out", "mgdspr", json.dumps({**SMALL, **of_titles}))  # checks the export within 1e-5
    titles = ["Acme red drill 9 in.", "Corda white lamp 9 in.", "Acme red drill drill 9 in."]
    new = pa.table({"product_id": ["new drill", "new lamp", "again"], "title": titles})
    by_onnx, by_torch = (ItemEncoder(tmp_path / "out", engine).encode(new) for engine in ("onnx", "torch"))
    assert np.abs(by_onnx - by_torch).max() <= 1e-5
    query = QueryEncoder(tmp_path / "out").encode([Request("drill", History.empty(), 0)])[0]
    drill, lamp, again = by_onnx @ query
    assert drill > lamp
    assert drill == pytest.approx(again, abs=1e-6)


def test_the_facts_fit_an_artifact(towers):
    json.dumps(json.loads((towers / "model.json").read_text())["trained"], allow_nan=False)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("bert", {}, "mgdspr, ueppr, mmse"),
        ("mgdspr", {"epoch": "3"}, "epochs"),
        ("mgdspr", {"learning_rate": "0"}, "above 0"),
        ("mgdspr", {"heads": "3"}, "divisor"),
        ("mgdspr", {"title_units": "syllables"}, "title_units"),
    ],
)
def test_bad_settings_are_refused_before_any_work(shop, tmp_path, model, settings, message):
    with pytest.raises(BadSetting, match=message):
        run(shop, tmp_path / "out", model, json.dumps(settings))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_examples_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"features\.json is missing"):
        run(tmp_path, tmp_path / "out", "mgdspr")


def test_a_training_goes_on_with_the_state_of_its_own_code_alone(shop, monkeypatch):
    before = step.training_identity(shop, "mgdspr", json.dumps(SMALL))
    assert step.training_identity(shop, "mgdspr", json.dumps(SMALL)) == before
    monkeypatch.setattr(step, "source_fingerprint", lambda room: f"{room} of tomorrow")
    assert step.training_identity(shop, "mgdspr", json.dumps(SMALL)) != before


def test_what_killed_trainings_left_goes_after_a_week(tmp_path):
    names = {"0123456789abcdef": 8, "fedcba9876543210": 6, "title_vectors": 30}
    for name, days in names.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.safetensors").write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - days * 86_400,) * 2)
    step.remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"fedcba9876543210", "title_vectors"}


KILLED = """
import os, signal, sys
from pathlib import Path
from components.towers import trainer
original = trainer.Trainer._step
def dying(self, batch):
    if self.state.step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, batch)
trainer.Trainer._step = dying
from components.towers.step import run
run(Path(sys.argv[1]), Path(sys.argv[2]), "mgdspr", sys.argv[3], sys.argv[4])
"""


def test_a_killed_step_goes_on_and_ends_as_if_it_had_not_been_killed(shop, tmp_path):
    settings = json.dumps({**SMALL, "checkpoint_seconds": "0"})
    arguments = [str(shop), str(tmp_path / "killed"), settings, str(tmp_path / "checkpoints")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -9
    assert not (tmp_path / "killed").exists()
    assert list((tmp_path / "checkpoints").glob("*/state.safetensors"))
    run(shop, tmp_path / "killed", "mgdspr", settings, str(tmp_path / "checkpoints"))
    run(shop, tmp_path / "whole", "mgdspr", settings)
    for name in ("towers.safetensors", "vocabulary.parquet", "catalogue.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not list((tmp_path / "checkpoints").iterdir())
