"""The vector store on Milvus Lite, for real."""

import subprocess
import sys

import numpy as np
import pytest

from components.common.errors import BadInput, BadSetting, NotFound, Unavailable
from components.index.backends import (
    INDEX_TYPES,
    Backend,
    build_parameters,
    choose_backend,
    choose_index_type,
    lite_backend,
    search_ladder,
    search_parameters,
)
from components.index.store import Rows, VectorStore, collection_name
from tests.index.fakes import DIMENSION

NAME = "towerline_t"


def part(rows: Rows, start: int, stop: int, vectors=None) -> Rows:
    chosen = slice(start, stop)
    scalars = {name: values[chosen] for name, values in rows.scalars.items()}
    return Rows(rows.product_ids[chosen], rows.vectors[chosen] if vectors is None else vectors, scalars)


def test_what_was_written_is_read_back_by_the_next_opener(tmp_path, rows):
    backend = lite_backend(tmp_path)
    with VectorStore(backend) as store:
        store.create(NAME, DIMENSION)
        assert store.upsert(NAME, part(rows, 0, 50), batch=20) == 50
        store.upsert(NAME, part(rows, 0, 3, rows.vectors[:3] * 2))  # the same keys again
        store.flush(NAME)
        store.build_index(NAME, "IVF_FLAT", build_parameters("IVF_FLAT", 50))
    with VectorStore(backend) as store:
        store.load(NAME)
        assert store.count(NAME) == 50
        stored = store.read(NAME, [*rows.product_ids[:50], "unknown"])
        assert len(stored) == 50
        np.testing.assert_array_equal(stored["p0001"]["vector"], rows.vectors[1] * 2)
        np.testing.assert_array_equal(stored["p0049"]["vector"], rows.vectors[49])
        for name, values in rows.scalars.items():
            assert stored["p0049"][name] == values[49].item()
        store.delete(NAME, ["p0049", "unknown"])
        assert store.count(NAME) == 49
        assert [key for key, _ in store.search(NAME, rows.vectors[5:6], 1)[0]] == ["p0005"]
        store.rename(NAME, "towerline_other")
        assert store.collections() == ["towerline_other"]
        store.drop("towerline_other")
        assert store.collections() == []
        with pytest.raises(NotFound):
            store.rename("towerline_other", NAME)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_before_anything_is_written(filled_store, rows, bad):
    vectors = rows.vectors[:4].copy()
    vectors[2, 7] = bad
    with pytest.raises(BadInput, match="product 'p0002' holds a NaN or infinite value"):
        filled_store.upsert("towerline_filled", part(rows, 0, 4, vectors))
    np.testing.assert_array_equal(filled_store.read("towerline_filled", ["p0000"])["p0000"]["vector"], rows.vectors[0])


@pytest.mark.parametrize("name", INDEX_TYPES["lite"])
def test_every_index_type_on_the_list_survives_a_reopening(tmp_path, rows, name):
    backend = lite_backend(tmp_path)
    with VectorStore(backend) as store:
        store.create(NAME, DIMENSION)
        store.upsert(NAME, rows)
        store.flush(NAME)
        store.build_index(NAME, name, build_parameters(name, len(rows.product_ids)))
    with VectorStore(backend) as store:
        store.load(NAME)
        effort = search_ladder(name, len(rows.product_ids), 10)[-1]
        found = store.search(NAME, rows.vectors[:20], 10, parameters=effort)
    assert [hits[0][0] for hits in found] == rows.product_ids[:20]


@pytest.mark.parametrize("name", ["DISKANN", "SCANN", "IVF_PQ", "GPU_CAGRA", "none"])
def test_an_index_type_off_the_list_is_refused(filled_store, name):
    with pytest.raises(BadSetting, match="use auto or one of FLAT"):
        choose_index_type(filled_store.backend, name, "float32")
    with pytest.raises(BadSetting, match="not usable on a Milvus lite"):
        filled_store.build_index("towerline_filled", name, {})


def test_float16_vectors_are_refused_where_milvus_has_none(filled_store):
    with pytest.raises(BadSetting, match="no float16 vectors"):
        filled_store.create("towerline_half", DIMENSION, float16=True)


def test_a_second_process_is_told_that_the_directory_is_taken(filled_store):
    code = (
        "from components.index.backends import Backend\n"
        "from components.index.store import VectorStore\n"
        "from components.common.errors import Unavailable\n"
        "try:\n"
        f"    VectorStore(Backend('lite', {filled_store.backend.uri!r}))\n"
        "except Unavailable as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "another process may hold it" in done.stdout


def test_a_server_that_is_not_there_is_unavailable_and_no_password_is_shown():
    with pytest.raises(Unavailable, match="could not be opened") as caught:
        VectorStore(Backend("server", "http://user:geheim@127.0.0.1:1", "token"), timeout=1.0)
    assert "geheim" not in str(caught.value)
    assert "token" not in repr(Backend("server", "http://x", "token"))


def test_the_environment_chooses_the_backend(tmp_path):
    assert choose_backend(tmp_path, {}).is_lite
    server = choose_backend(tmp_path, {"TOWERLINE_MILVUS_URI": "http://m:19530", "TOWERLINE_MILVUS_TOKEN": "t"})
    assert (server.kind, server.uri, server.token) == ("server", "http://m:19530", "t")
    with pytest.raises(BadSetting, match="must be a URI"):
        choose_backend(tmp_path, {"TOWERLINE_MILVUS_URI": "some.db"})
    with pytest.raises(BadSetting, match="not 'm:19530'") as caught:
        choose_backend(tmp_path, {"TOWERLINE_MILVUS_URI": "user:geheim@m:19530"})
    assert "geheim" not in str(caught.value)


def test_search_effort_is_never_below_the_depth():
    assert search_parameters({"ef": 100, "nprobe": 8}, 1000) == {"ef": 1000, "nprobe": 8}
    assert search_parameters({"ef": 400}, 10) == {"ef": 400}


def test_a_collection_is_named_after_its_release():
    assert collection_name("20260102-030405-1a2b3c") == "towerline_20260102_030405_1a2b3c"
