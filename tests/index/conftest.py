import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.common.manifest import Release, read_release, set_current
from components.index.backends import lite_backend
from components.index.codes import Codes
from components.index.store import Rows, VectorStore
from tests.index.fakes import DIMENSION, encoder_module, make_inputs, make_products

SETTINGS = {"golden_requests": "20", "boosting_trials": "25", "tuning_queries": "40", "boosting": "on"}


@pytest.fixture(scope="session", autouse=True)
def no_server():
    """These tests never touch a Milvus server that the developer's environment names."""
    saved = os.environ.pop("TOWERLINE_MILVUS_URI", None)
    yield
    if saved is not None:
        os.environ["TOWERLINE_MILVUS_URI"] = saved


@pytest.fixture
def fake_towers(monkeypatch):
    monkeypatch.setitem(sys.modules, "components.towers.encoder", encoder_module())


@pytest.fixture(scope="session")
def products() -> pa.Table:
    return make_products()


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> tuple[dict[str, Path], Path, Release]:
    """Inputs of the step, a work directory, and the release the step made there, promoted. Read only."""
    from components.index.step import run

    folder = tmp_path_factory.mktemp("shop")
    inputs = make_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "components.towers.encoder", encoder_module())
        release_id = run(
            **inputs, workdir=folder / "work", settings=SETTINGS, provenance='{"code": "c0de"}', release_id="release-1"
        )
    set_current(folder / "work", release_id)
    return inputs, folder / "work", read_release(folder / "work", release_id)


@pytest.fixture(scope="session")
def vectors(products) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((products.num_rows, DIMENSION)).astype(np.float32)


@pytest.fixture(scope="session")
def rows(products, vectors) -> Rows:
    return Rows(products.column("product_id").to_pylist(), vectors, Codes.learn(products).columns(products))


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory, rows):
    """A Lite store whose collection towerline_filled holds the products. Read only."""
    with VectorStore(lite_backend(tmp_path_factory.mktemp("milvus"))) as store:
        store.create("towerline_filled", DIMENSION)
        store.upsert("towerline_filled", rows)
        store.flush("towerline_filled")
        store.build_index("towerline_filled", "FLAT", {})
        store.load("towerline_filled")
        yield store
