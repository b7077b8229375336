"""Product boosting: weights found on purchases, taken only when they help and do no harm."""

import numpy as np
import pyarrow as pa
import pytest

from components.index.assemble import extend_items, item_vectors
from components.index.boosting import Boosting, _Bench, tune_boosting
from components.index.quality import FEATURES, Quality
from components.index.settings import IndexSettings
from components.index.vectors import extend_queries, unit

SETTINGS = IndexSettings(boosting_trials=40, recall_k=5)


def shop_where(ratings_matter: bool, seed=0, count=400, searches=80):
    """Vectors, quality features and purchases; the buyers look at the first feature, or at nothing but the vectors."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((count, 16)))
    features = rng.uniform(-0.5, 0.5, (count, 2)).astype(np.float32)
    queries = unit(rng.standard_normal((searches, 16)))
    scores = queries @ vectors.T + (0.3 * features[:, 0] if ratings_matter else 0.0)
    return queries, vectors, features, [np.argsort(-row)[:3] for row in scores]


def tuned(ratings_matter: bool) -> Boosting:
    queries, vectors, features, bought = shop_where(ratings_matter)
    quality = Quality({"rating": [0.0, 1.0], "sales": [0.0, 1.0]})
    return tune_boosting(queries, vectors, features, quality, bought, SETTINGS)


def test_a_quality_that_buyers_look_at_is_found_and_helps_both_halves():
    boosting = tuned(ratings_matter=True)
    report = boosting.report
    assert boosting.on
    assert boosting.weights[0] > abs(boosting.weights[1])
    assert report["tuned_half"]["with"] > report["tuned_half"]["without"]
    assert report["held_out_half"]["with"] >= report["held_out_half"]["without"]


def test_boosting_stays_off_where_quality_says_nothing():
    boosting = tuned(ratings_matter=False)
    assert not boosting.on
    assert not len(boosting.weights)
    assert boosting.report["tuned_half"]["without"] == 1.0  # the buyers took the best three of the vectors


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_luck_with_the_searches_it_was_tuned_on_turns_no_boosting_on(seed):
    """The buyers take any of the best fifteen; some weights then always do a little better on one half."""
    queries, vectors, features, _ = shop_where(False, seed, searches=200)
    rng, near = np.random.default_rng(seed), np.argsort(-(queries @ vectors.T), axis=1)[:, :15]
    bought = [rng.permutation(rows)[:3] for rows in near]
    boosting = tune_boosting(
        queries, vectors, features, Quality({"rating": [0.0, 1.0], "sales": [0.0, 1.0]}), bought, SETTINGS
    )
    half = boosting.report["tuned_half"]
    assert half["with"] > half["without"]
    assert not boosting.on


def test_the_found_weights_never_lower_the_recall_they_were_tuned_on():
    for seed in range(3):
        queries, vectors, features, bought = shop_where(False, seed)
        bench = _Bench(queries, vectors, features, bought, 10)
        everyone = np.ones(len(queries), dtype=bool)
        weights = bench.search(everyone, 12, seed)
        assert bench.recalls(weights).mean() >= bench.recalls(np.zeros(2)).mean()


def test_too_few_purchases_or_no_quality_leave_boosting_off():
    queries, vectors, features, bought = shop_where(True)
    few = tune_boosting(queries[:5], vectors, features, Quality({"rating": [0.0, 1.0]}), bought[:5], SETTINGS)
    assert "only 5 searches led to purchases" in few.report["reason"]
    none = tune_boosting(queries, vectors, features[:, :0], Quality({}), bought, SETTINGS)
    assert "no quality feature" in none.report["reason"]


def test_the_extended_product_is_the_sum_of_both_scores(products):
    quality = Quality.learn(products)
    weights = np.array([0.1, -0.2, 0.3, 0.05], dtype=np.float32)
    boosting = Boosting(weights, quality, {})
    rng = np.random.default_rng(2)
    vectors, queries = rng.standard_normal((products.num_rows, 8)), rng.standard_normal((5, 8))
    items = extend_items(item_vectors(vectors, cosine=True), boosting, products)
    scores = extend_queries(queries.astype(np.float32), weights, cosine=True) @ items.T
    expected = unit(queries) @ unit(vectors).T + quality.features(products) @ weights
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_quality_is_the_quantile_in_the_catalogue_and_a_missing_value_is_the_median(products):
    quality = Quality.learn(products)
    assert quality.names == list(FEATURES)
    features = quality.features(products)
    assert features.dtype == np.float32
    assert np.abs(features).max() <= 0.5
    ratings = np.array(products.column("rating").to_pylist())
    order = np.argsort(ratings, kind="stable")
    assert (np.diff(features[order, 0]) >= 0).all()
    blank = products.slice(0, 1).set_column(
        products.schema.get_field_index("rating"), "rating", pa.array([None], type=pa.float64())
    )
    assert quality.features(blank)[0, 0] == 0.0
    constant = products.set_column(
        products.schema.get_field_index("rating"), "rating", pa.array([4.0] * products.num_rows)
    )
    assert "rating" not in Quality.learn(constant).names


def test_boosting_survives_its_file(tmp_path):
    boosting = Boosting(np.array([0.25], dtype=np.float32), Quality({"rating": [1.0, 2.0]}), {"on": True})
    boosting.write(tmp_path / "boosting.json")
    again = Boosting.read(tmp_path / "boosting.json")
    assert (again.weights.tolist(), again.quality, again.report) == ([0.25], boosting.quality, {"on": True})


@pytest.mark.parametrize("cosine", [True, False])
def test_without_boosting_nothing_is_appended(products, cosine):
    vectors = np.random.default_rng(1).standard_normal((products.num_rows, 8)).astype(np.float32)
    items = extend_items(item_vectors(vectors, cosine), Boosting.off("test"), products)
    assert items.shape == vectors.shape
    np.testing.assert_allclose(
        np.linalg.norm(items, axis=1), 1.0 if cosine else np.linalg.norm(vectors, axis=1), rtol=1e-6
    )
