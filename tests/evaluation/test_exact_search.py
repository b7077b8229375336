import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.common.errors import BadInput
from components.evaluation.recall import VectorScorer, exact_search, tie_order
from components.evaluation.targets import Targets

SMALL = st.integers(-3, 3).map(float)


class Scores:
    """A scorer that returns a given matrix."""

    def __init__(self, matrix):
        self.matrix, self.products = np.asarray(matrix, dtype=np.float32), np.shape(matrix)[1]

    def scores(self, rows, columns):
        return self.matrix[rows, columns]


def naive(matrix, k, seed):
    place = tie_order(matrix.shape[1], seed)
    return [sorted(range(len(row)), key=lambda product, row=row: (-row[product], place[product]))[:k] for row in matrix]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 7), st.integers(1, 40)), elements=SMALL),
    st.integers(1, 50), st.integers(1, 50), st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_result_is_the_sorted_catalogue_whatever_the_blocks(matrix, k, chunk, seed):
    found = exact_search(Scores(matrix), len(matrix), k, seed, chunk=chunk)
    assert found.products.tolist() == naive(matrix, k, seed)
    assert found.scores.tolist() == np.take_along_axis(matrix, found.products, axis=1).tolist()


def test_scores_of_any_sign_and_size_keep_their_order():
    row = np.array([[0.0, 1e-40, -1e-40, 3.4e38, -3.4e38, np.inf, 1.0, -1.0]], dtype=np.float32)
    found = exact_search(Scores(row), 1, 8)
    assert found.scores[0].tolist() == sorted(row[0].tolist(), reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_minus_zero_ties_with_zero(seed):
    row = np.array([[0.0, -0.0, 0.0, -0.0]], dtype=np.float32)
    found = exact_search(Scores(row), 1, 4, seed)
    assert found.products[0].tolist() == np.argsort(tie_order(4, seed)).tolist()


def test_what_a_method_never_returns_is_not_in_its_result():
    found = exact_search(Scores([[1.0, -np.inf, 2.0, -np.inf]]), 1, 4)
    assert found.products.tolist() == [[2, 0, -1, -1]]
    assert found.scores[0, 2:].tolist() == [-np.inf, -np.inf]


def test_the_order_of_the_catalogue_does_not_decide_between_equals():
    products = 500
    found = exact_search(Scores(np.zeros((1, products))), 1, 100, seed=3)
    first_in_catalogue = np.mean(found.products[0] < 100)
    assert first_in_catalogue == pytest.approx(0.2, abs=0.12)
    again = exact_search(Scores(np.zeros((1, products))), 1, 100, seed=3)
    assert again.products.tolist() == found.products.tolist()


@given(
    arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 12)), elements=SMALL), st.integers(1, 12), st.data()
)
@settings(max_examples=30, deadline=None)
def test_asked_pairs_get_the_scores_of_the_matrix(matrix, chunk, data):
    lists = [data.draw(st.lists(st.integers(0, matrix.shape[1] - 1), max_size=4, unique=True)) for _ in matrix]
    found = exact_search(Scores(matrix), len(matrix), 1, pairs=Targets.of(lists), chunk=chunk)
    assert found.pair_scores.tolist() == [matrix[row, item] for row, items in enumerate(lists) for item in items]


def test_vectors_are_searched_by_inner_product_in_bounded_memory():
    generator = np.random.default_rng(0)
    queries = generator.integers(-4, 5, (40, 8)).astype(np.float32)
    catalogue = generator.integers(-4, 5, (3000, 8)).astype(np.float32)
    found = exact_search(VectorScorer(queries, catalogue), 40, 20, seed=1, memory_mb=1)
    assert found.products.tolist() == naive(queries @ catalogue.T, 20, 1)


def test_a_broken_vector_is_named():
    catalogue = np.ones((5, 3), dtype=np.float32)
    catalogue[3, 1] = np.nan
    with pytest.raises(BadInput, match="product vector in row 3"):
        VectorScorer(np.ones((2, 3)), catalogue)
    with pytest.raises(BadInput, match="do not fit"):
        VectorScorer(np.ones((2, 4)), np.ones((5, 3)))
