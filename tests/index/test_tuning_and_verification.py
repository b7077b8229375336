"""Search parameters are found, not guessed; a collection that is not what was computed never becomes a release."""

import numpy as np
import pytest

from components.common.errors import BadSetting, GateClosed
from components.common.settings import from_overrides
from components.index import tuning
from components.index.backends import build_parameters, lists, search_ladder
from components.index.ranking import largest_norm
from components.index.resident import ExactEngine, open_engine, recall_against
from components.index.settings import IndexSettings
from components.index.store import Rows
from components.index.tuning import exact_results, tune_collection, tune_resident
from components.index.verify import verify_collection


@pytest.fixture(scope="module")
def clustered():
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((40, 32)).astype(np.float32)
    vectors = (centres[rng.integers(0, 40, 4000)] + 0.6 * rng.standard_normal((4000, 32))).astype(np.float32)
    queries = (centres[rng.integers(0, 40, 30)] + 0.6 * rng.standard_normal((30, 32))).astype(np.float32)
    return vectors, queries


def test_a_small_catalogue_is_searched_exactly_and_the_curve_shows_the_others(clustered, tmp_path):
    vectors, queries = clustered
    exact = exact_results(vectors, queries, 100)
    plan, curve = tune_resident(vectors, queries, exact, IndexSettings(), tmp_path / "r.faiss")
    assert (plan["engine"], plan["faiss"]) == ("exact", None)
    assert not (tmp_path / "r.faiss").exists()
    assert {row["engine"] for row in curve} == {"exact", "ivf_flat", "hnsw"}
    assert all(row["p50_ms"] > 0 and 0 <= row["recall"] <= 1 for row in curve)
    for engine in ("ivf_flat", "hnsw"):
        recalls = [row["recall"] for row in curve if row["engine"] == engine]
        assert recalls[-1] >= 0.99
        assert all(recall < 0.99 for recall in recalls[:-1])  # the ladder ends at the first sufficient effort


@pytest.mark.parametrize(("engine", "precision"), [("hnsw", "float32"), ("ivf_flat", "int8"), ("exact", "float16")])
def test_a_large_catalogue_gets_an_index_that_reaches_the_target_and_reopens(clustered, tmp_path, engine, precision):
    vectors, queries = clustered
    exact = exact_results(vectors, queries, 100)
    settings = IndexSettings(engines=(engine,), precision=precision, exact_up_to=1000)
    plan, _ = tune_resident(vectors, queries, exact, settings, tmp_path / "r.faiss")
    assert (plan["engine"], plan["precision"]) == (engine, precision)
    reopened = open_engine(vectors, plan, tmp_path / "r.faiss")
    assert recall_against(reopened.search(queries, 100), exact, 100) >= 0.99


@pytest.mark.parametrize(("hnsw", "ivf_flat", "chosen"), [(5.0, 1.0, "ivf_flat"), (1.0, 5.0, "hnsw")])
def test_the_fastest_engine_that_reaches_the_target_is_chosen(clustered, tmp_path, monkeypatch, hnsw, ivf_flat, chosen):
    milliseconds, measured = {"exact": 9.0, "hnsw": hnsw, "ivf_flat": ivf_flat}, tuning._measured
    monkeypatch.setattr(
        tuning,
        "_measured",
        lambda e, choice, *rest: measured(e, choice, *rest) | {"p50_ms": milliseconds[choice["engine"]]},
    )
    vectors, queries = clustered
    exact = exact_results(vectors, queries, 100)
    settings = IndexSettings(engines=("hnsw", "ivf_flat"), exact_up_to=1000)
    plan, _ = tune_resident(vectors, queries, exact, settings, tmp_path / "r.faiss")
    assert plan["engine"] == chosen
    assert recall_against(open_engine(vectors, plan, tmp_path / "r.faiss").search(queries, 100), exact, 100) >= 0.99


def test_recall_is_the_share_of_the_exact_best_that_was_found():
    def found(*rows):
        return [(np.array(rows), np.zeros(len(rows)))]

    assert recall_against(found(2, 4), found(4, 2, 7, 9), 4) == 0.5
    assert recall_against(found(9, 1, 2, 4), found(4, 2, 7, 9), 2) == 0.0


class GrowingStore:
    """A collection whose search finds as many of the exact best as it probes lists."""

    def __init__(self, exact, k):
        self.exact, self.k = exact, k

    def search(self, name, queries, k, parameters, float16):
        found = min(self.k, 10 * parameters["nprobe"])
        return [[(f"p{row}", 1.0) for row in rows[:found]] for rows, _ in self.exact]


def test_a_collection_gets_the_cheapest_search_that_reaches_the_target(clustered):
    vectors, queries = clustered
    exact, row_of = exact_results(vectors, queries, 100), {f"p{row}": row for row in range(len(vectors))}
    for target in (0.5, 0.99):
        parameters, recall, curve = tune_collection(
            GrowingStore(exact, 100),
            "name",
            "IVF_FLAT",
            vectors,
            queries,
            exact,
            row_of,
            IndexSettings(target_recall=target),
        )
        recalls = [row["recall"] for row in curve]
        assert recalls[-1] == recall >= target > max(recalls[:-1], default=0.0)
        assert parameters == curve[-1]["parameters"]


def test_where_no_index_reaches_the_target_search_stays_exact(tmp_path):
    rng = np.random.default_rng(0)
    vectors, queries = (rng.standard_normal((count, 64)).astype(np.float32) for count in (3000, 20))
    exact = exact_results(vectors, queries, 5)
    settings = IndexSettings(engines=("ivf_pq",), exact_up_to=1, target_recall=1.0, recall_k=5)
    plan, curve = tune_resident(vectors, queries, exact, settings, tmp_path / "r.faiss")
    assert max(row["recall"] for row in curve if row["engine"] == "ivf_pq") < 1.0
    assert isinstance(open_engine(vectors, plan, tmp_path / "r.faiss"), ExactEngine)


def test_the_collection_of_the_store_is_tuned_on_its_own_answers(filled_store, rows):
    queries = rows.vectors[:30] + 0.1
    exact = exact_results(rows.vectors, queries, 50)
    row_of = {key: row for row, key in enumerate(rows.product_ids)}
    parameters, recall, curve = tune_collection(
        filled_store, "towerline_filled", "FLAT", rows.vectors, queries, exact, row_of, IndexSettings(recall_k=50)
    )
    assert (parameters, recall, len(curve)) == ({}, 1.0, 1)


def changed(rows: Rows, row: int, **columns) -> Rows:
    vectors = rows.vectors.copy()
    scalars = {name: values.copy() for name, values in rows.scalars.items()}
    vectors[row] += columns.pop("vector", 0.0)
    for name, value in columns.items():
        scalars[name][row] = value
    return Rows(rows.product_ids, vectors, scalars)


def test_a_collection_that_holds_what_was_written_is_verified(filled_store, rows):
    verified = verify_collection(filled_store, "towerline_filled", rows, 1.0, IndexSettings(target_recall=1.0))
    assert (verified.count, verified.compared) == (len(rows.product_ids), len(rows.product_ids))


@pytest.mark.parametrize(
    ("expected", "recall", "part"),
    [
        (
            lambda rows: Rows([*rows.product_ids, "more"], rows.vectors, rows.scalars),
            1.0,
            "240 products instead of 241",
        ),
        (lambda rows: Rows(["q", *rows.product_ids[1:]], rows.vectors, rows.scalars), 1.0, "lacks product 'q'"),
        (lambda rows: changed(rows, 9, vector=1e-6), 1.0, "another vector of product 'p0009'"),
        (lambda rows: changed(rows, 9, price=7.77), 1.0, "holds price = .* of product 'p0009'"),
        (lambda rows: changed(rows, 9, brand=99), 1.0, "holds brand = "),
        (lambda rows: rows, 0.98, "recall@100 of 0.9800"),
    ],
)
def test_any_difference_closes_the_gate(filled_store, rows, expected, recall, part):
    with pytest.raises(GateClosed, match=part):
        verify_collection(filled_store, "towerline_filled", expected(rows), recall, IndexSettings())


def test_ladders_climb_to_an_exhaustive_search():
    for products in (1, 50, 5_000, 1_000_000):
        steps = [step["nprobe"] for step in search_ladder("IVF_FLAT", products, 100)]
        assert steps == sorted(set(steps))
        assert steps[-1] == lists(products) == build_parameters("IVF_FLAT", products)["nlist"]
    assert lists(1_000_000) * 39 <= 1_000_000
    assert search_ladder("FLAT", 100, 10) == [{}]


def test_the_largest_norm_is_found_in_blocks():
    vectors = np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32)
    assert largest_norm(vectors, block=7) == pytest.approx(np.linalg.norm(vectors, axis=1).max())


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"precision": "int4"}, "precision must be one of"),
        ({"engines": "exact,annoy"}, "engines must name some of .* not annoy"),
        ({"engines": ""}, "not none"),
        ({"upsert_batch": "0"}, "upsert_batch must be at least 1"),
        ({"target_recall": "1.5"}, "share between 0 and 1"),
        ({"search_timeout": "0"}, "must be above 0"),
        ({"golden_requests": "5"}, "at least 20"),
        ({"seed": "-1"}, "seed must not be negative"),
        ({"target_recal": "0.9"}, "Did you mean 'target_recall'"),
    ],
)
def test_a_bad_setting_is_refused_with_a_sentence(overrides, part):
    with pytest.raises(BadSetting, match=part):
        from_overrides(IndexSettings, overrides)
