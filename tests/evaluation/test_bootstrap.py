import math

import numpy as np
import pytest

from components.evaluation.bootstrap import intervals


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
