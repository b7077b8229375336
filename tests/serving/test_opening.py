"""A release made by the index step, opened for serving: verified, searched and explained as it was made."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.common.errors import BadInput, NotFound
from components.common.files import read_json
from components.common.manifest import read_release, set_current
from components.features.history import History
from components.index.search import open_search
from components.serving.explain import explain
from components.serving.loaded_release import LoadedRelease
from components.serving.metrics import Metrics
from components.serving.opening import index_settings, online_store, open_release
from components.serving.replies import Reply
from components.serving.requests import SearchRequest, parse_instance
from components.serving.retrieval import Retriever
from components.serving.rollout import ReleaseTable
from components.serving.settings import ServingSettings
from components.serving.smoke import instance
from tests.index.fakes import encoder_module, make_inputs
from tests.serving.fakes import FakeStore

PATIENT = ServingSettings(cache="off", feature_budget_ms=5000, tower_budget_ms=5000, search_budget_ms=5000)

CLICKED = {
    "product_ids": ["p0007"], "actions": [1], "timestamps": [1], "queries": [], "query_timestamps": [],
    "bought_product_ids": [], "bought_timestamps": [],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def towers_of_words() -> Iterator[None]:
    """Towers that need no training stand for the real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "components.towers.encoder", encoder_module())
        patch.delenv("TOWERLINE_MILVUS_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work directory with one promoted release. Read only."""
    from components.index.step import run

    folder = tmp_path_factory.mktemp("real")
    settings = {"golden_requests": "20", "boosting_trials": "5", "tuning_queries": "20", "relevance": "after"}
    origin = {"code": "c0de", "settings": {"towers.epochs": "1"}}
    release_id = run(
        **make_inputs(folder), workdir=folder / "work", settings=settings, provenance=json.dumps(origin),
        release_id="release-1",
    )  # fmt: skip
    set_current(folder / "work", release_id)
    return folder / "work"


@pytest.fixture(scope="module")
def release(workdir: Path) -> Iterator[LoadedRelease]:
    opened = open_release(workdir, "release-1", PATIENT)
    yield opened
    opened.retire()


@pytest.fixture
def retriever(release: LoadedRelease, metrics: Metrics) -> Retriever:
    table = ReleaseTable(release)
    return Retriever(lambda: table, FakeStore(), PATIENT, metrics)


def ask(retriever: Retriever, request: SearchRequest) -> Reply:
    (answer,) = retriever.answer([request])
    assert isinstance(answer, Reply), answer
    return answer


def test_golden_requests_come_back_as_stored(workdir: Path, retriever: Retriever) -> None:
    """Vectors and products, through the request format that the smoke test uses."""
    golden = read_json(workdir / "releases" / "release-1" / "golden.json")
    for item in golden:
        request = parse_instance(instance(item), "golden", PATIENT)
        (made,) = retriever.embed([request])
        np.testing.assert_allclose(made.vector, item["vector"], atol=1e-5)  # type: ignore[union-attr]
        assert list(ask(retriever, request).found.product_ids) == item["products"]


def test_key_terms_keep_what_carries_them(workdir: Path, release: LoadedRelease, retriever: Retriever) -> None:
    """With relevance control every product carries the terms; without it the list is the index's own."""
    assert release.index is not None
    request = SearchRequest("red lamp", k=5)
    controlled = ask(retriever, request).found.product_ids
    plain = ask(retriever, replace(request, relevance=False)).found.product_ids
    assert len(controlled) == 5
    assert all(release.index.terms("red lamp", product_id) for product_id in controlled)
    with open_search(workdir / "releases" / "release-1") as searcher:
        (vector,) = release.encoder.encode([release.make_request(request, History.empty(), 0)])
        assert list(plain) == [hit.product_id for hit in searcher.search(vector[None], 5)[0]]


@pytest.mark.parametrize(
    ("filter_", "holds"),
    [
        ({"brand": "Kestrel"}, lambda row: row["brand"] == "Kestrel"),
        ({"category": "Home > Kitchen"}, lambda row: row["category"].startswith("Home > Kitchen")),
        ({"price_min": 50, "price_max": 90.5}, lambda row: 50 <= row["price"] <= 90.5),
        ({"in_stock": True, "country": "DE"}, lambda row: row["in_stock"] is not False and row["country"] == "DE"),
    ],
)
def test_filters_hold_for_every_product(release: LoadedRelease, retriever: Retriever, filter_: dict, holds) -> None:  # type: ignore[no-untyped-def]
    request = parse_instance({"query": "red lamp", "k": 20, "filter": filter_}, "the test", PATIENT)
    rows = release.products.rows(ask(retriever, request).found.product_ids)
    assert len(rows) >= 3
    assert all(row is not None and holds(row) for row in rows)


def test_a_value_the_catalogue_does_not_know_matches_nothing(release: LoadedRelease, retriever: Retriever) -> None:
    assert release.knows("category", "Home > Lighting > Lamps")
    assert not release.knows("brand", "x' or 1 == 1")
    request = parse_instance({"query": "lamp", "filter": {"brand": "Nobody"}}, "the test", PATIENT)
    assert ask(retriever, request).found.product_ids == ()


def test_an_explanation_names_terms_and_the_rank_without_the_shopper(
    release: LoadedRelease, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(release.encoder), "attention", lambda self, request: [("p0007", 0.8)], raising=False)
    request = SearchRequest("red lamp", k=8, history=CLICKED, now=2)
    answer = explain(release, retriever, request, ask(retriever, request))
    assert answer["behaviours"] == [{"product_id": "p0007", "weight": 0.8}]
    assert {term["kind"] for product in answer["products"] for term in product["terms"]} >= {"category"}
    anyway = replace(request, relevance=False)
    ranks = [item["anonymous_rank"] for item in explain(release, retriever, anyway, ask(retriever, anyway))["products"]]
    assert len(ranks) == 8
    assert all(isinstance(rank, int) and 1 <= rank <= 100 for rank in ranks)


def test_towers_that_cannot_tell_their_attention_leave_the_products_and_say_so(
    release: LoadedRelease, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, request: Any) -> Any:
        raise RuntimeError("state does not fit the model")

    monkeypatch.setattr(type(release.encoder), "attention", fail, raising=False)
    request = SearchRequest("red lamp", k=8, history=CLICKED, now=2)
    answer = explain(release, retriever, request, ask(retriever, request))
    assert len(answer["products"]) == 8
    assert answer["behaviours"] == []
    assert answer["degraded"] == ["reasons: this release cannot tell which behaviours weigh"]


def test_an_explanation_says_what_boosting_added(release: LoadedRelease, retriever: Retriever) -> None:
    """The score is the cosine of the towers plus the boost; a product that is not there has none."""
    request = SearchRequest("red lamp", k=8)
    products = explain(release, retriever, request, ask(retriever, request))["products"]
    (vector,) = release.encoder.encode([release.make_request(request, History.empty(), 0)])
    assert release.vectors is not None
    assert release.boosts is not None
    cosines = release.vectors([product["product_id"] for product in products]) @ (vector / np.linalg.norm(vector))
    scores = np.array([product["score"] for product in products])
    np.testing.assert_allclose(scores - cosines, [product["boost"] for product in products], atol=1e-5)
    assert release.boosts(["nowhere"]).tolist() == [0.0]


def test_lexical_search_finds_what_shares_a_word(release: LoadedRelease) -> None:
    assert release.lexical is not None
    found = release.lexical("kettles", 5)
    rows = release.products.rows([product_id for product_id, _ in found])
    assert len(rows) == 5
    assert all(row is not None and "kettle" in row["title"] for row in rows)
    assert release.lexical("zzzz", 5) == []


def test_a_release_is_searched_with_the_settings_it_was_made_with(workdir: Path) -> None:
    """Whether they came from a command line or from a pipeline's parameters: the index itself keeps them."""
    made_with = index_settings(read_release(workdir, "release-1"))
    assert (made_with.relevance, made_with.golden_requests) == ("after", 20)


@pytest.mark.parametrize(
    ("setting", "expected"), [("auto", "redis"), ("local", "local")], ids=["auto is the release's", "given wins"]
)
def test_the_feature_store_is_the_one_the_release_was_made_with(workdir: Path, setting: str, expected: str) -> None:
    release = replace(read_release(workdir, "release-1"), environment="redis")
    assert online_store(release, workdir, ServingSettings(environment=setting)).environment == expected


@pytest.mark.parametrize("name", ["index/vectors.npy", "towers/towers.safetensors", "index/terms.json"])
def test_a_changed_file_is_noticed_before_it_serves(workdir: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(workdir, tmp_path / "copy")
    path = tmp_path / "copy" / "releases" / "release-1" / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BadInput, match="changed after it was made"):
        open_release(tmp_path / "copy", "release-1", PATIENT)


def test_an_unknown_release_is_not_found(workdir: Path) -> None:
    with pytest.raises(NotFound, match="release-9"):
        open_release(workdir, "release-9", PATIENT)
