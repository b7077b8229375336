"""Search in memory: exact, in a fixed order, and complete behind a filter."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.errors import BadInput, BadSetting, NotFound
from components.index.codes import CODE_COLUMNS, NO_PRICE
from components.index.filters import Filter
from components.index.products import Products, with_scalars
from components.index.ranking import rank
from components.index.resident import (
    ExactEngine,
    FaissEngine,
    build_faiss,
    factory,
    open_engine,
    recall_against,
    usable_cores,
)
from components.index.search import open_search
from tests.index.fakes import text_vector


def brute_force(vectors, query, k, rows=None):
    rows = np.arange(len(vectors)) if rows is None else rows
    scores = (vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 200),
    k=st.integers(1, 250),
    copies=st.integers(1, 5),
    share=st.floats(0, 1),
)
def test_exact_search_is_brute_force_with_ties_in_the_order_of_the_rows(seed, count, k, copies, share):
    rng = np.random.default_rng(seed)
    vectors = np.tile(rng.integers(-2, 3, (count, 6)).astype(np.float32), (copies, 1))  # full of ties
    queries = rng.standard_normal((4, 6)).astype(np.float32)
    rows = np.flatnonzero(rng.random(len(vectors)) < share)
    engine = ExactEngine(vectors)
    for limit in (None, rows):
        batch = engine.search(queries, k, limit)
        for query, found in zip(queries, batch, strict=True):
            expected = brute_force(vectors, query, k, limit)
            alone = engine.search(query[None], k, limit)[0]
            for got in (found, alone):
                np.testing.assert_array_equal(got[0], expected[0])
                np.testing.assert_array_equal(got[1], expected[1])


def test_equal_scores_come_in_the_order_of_the_rows_however_an_index_proposes_them():
    vectors, query = np.tile(np.eye(2, dtype=np.float32), (4, 1)), np.array([1.0, 0.0], dtype=np.float32)
    rows, scores = rank(vectors, query, np.array([6, 1, 2, 7, 4, 0]), 5)
    assert (rows.tolist(), scores.tolist()) == ([0, 2, 4, 6, 1], [1, 1, 1, 1, 0])


@pytest.fixture(scope="module")
def clustered():
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((30, 33)).astype(np.float32)
    vectors = centres[rng.integers(0, 30, 3000)] + 0.5 * rng.standard_normal((3000, 33)).astype(np.float32)
    queries = centres[rng.integers(0, 30, 20)] + 0.5 * rng.standard_normal((20, 33)).astype(np.float32)
    return vectors.astype(np.float32), queries.astype(np.float32)


@pytest.mark.parametrize(
    ("engine", "precision", "parameters"),
    [
        ("exact", "float16", {"fetch": 2}),
        ("exact", "int8", {"fetch": 2}),
        ("hnsw", "float32", {"ef": 400}),
        ("ivf_flat", "float32", {"nprobe": 64}),
        ("ivf_flat", "int8", {"nprobe": 64, "fetch": 2}),
        ("ivf_pq", "float32", {"nprobe": 64, "fetch": 10}),
    ],
)
def test_every_engine_finds_what_exact_search_finds_with_exact_scores(clustered, engine, precision, parameters):
    vectors, queries = clustered
    index = build_faiss(vectors, factory(engine, precision, *vectors.shape))
    exact = ExactEngine(vectors).search(queries, 50)
    found = FaissEngine(index, vectors, parameters).search(queries, 50)
    assert recall_against(found, exact, 50) > 0.98
    for (rows, scores), query in zip(found, queries, strict=True):
        np.testing.assert_array_equal(scores, brute_force(vectors, query, 50, np.sort(rows))[1])


def test_an_index_behind_a_filter_returns_as_many_as_there_are(clustered, monkeypatch):
    vectors, queries = clustered
    monkeypatch.setattr("components.index.resident._EXACT_SUBSET", 0)  # or the filtered search would be exact anyway
    engine = FaissEngine(build_faiss(vectors, factory("hnsw", "float32", *vectors.shape)), vectors, {"ef": 100})
    for count in (3, 60, 1500):
        rows = np.sort(np.random.default_rng(count).choice(len(vectors), count, replace=False))
        for found, _ in engine.search(queries, 100, rows):
            assert len(found) == min(100, count)
            assert np.isin(found, rows).all()


def test_an_index_of_other_vectors_is_refused(clustered, tmp_path):
    import faiss

    vectors, _ = clustered
    faiss.write_index(build_faiss(vectors[:100], "Flat"), str(tmp_path / "resident.faiss"))
    with pytest.raises(BadInput, match=r"holds 100 vectors, vectors\.npy 3000"):
        open_engine(vectors, {"faiss": "Flat", "parameters": {}}, tmp_path / "resident.faiss")


@pytest.fixture(scope="module")
def searcher(shop):
    with open_search(shop[2]) as opened:
        yield opened


@pytest.mark.parametrize(("stated", "cores"), [("3", 3), ("2,1", 2), ("", 8), ("0", 8), ("many", 8)])
def test_a_container_uses_the_cores_it_was_given(monkeypatch, stated, cores):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert usable_cores() == cores


def test_each_query_has_its_own_filter(searcher):
    queries = np.stack([text_vector(["red lamp"])] * 4)
    filters = [None, Filter(brand="Vela"), Filter(brand="nobody"), Filter(price_max=50.0, in_stock=True)]
    plain, vela, nobody, cheap = searcher.search(queries, 10, filters)
    assert len(plain) == 10
    assert {row["brand"] for row in searcher.products.at([hit.row for hit in vela])} == {"Vela"}
    assert nobody == []
    assert searcher.notes(filters[2]) == ("No product has the brand 'nobody'.",)
    assert len(cheap) == 10
    for row in searcher.products.at([hit.row for hit in cheap]):
        assert row["price"] <= 50.0
        assert row["in_stock"] is not False
    assert vela == searcher.search(queries[:1], 10, filters[1:2])[0]


def test_fields_that_no_product_has_are_known(searcher, tmp_path):
    path = tmp_path / "products.parquet"
    columns = {name: np.zeros(3, dtype=np.int32) for name in CODE_COLUMNS}
    columns |= {"price": np.full(3, NO_PRICE), "in_stock": np.ones(3, dtype=bool), "shop": np.array([0, 0, 4])}
    pq.write_table(with_scalars(pa.table({"product_id": ["a", "b", "c"]}), columns), path)
    assert Products(path).absent == {"brand", "category", "country", "price_min", "price_max"}
    assert searcher.products.absent == frozenset()


def test_many_threads_get_the_answers_of_one(searcher):
    queries = np.stack([text_vector([f"{colour} {kind}"]) for colour in ("red", "blue") for kind in ("lamp", "boot")])
    filters = [None, Filter(brand="Vela"), Filter(in_stock=False), Filter(category="Boots")]
    expected = searcher.search(queries, 20, filters)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: searcher.search(queries, 20, filters), range(40)))
    assert all(answer == expected for answer in answers)


def test_a_search_can_be_limited_to_rows(searcher):
    queries = np.stack([text_vector(["red lamp"])] * 2)
    limit = np.array([3, 50, 51, 200])
    limited, free = searcher.find(queries, 10, within=[limit, None])
    assert sorted(limited[0].tolist()) == limit.tolist()
    assert len(free[0]) == 10


def test_a_limit_and_a_filter_hold_together(searcher):
    queries = np.stack([text_vector(["red lamp"])] * 2)
    (vela, free) = searcher.find(queries, 1000, [Filter(brand="Vela"), None])
    limit = np.sort(np.concatenate([vela[0][:3], np.setdiff1d(free[0], vela[0])[:3]]))
    (both, without) = searcher.find(queries, 10, [Filter(brand="Vela"), None], within=[limit, limit])
    assert set(both[0].tolist()) == set(vela[0][:3].tolist())
    assert sorted(without[0].tolist()) == limit.tolist()


@pytest.mark.parametrize("k", [0, -1, 10_001, 1.5, True, "10"])
def test_a_bad_k_is_refused(searcher, k):
    with pytest.raises(BadInput, match="k must be a whole number"):
        searcher.search(text_vector(["lamp"])[None], k)


def test_bad_vectors_are_refused(searcher):
    with pytest.raises(BadInput, match=r"do not fit release release-1, whose towers give \[n, 24\]"):
        searcher.search(np.zeros((1, 7)), 5)
    with pytest.raises(BadInput, match="NaN or infinite"):
        searcher.search(np.full((1, searcher.dimension), np.nan), 5)
    with pytest.raises(BadInput, match="2 query vectors came with 1 filters"):
        searcher.search(np.ones((2, searcher.dimension)), 5, [None])


def test_item_vectors_are_those_of_the_tower(searcher, products):
    title = products.column("title")[7].as_py()
    found = searcher.vectors_of(["p0007", "unknown"])
    np.testing.assert_allclose(found[0], text_vector([title]), atol=1e-6)
    assert not found[1].any()
    assert searcher.products.rows(["unknown", "p0007"])[0] is None
    assert searcher.products.rows(["unknown", "p0007"])[1]["title"] == title


def test_a_missing_file_of_the_index_is_named(tmp_path, shop):
    with pytest.raises(NotFound, match=r"search\.json does not exist"):
        open_search(tmp_path)
    with pytest.raises(BadSetting, match=r"index\.search must be one of auto"):
        open_search(shop[2], '{"search": "elastic"}')
