import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation.metrics import (
    good_rate_at,
    good_rate_ceiling,
    judged_ndcg_at,
    ndcg_at,
    recall_at,
    target_ranks,
)
from components.evaluation.recall import tie_order
from components.evaluation.targets import Targets

PRODUCTS = 12


@st.composite
def cases(draw):
    """Rankings of a small catalogue (possibly cut short) and graded targets, some searches without any."""
    searches = draw(st.integers(1, 5))
    width = draw(st.integers(1, PRODUCTS))
    rankings, targets, grades = [], [], []
    for _ in range(searches):
        order = draw(st.permutations(range(PRODUCTS)))[: draw(st.integers(0, width))]
        rankings.append(list(order) + [-1] * (width - len(order)))
        chosen = draw(st.lists(st.integers(0, PRODUCTS - 1), max_size=5, unique=True))
        targets.append(chosen)
        grades.append([draw(st.integers(0, 4)) for _ in chosen])
    return np.array(rankings, dtype=np.int32), targets, grades


def same(values, expected):
    assert [None if math.isnan(value) else pytest.approx(value) for value in values] == expected


def naive_ndcg(ranked, gains, k):
    def dcg(values):
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(values[:k], 1))

    best = dcg(sorted(gains.values(), reverse=True))
    return dcg([gains.get(product, 0) for product in ranked]) / best if best > 0 else None


@given(cases(), st.integers(1, 15))
@settings(max_examples=80, deadline=None)
def test_recall_is_the_share_of_targets_in_the_top(case, k):
    rankings, targets, _ = case
    table = Targets.of(targets)
    values = recall_at(target_ranks(rankings, table, PRODUCTS), table, k)
    expected = [
        len(set(ranking[:k].tolist()) & set(row)) / len(row) if row else None
        for ranking, row in zip(rankings, targets, strict=True)
    ]
    same(values, expected)


@given(cases(), st.integers(1, 15))
@settings(max_examples=80, deadline=None)
def test_ndcg_is_the_discounted_gain_over_the_best_order(case, k):
    rankings, targets, grades = case
    gains = [[2.0**grade - 1 for grade in row] for row in grades]
    table = Targets.of(targets, gains)
    values = ndcg_at(target_ranks(rankings, table, PRODUCTS), table, k)
    expected = [
        naive_ndcg(ranking.tolist(), dict(zip(row, gain, strict=True)), k)
        for ranking, row, gain in zip(rankings, targets, gains, strict=True)
    ]
    same(values, expected)


@given(cases(), st.data())
@settings(max_examples=80, deadline=None)
def test_judged_ndcg_ranks_graded_products_alone(case, data):
    _, targets, grades = case
    gains = [[2.0**grade - 1 for grade in row] for row in grades]
    table, place = Targets.of(targets, gains), tie_order(PRODUCTS, 1)
    scores = [[data.draw(st.sampled_from([-math.inf, 0.0, 1.0, 2.0])) for _ in row] for row in targets]
    flat = np.array([score for row in scores for score in row], dtype=np.float32)
    expected = []
    for row, gain, score in zip(targets, gains, scores, strict=True):
        order = sorted(range(len(row)), key=lambda i, row=row, score=score: (-score[i], place[row[i]]))
        ranked = [row[i] for i in order]
        varied = len(set(gain)) > 1
        expected.append(naive_ndcg(ranked, dict(zip(row, gain, strict=True)), 10) if varied else None)
    same(judged_ndcg_at(flat, table, place), expected)


@given(cases(), st.integers(1, 15))
@settings(max_examples=60, deadline=None)
def test_good_rate_divides_by_k_always(case, k):
    rankings, good, _ = case
    values = good_rate_at(rankings, [np.array(row, dtype=np.int32) for row in good], PRODUCTS, k)
    same(values, [len(set(ranking[:k].tolist()) & set(row)) / k for ranking, row in zip(rankings, good, strict=True)])


def test_the_ceiling_of_the_good_rate_counts_missing_relevant_products():
    assert good_rate_ceiling([np.arange(5), np.arange(30)], 10) == pytest.approx(0.75)
