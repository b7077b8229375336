"""The step: a whole release, or none."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, BadSetting, GateClosed, NotFound
from components.common.manifest import current_release_id, list_release_ids, read_release, verify_files
from components.common.records import read_task_records
from components.index import step
from components.index.assemble import write_index
from components.index.backends import lite_backend
from components.index.embed import join_shards
from components.index.golden import read_golden
from components.index.resident import ExactEngine
from components.index.search import open_search
from components.index.store import VectorStore
from components.index.vectors import load_vectors
from components.releases.garbage import collect_garbage
from tests.index.conftest import SETTINGS
from tests.index.fakes import make_inputs, make_products

ROOT = Path(__file__).parents[2]


def test_the_release_is_complete_and_its_files_are_those_of_the_manifest(shop):
    inputs, workdir, release = shop
    verify_files(release)
    assert list_release_ids(workdir) == ["release-1"]
    assert (release.model, release.simulated, release.code) == ("fake", True, "c0de")
    assert release.collection == "towerline_release_1"
    assert release.feature_service == "shopper_history_v1"
    assert release.log["fingerprint"] == "0" * 64
    assert release.evaluation == json.loads((inputs["evaluation"] / "evaluation.json").read_text())
    for name in ("towers/towers.safetensors", "index/vectors.npy", "index/products.parquet", "index/codes.json",
                 "index/terms.json", "index/search.json", "evaluation.json", "golden.json"):  # fmt: skip
        assert name in release.files
    linked = release.path("towers", "towers.safetensors")
    assert linked.stat().st_ino == (inputs["towers"] / "towers.safetensors").stat().st_ino


def test_the_collection_holds_the_vectors_that_servers_search(shop):
    release = shop[2]
    vectors = load_vectors(release.path("index", "vectors.npy"))
    with open_search(release) as searcher, VectorStore(lite_backend(release.path("milvus"))) as store:
        store.load(release.collection)
        assert store.count(release.collection) == len(searcher) == len(vectors)
        stored = store.read(release.collection, searcher.products.ids)
        for row, key in enumerate(searcher.products.ids):
            np.testing.assert_array_equal(stored[key]["vector"], vectors[row])


def test_a_search_by_milvus_and_one_in_memory_answer_alike(shop):
    from components.index.filters import Filter

    release = shop[2]
    vectors = np.array([one["vector"] for one in read_golden(release.directory)], dtype=np.float32)
    filters = [None, Filter(brand="vela"), Filter(price_max=20.0), Filter(category="Boots", in_stock=False)] * 5
    with open_search(release) as resident:
        expected = resident.search(vectors, 15, filters)
    with open_search(release, '{"search": "milvus"}') as milvus:
        assert milvus.search(vectors, 15, filters) == expected


def test_golden_requests_answer_as_they_were_stored(shop):
    release = shop[2]
    golden = read_golden(release.directory)
    assert len(golden) == 20
    lengths = [len(one["request"]["history"]["product_ids"]) for one in golden]
    assert lengths.count(0) == 10
    vectors = np.array([one["vector"] for one in golden], dtype=np.float32)
    with open_search(release) as searcher:
        for one, hits in zip(golden, searcher.search(vectors, 10), strict=True):
            assert [hit.product_id for hit in hits] == one["products"]
            np.testing.assert_allclose([hit.score for hit in hits], one["scores"], rtol=1e-6)


def test_a_release_names_no_shopper(shop):
    """Histories of stored queries stay, as servers replay them, but nobody's id is in any file."""
    inputs, _, release = shop
    shoppers = set(pq.read_table(inputs["examples"] / "test.parquet").column("user_id").to_pylist()) - {None}
    assert shoppers
    for name in release.files:
        path = release.path(name)
        if path.suffix == ".parquet":
            assert "user_id" not in pq.read_schema(path).names, name
        elif path.suffix == ".json":
            assert not any(f'"{shopper}"' in path.read_text() for shopper in shoppers), name


def test_boosting_is_part_of_the_release_and_measured_on_searches_it_has_not_seen(shop):
    release = shop[2]
    assert release.boosting["on"]
    assert len(release.boosting["weights"]) == 4
    measured = release.boosting["report"]["test"]
    assert measured["searches"] == 120
    assert measured["with"] > measured["without"]
    with open_search(release) as searcher:
        assert searcher.dimension + 4 == load_vectors(release.path("index", "vectors.npy")).shape[1]


def test_what_boosting_does_to_the_evaluated_recall_is_a_note_of_the_run(tmp_path, fake_towers, monkeypatch):
    monkeypatch.setenv("TOWERLINE_RUN_DIR", str(tmp_path / "run"))
    step.run(**make_inputs(tmp_path), workdir=tmp_path / "work", settings=SETTINGS)
    notes = read_task_records(tmp_path / "run")["upsert_embeddings"]["notes"]
    assert any(re.search(r"boosting moves their recall@\d+ .* from 0\.\d{3} to [01]\.\d{3}", note) for note in notes)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_release_of_smaller_vectors_is_searched_by_them_and_ranked_by_exact_scores(tmp_path, fake_towers, precision):
    inputs = make_inputs(tmp_path)
    release_id = step.run(**inputs, workdir=tmp_path / "work", settings={**SETTINGS, "precision": precision})
    release = read_release(tmp_path / "work", release_id)
    plan = json.loads(release.path("index", "search.json").read_text())
    assert plan["resident"]["precision"] == precision
    assert max(row["recall"] for row in plan["curve"] if row["precision"] == precision) >= 0.99
    vectors = np.array([one["vector"] for one in read_golden(release.directory)], dtype=np.float32)
    with open_search(release) as small, open_search(release.directory) as searcher:
        exact = ExactEngine(np.array(searcher._vectors)).search(searcher.prepared(vectors), 10)
        for hits, (rows, scores) in zip(small.search(vectors, 10), exact, strict=True):
            assert len({hit.row for hit in hits} & set(rows.tolist())) >= 9
            np.testing.assert_allclose(hits[0].score, scores[0], rtol=1e-6)


def test_a_candidate_that_is_being_built_is_not_cleared_away(tmp_path, fake_towers, monkeypatch):
    workdir, cleared = tmp_path / "work", []

    def while_others_clear_up(*arguments, **named):
        cleared.append(collect_garbage(workdir))
        return write_index(*arguments, **named)

    monkeypatch.setattr(step, "write_index", while_others_clear_up)
    release_id = step.run(**make_inputs(tmp_path), workdir=workdir, settings=SETTINGS)
    assert cleared == [[]]
    assert list_release_ids(workdir) == [release_id]
    assert list(workdir.glob("releases/*.hold")) == []


def test_survival_figures_of_relevance_control_are_kept(shop):
    plan = json.loads(shop[2].path("index", "search.json").read_text())
    assert plan["relevance"]["with_key_terms"] == 1.0
    assert 0.0 < plan["relevance"]["removed"] < 1.0
    assert plan["relevance"]["engaged_kept"] == 1.0
    assert plan["relevance"]["kinds"]["category"]["agreement"] == 1.0


def test_a_model_of_another_paper_is_not_boosted_unless_asked_and_inner_products_are_not_scaled(tmp_path, fake_towers):
    inputs = make_inputs(tmp_path, score="inner_product")
    release_id = step.run(**inputs, workdir=tmp_path / "work", settings={**SETTINGS, "boosting": "auto"})
    release = read_release(tmp_path / "work", release_id)
    assert release.boosting["weights"] == []
    assert release.boosting["report"]["reason"] == "index.boosting is auto and the model fake"
    assert json.loads(release.path("index", "search.json").read_text())["score"] == "inner_product"


def test_shards_embedded_apart_give_the_same_vectors(shop, tmp_path, fake_towers):
    inputs, _, release = shop
    for shard in range(3):
        step.embed_part(inputs["examples"], inputs["towers"], tmp_path / str(shard), f"{shard + 1}/3")
    joined = join_shards([tmp_path / str(shard) for shard in range(3)], 240)
    stored = load_vectors(release.path("index", "vectors.npy"))[:, : joined.shape[1]]
    np.testing.assert_allclose(joined, stored, atol=1e-6)


def test_a_release_of_shards_embedded_apart_is_the_one_of_a_whole_catalogue(shop, tmp_path, fake_towers):
    inputs, _, release = shop
    shards = [tmp_path / name for name in ("a", "b")]
    for number, folder in enumerate(shards, 1):
        step.embed_part(inputs["examples"], inputs["towers"], folder, f"{number}/2", SETTINGS)
    release_id = step.run(**inputs, workdir=tmp_path / "work", settings=SETTINGS, shards=shards)
    made = read_release(tmp_path / "work", release_id).path("index", "vectors.npy")
    np.testing.assert_allclose(load_vectors(made), load_vectors(release.path("index", "vectors.npy")), atol=1e-6)


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "/", "a/b", "1/0", "-1/2"])
def test_a_part_that_does_not_exist_is_refused(shop, tmp_path, fake_towers, part):
    with pytest.raises(BadSetting, match="is no part of a catalogue"):
        step.embed_part(shop[0]["examples"], shop[0]["towers"], tmp_path / "x", part)
    assert not (tmp_path / "x").exists()


def test_more_parts_than_products_are_refused(shop, tmp_path, fake_towers):
    with pytest.raises(BadSetting, match="a catalogue of 240 products has no 241 parts"):
        step.embed_part(shop[0]["examples"], shop[0]["towers"], tmp_path / "x", "1/241")


@pytest.mark.parametrize(
    ("spoil", "error", "part"),
    [
        (lambda i: (i["towers"] / "towers.safetensors").unlink(), NotFound, r"no towers\.safetensors"),
        (lambda i: (i["towers"] / "model.json").write_text("{}"), BadInput, "does not name its model and score"),
        (lambda i: (i["evaluation"] / "evaluation.json").unlink(), NotFound, r"evaluation\.json does not exist"),
        (lambda i: (i["examples"] / "products.parquet").unlink(), NotFound, "no products file"),
        (lambda i: [(i["examples"] / f"{s}.parquet").unlink() for s in ("train", "validation", "test")],
         BadInput, "holds no search"),
    ],
)  # fmt: skip
def test_bad_inputs_stop_the_step_and_leave_nothing(tmp_path, fake_towers, spoil, error, part):
    inputs = make_inputs(tmp_path, make_products(40))
    spoil(inputs)
    with pytest.raises(error, match=part):
        step.run(**inputs, workdir=tmp_path / "work", settings=SETTINGS, release_id="release-2")
    left = [path.name for path in (tmp_path / "work" / "releases").glob("*")] if (tmp_path / "work").exists() else []
    assert left in ([], [".owner"])


def test_a_broken_item_tower_stops_the_step(tmp_path, fake_towers):
    products = make_products(40)
    titles = ["BROKEN " * (row == 11) + title for row, title in enumerate(products.column("title").to_pylist())]
    inputs = make_inputs(tmp_path, products.set_column(1, "title", [titles]))
    with pytest.raises(BadInput, match="the vector of product 'p0011' holds a NaN"):
        step.run(**inputs, workdir=tmp_path / "work", settings=SETTINGS)
    assert list_release_ids(tmp_path / "work") == []


def test_a_collection_that_fails_verification_never_becomes_a_release(tmp_path, fake_towers, monkeypatch):
    inputs = make_inputs(tmp_path, make_products(40))
    monkeypatch.setattr(VectorStore, "count", lambda self, name: 39)
    with pytest.raises(GateClosed, match="holds 39 products instead of 40"):
        step.run(**inputs, workdir=tmp_path / "work", settings=SETTINGS)
    assert list_release_ids(tmp_path / "work") == []


@pytest.mark.parametrize(
    ("arguments", "error", "part"),
    [
        ({"release_id": "release-1"}, BadInput, "exists already"),
        ({"release_id": "../x"}, BadInput, "is not a release id"),
        ({"settings": {"milvus_index": "DISKANN"}}, BadSetting, "not usable on a Milvus lite"),
        ({"provenance": "nope"}, BadSetting, "provenance is not a JSON object"),
        ({"provenance": "[1]"}, BadSetting, "must be a JSON object, not list"),
    ],
)
def test_bad_arguments_stop_the_step_before_any_work(shop, fake_towers, arguments, error, part):
    inputs, workdir, _ = shop
    with pytest.raises(error, match=part):
        step.run(**{**inputs, "workdir": workdir, "settings": SETTINGS, **arguments})


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.index import fakes
fakes.install()
import components.index.{module} as module
whole = module.{function}
def killed(*arguments, **named):
    {before}os.kill(os.getpid(), signal.SIGKILL)
    whole(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
module.{function} = killed
from components.index.step import run
folder = Path(sys.argv[1])
inputs = [folder / name for name in ("examples", "towers", "evaluation", "work")]
run(*inputs, {settings!r}, release_id="release-2")
"""


@pytest.mark.parametrize(
    ("module", "function", "before"),
    [
        ("assemble", "build_collection", True),
        ("collection", "verify_collection", False),
        ("step", "write_release", True),
    ],
)
def test_a_run_killed_anywhere_leaves_the_served_release_and_the_next_run_completes(
    shop, tmp_path, fake_towers, module, function, before
):
    make_inputs(tmp_path, make_products(40))
    workdir = tmp_path / "work"
    inputs = {name: tmp_path / name for name in ("examples", "towers", "evaluation")}
    code = KILLED.format(module=module, function=function, before="" if before else "# ", settings=SETTINGS)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert list_release_ids(workdir) == []
    assert current_release_id(workdir) is None
    assert not (workdir / "releases" / "release-2").exists()

    assert step.run(**inputs, workdir=workdir, settings=SETTINGS, release_id="release-2") == "release-2"
    verify_files(read_release(workdir, "release-2"))
    with open_search(read_release(workdir, "release-2")) as searcher:
        assert len(searcher) == 40
