import math

import numpy as np
import pytest

from components.evaluation.bootstrap import intervals
from components.evaluation.measure import Measured
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import Slice
from components.evaluation.tables import rows_and_differences


def one(values, clusters=None, samples=1000, confidence=0.95, seed=0):
    values = np.asarray(values, dtype=float)
    clusters = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    return intervals(values[:, None], clusters, samples, confidence, seed)[0]


def test_the_interval_agrees_with_the_normal_one_for_many_searches():
    values = np.random.default_rng(1).random(3000)
    interval = one(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_about_the_stated_share_of_intervals_holds_the_true_mean():
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        interval = one(generator.random(80) < 0.3, samples=200, confidence=0.9, seed=seed)
        held += interval.low <= 0.3 <= interval.high
    assert 0.82 <= held / 200 <= 0.97


def test_the_seed_decides_the_interval():
    values = np.random.default_rng(3).random(50)
    assert one(values, seed=4) == one(values, seed=4)
    assert one(values, seed=4) != one(values, seed=5)


def test_searches_that_cannot_be_measured_are_left_out():
    values = [0.2, math.nan, 0.4, math.nan]
    interval = one(values)
    assert (interval.value, interval.n) == (pytest.approx(0.3), 2)
    assert (interval.low, interval.high) == (pytest.approx(0.2), pytest.approx(0.4))
    assert one([math.nan, math.nan]) is None


def test_equal_searches_of_one_shopper_count_as_little_as_one():
    values = np.repeat(np.random.default_rng(6).random(40), 25)
    alone, together = one(values), one(values, clusters=np.repeat(np.arange(40), 25))
    assert together.value == pytest.approx(alone.value)
    assert (together.high - together.low) > 4 * (alone.high - alone.low)


def test_a_paired_difference_cancels_what_is_hard_for_both():
    generator = np.random.default_rng(7)
    hard = generator.random(400)
    ours, theirs = hard + 0.02 + 0.01 * generator.standard_normal(400), hard
    paired = one(ours - theirs)
    apart = one(ours).low - one(theirs).high
    assert apart < 0 < paired.low <= paired.value <= paired.high < 0.03


def test_a_slice_is_resampled_by_the_shoppers_of_its_own_searches():
    """Two searches of one shopper are one draw, whoever made the first searches of the table."""
    nothing = np.zeros((0, 0))
    found = Measured({"all": {"hit": np.array([1.0, 0, 1, 0])}, "last": {"hit": np.array([1.0, 0])}}, *[nothing] * 3)
    slices = [Slice("all", np.ones(4, bool)), Slice("last", np.array([False, False, True, True]))]
    rows, _ = rows_and_differences({"model": found}, slices, np.array([0, 1, 2, 2]), "model", EvaluationSettings())
    everything, last = (row["metrics"]["hit"] for row in rows)
    assert everything["low"] < everything["high"]
    assert last["low"] == last["value"] == last["high"] == 0.5
