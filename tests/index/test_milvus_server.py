"""The same code against a real Milvus server process.

Install one apart from the project (`python -m venv DIR && DIR/bin/pip install --no-deps milvus==2.3.5 setuptools<81`)
and name its interpreter in TOWERLINE_MILVUS_SERVER_PYTHON; without it these tests are skipped.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry

from components.common.errors import BadSetting, Unavailable
from components.common.manifest import read_release, set_current
from components.index import step
from components.index.backends import Backend
from components.index.filters import Filter
from components.index.garbage import collect_collections, owner_mark
from components.index.golden import read_golden
from components.index.search import open_search
from components.index.settings import IndexSettings
from components.index.store import VectorStore
from components.index.upsert import upsert_products
from components.serving.metrics import Metrics
from components.serving.opening import open_release
from components.serving.requests import SearchRequest
from components.serving.retrieval import Retriever
from components.serving.rollout import ReleaseTable
from components.serving.settings import ServingSettings
from tests.index.conftest import SETTINGS
from tests.index.fakes import make_inputs, make_products
from tests.index.test_upsert import CHANGES, COLUMNS, write
from tests.serving.fakes import FakeStore

PYTHON = os.environ.get("TOWERLINE_MILVUS_SERVER_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="TOWERLINE_MILVUS_SERVER_PYTHON names no interpreter with the package milvus==2.3.5"
)


class Server:
    """A server process that can be stopped and started again on the same data and port."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, 0
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        script = Path(__file__).with_name("milvus_server.py")
        self.process = subprocess.Popen(
            [PYTHON, str(script), str(self.directory), str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = json.loads(self.process.stdout.readline())["port"]

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """The server takes connections and answers nothing: what a machine out of memory looks like."""
        assert self.process is not None
        processes = psutil.Process(self.process.pid).children(recursive=True)
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def stop(self) -> None:
        if self.process is not None:
            self.process.communicate("", timeout=60)
            self.process = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("milvus_server"))
    yield running
    running.stop()


@pytest.fixture
def environment(server, monkeypatch, fake_towers):
    monkeypatch.setenv("TOWERLINE_MILVUS_URI", server.uri)


@pytest.fixture(scope="module")
def released(server, tmp_path_factory):
    """A work directory whose served release lies on the server."""
    import sys

    from tests.index.fakes import encoder_module

    folder = tmp_path_factory.mktemp("server_shop")
    inputs = make_inputs(folder, make_products(300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOWERLINE_MILVUS_URI", server.uri)
        patch.setitem(sys.modules, "components.towers.encoder", encoder_module())
        release_id = step.run(**inputs, workdir=folder / "work", settings=SETTINGS, release_id="served-1")
    set_current(folder / "work", release_id)
    return inputs, folder / "work"


def test_a_release_on_a_server_answers_as_one_in_memory(environment, released):
    release = read_release(released[1], "served-1")
    assert (release.milvus["kind"], release.milvus["index_type"]) == ("server", "HNSW")
    assert release.milvus["verified"]["count"] == 300
    assert not release.path("milvus").exists()
    vectors = np.array([one["vector"] for one in read_golden(release.directory)], dtype=np.float32)
    filters = [None, Filter(brand="vela"), Filter(price_max=20.0), Filter(category="Boots", in_stock=False)] * 5
    with open_search(release) as on_server, open_search(release, '{"search": "resident"}') as resident:
        assert on_server.search(vectors, 100, filters) == resident.search(vectors, 100, filters)
        assert on_server.search(vectors[:1], 5, [Filter(brand="x' or 1==1")]) == [[]]


@pytest.mark.parametrize("index_type", ["FLAT", "IVF_FLAT", "IVF_SQ8", "SCANN"])
def test_every_index_type_on_the_list_reaches_its_recall(environment, released, tmp_path, index_type):
    inputs, _ = released
    settings = {**SETTINGS, "milvus_index": index_type, "recall_k": "20"}
    release_id = step.run(**inputs, workdir=tmp_path, settings=settings)
    release = read_release(tmp_path, release_id)
    assert release.milvus["index_type"] == index_type
    assert release.milvus["verified"]["recall"] >= 0.99


def test_an_upsert_makes_a_collection_of_its_own(environment, released, tmp_path):
    _, workdir = released
    child = read_release(workdir, upsert_products(workdir, write(tmp_path / "c.parquet", CHANGES, COLUMNS)))
    with open_search(child) as searcher, open_search(read_release(workdir, "served-1")) as parent:
        assert searcher.search(searcher.vectors_of(["n1"]), 1)[0][0].product_id == "n1"
        assert len(parent.search(parent.vectors_of(["p0004"]), 1)[0]) == 1
        assert "p0004" not in searcher.products.ids


def test_only_collections_of_this_work_directory_without_a_release_are_collected(environment, released, server):
    _, workdir = released
    mine, other = Backend("server", server.uri), Backend("server", server.uri)
    with VectorStore(mine, owner_mark(workdir)) as store:
        store.create("towerline_killed_run", 8)
    with VectorStore(other, "somebody else") as store:
        store.create("towerline_not_mine", 8)
    assert collect_collections(workdir, IndexSettings()) == ["towerline_killed_run"]
    with VectorStore(mine) as store:
        assert {"towerline_not_mine", "towerline_served_1"} <= set(store.collections())
        store.drop("towerline_not_mine")


def test_float16_vectors_need_a_newer_server(environment, released, tmp_path):
    with pytest.raises(BadSetting, match="no float16 vectors"):
        step.run(**released[0], workdir=tmp_path, settings={**SETTINGS, "precision": "float16"})


@pytest.fixture
def retriever(environment, released):
    """The endpoint's request path over the release on the server."""
    settings = ServingSettings(cache="off", tower_budget_ms=5000, search_budget_ms=1000, breaker_seconds=0.2)
    release = open_release(released[1], "served-1", settings)
    yield Retriever(lambda: ReleaseTable(release), FakeStore(), settings, Metrics(CollectorRegistry()))
    release.retire()


def answered_again(retriever, request):
    """The first answer that is not degraded, within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        (answer,) = retriever.answer([request])
        if not isinstance(answer, Unavailable) and not answer.degraded:
            return answer
        time.sleep(0.1)
    raise AssertionError("no good answer within a minute")


def test_while_the_server_stands_still_last_good_results_are_given_in_time(retriever, server):
    """Known queries get their last good result, new ones an error at once, both get their own answer afterwards."""
    known, new = (SearchRequest(query, k=10, relevance=False) for query in ("violet lamp", "oak kettle"))
    good = answered_again(retriever, known)
    with server.standing_still():
        for _ in range(8):
            begun = time.monotonic()
            degraded, refused = retriever.answer([known])[0], retriever.answer([new])[0]
            assert time.monotonic() - begun < 4.0
            assert degraded.found == good.found
            assert degraded.degraded[0].startswith("search: ")
            assert isinstance(refused, Unavailable)
    assert answered_again(retriever, known) == good
    assert answered_again(retriever, new).found.product_ids


def test_a_server_that_is_stopped_and_started_again_is_answered_for_and_then_found(retriever, server):
    known = SearchRequest("violet lamp", k=10, relevance=False)
    good = answered_again(retriever, known)
    server.stop()
    try:
        (degraded,) = retriever.answer([known])
        assert (degraded.found, degraded.release) == (good.found, good.release)
        assert replace(degraded, degraded=()) == good
        assert degraded.degraded[0].startswith("search: ")
    finally:
        server.start()
    assert answered_again(retriever, known) == good


def test_a_stopped_server_is_unavailable_in_time_and_a_restarted_one_answers(environment, released, server):
    release = read_release(released[1], "served-1")
    vectors = np.array([read_golden(release.directory)[0]["vector"]], dtype=np.float32)
    with open_search(release) as searcher:
        expected = searcher.search(vectors, 10)
        server.stop()
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="could not search"):
            searcher.search(vectors, 10, timeout=0.5)
        assert time.monotonic() - begun < 3.0
        server.start()
        deadline = time.monotonic() + 60
        while True:
            try:
                assert searcher.search(vectors, 10, timeout=5.0) == expected
                return
            except Unavailable:
                assert time.monotonic() < deadline, "the restarted server did not answer within a minute"
