"""Samplers draw what they say, with the log-q they say, and only the final step sees a gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from components.common.errors import BadInput, BadSetting
from components.towers.interfaces import DYNAMIC_HARD, IN_BATCH, UNIFORM, Negatives, SamplingContext
from components.towers.losses.multi_part_hinge import MultiPartHinge
from components.towers.negatives.combine import Combine
from components.towers.negatives.dynamic_hard import DynamicHard, frozen
from components.towers.negatives.hardest_in_batch import hardest
from components.towers.negatives.in_batch import InBatch
from components.towers.negatives.linear_schedule import LinearSchedule
from components.towers.negatives.popularity import Popularity
from components.towers.negatives.uniform import Uniform


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def context(size=50, positives=(3, 4), counts=None, **more):
    counts = torch.ones(size) if counts is None else counts
    return SamplingContext(size, torch.tensor(positives), counts, step=0, total_steps=1, **more)


@pytest.mark.parametrize(("sampler", "size"), [(Uniform(200), 1000), (Uniform(20), 1000), (Popularity(200), 1000)])
def test_log_q_is_the_logarithm_of_the_mean_count(sampler, size):
    """Over many draws each row's mean count is e^log_q, within the error of the number of draws."""
    where = context(size, counts=torch.arange(size).float())
    seeded, draws = generator(), 400
    seen, expected = torch.zeros(size), torch.full((size,), float("nan"))
    for _ in range(draws):
        sampled = sampler(where, seeded)
        seen += torch.bincount(sampled.rows, minlength=size)
        expected[sampled.rows] = sampled.log_q.exp()
    known = ~expected.isnan()
    for part in torch.arange(size).chunk(10):  # sums over 100 rows, so that chance is small beside the mean
        chosen = part[known[part]]
        assert float(seen[chosen].sum() / draws) == pytest.approx(float(expected[chosen].sum()), rel=0.08)


def test_uniform_negatives_of_a_small_catalogue_are_distinct_and_complete():
    rows = Uniform(80)(context(50), generator()).rows
    assert sorted(rows.tolist()) == list(range(50))


def test_equal_generators_draw_equal_rows():
    sampler = Combine(Uniform(5), Popularity(5), InBatch())
    first, second = sampler(context(), generator(4)), sampler(context(), generator(4))
    assert torch.equal(first.rows, second.rows)
    assert not torch.equal(first.rows, sampler(context(), generator(5)).rows)


def test_popularity_follows_the_counts_of_the_run_it_is_asked_about():
    sampler = Popularity(200, power=1.0, smoothing=1e-9)
    left = sampler(context(2, counts=torch.tensor([1.0, 0.0])), generator()).rows
    right = sampler(context(2, counts=torch.tensor([0.0, 1.0])), generator()).rows
    assert (int(left.sum()), int(right.sum())) == (0, 200)


def test_in_batch_rows_are_the_positives_with_the_log_of_their_expected_count():
    sampled = InBatch()(context(5, positives=(4, 2, 4), counts=torch.tensor([0.0, 1, 3, 0, 6])), generator())
    assert sampled.rows.tolist() == [4, 2, 4]
    np.testing.assert_allclose(sampled.log_q.numpy(), np.log(3 * np.array([6, 3, 6]) / 10), rtol=1e-6)


def test_combined_sources_keep_their_codes_and_lose_log_q_when_one_lacks_it():
    vectors = torch.eye(50)
    where = context(queries=vectors[:2], item_vectors=lambda rows: vectors[rows])
    sampled = Combine(Uniform(3), InBatch(), DynamicHard(pool=50))(where, generator())
    assert sampled.source.tolist()[:5] == [UNIFORM] * 3 + [IN_BATCH] * 2
    assert set(sampled.source.tolist()[5:]) == {DYNAMIC_HARD}
    assert sampled.log_q is None


@given(st.integers(0, 10_000), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_hardest_marks_the_highest_allowed_scores(seed, count):
    scores = torch.randn(4, 7, generator=generator(seed))
    keep = torch.rand(4, 7, generator=generator(seed + 1)) < 0.6
    chosen = hardest(scores, keep, count)
    for b in range(4):
        allowed = [m for m in range(7) if keep[b, m]]
        expected = sorted(allowed, key=lambda m: -float(scores[b, m]))[:count]
        assert sorted(expected) == chosen[b].nonzero().squeeze(1).tolist()


def test_dynamic_hard_equals_the_naive_top_k_of_the_pool():
    vectors, queries = torch.randn(40, 4, generator=generator(1)), torch.randn(3, 4, generator=generator(2))
    positives = torch.tensor([[0, 1], [2, -1], [3, 4]])
    where = context(40, queries=queries, item_vectors=lambda rows: vectors[rows])
    sampled = DynamicHard(pool=40, per_query=2, chunk=7)(where, generator(), positives)
    expected = set()
    for b in range(3):
        pool = [row for row in range(40) if row not in positives[b].tolist()]
        expected |= set(sorted(pool, key=lambda row: -float(vectors[row] @ queries[b]))[:2])
    assert sampled.rows.tolist() == sorted(expected)


def test_dynamic_hard_scores_without_gradient_and_leaves_the_tower_as_it_was():
    """The pass neither builds a graph nor moves batch statistics, and training mode comes back part by part."""
    tower = nn.Sequential(nn.Embedding(30, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    tower[2].eval()
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    seen = []

    def encode(rows):
        with frozen(tower) as still:
            seen.append(still(rows))
        return seen[-1]

    queries = torch.randn(2, 4, requires_grad=True)
    DynamicHard(pool=30)(context(30, queries=queries, item_vectors=encode), generator())
    assert not any(vectors.requires_grad for vectors in seen)
    assert all(torch.equal(before[name], value) for name, value in tower.state_dict().items())
    assert [part.training for part in tower] == [True, True, False]


def test_only_the_kept_rows_receive_a_gradient():
    """A table row that was scored for the pool but not kept stays without gradient."""
    table = nn.Embedding(30, 4)
    nn.init.orthogonal_(table.weight)
    queries = nn.functional.normalize(torch.randn(2, 4, generator=generator(3)))
    where = context(30, queries=queries, item_vectors=lambda rows: table(rows).detach())
    kept = DynamicHard(pool=30, per_query=2)(where, generator())
    shared = Negatives(table(kept.rows), kept.rows, source=kept.source)
    loss = MultiPartHinge(negative_threshold=-1.0)
    loss(queries, table(torch.tensor([0, 1])), shared, torch.tensor([0, 1]), torch.tensor([4, 4])).backward()
    touched = set(table.weight.grad.abs().sum(1).nonzero().squeeze(1).tolist())
    assert touched == {0, 1} | set(kept.rows.tolist())


def test_gradient_reaches_only_the_hardest_of_a_source():
    queries = torch.eye(3)[:1]
    vectors = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.8, 0.0, 0.2]], requires_grad=True)
    shared = Negatives(vectors, torch.tensor([1, 2, 3]), source=torch.full((3,), IN_BATCH))
    loss = MultiPartHinge(hardest_of={IN_BATCH: 1})
    loss(queries, queries, shared, torch.tensor([0]), torch.tensor([4])).backward()
    assert vectors.grad.abs().sum(1).nonzero().squeeze(1).tolist() == [0]


def test_dynamic_hard_without_towers_is_refused():
    with pytest.raises(BadInput, match="item tower"):
        DynamicHard()(context(), generator())


def test_schedule_moves_linearly_between_its_ends():
    schedule = LinearSchedule({UNIFORM: 1.0, IN_BATCH: 0.0}, {UNIFORM: 0.2, IN_BATCH: 0.6}, first=0.25, last=0.75)
    progress = [0.0, 0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose([schedule.weights(x)[UNIFORM] for x in progress], [1, 1, 0.6, 0.2, 0.2])
    np.testing.assert_allclose([schedule.weights(x)[IN_BATCH] for x in progress], [0, 0, 0.3, 0.6, 0.6])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(0),
        lambda: Popularity(5, smoothing=0.0),
        lambda: DynamicHard(pool=0),
        lambda: Combine(),
        lambda: LinearSchedule(first=0.5, last=0.5),
        lambda: LinearSchedule({UNIFORM: 1.0}, {IN_BATCH: 1.0}),
        lambda: LinearSchedule({UNIFORM: -1.0}, {UNIFORM: 1.0}),
    ],
)
def test_settings_without_sense_are_refused(make):
    with pytest.raises(BadSetting):
        make()


def test_corrected_popularity_negatives_estimate_the_full_softmax():
    """The mean of the corrected partition sums over many draws is the sum over the whole catalogue."""
    size, counts = 60, torch.arange(60).float()
    scores = torch.randn(size, generator=generator(8))
    sampler, seeded = Popularity(30), generator(9)
    sums = []
    for _ in range(600):
        sampled = sampler(context(size, counts=counts), seeded)
        sums.append(float((scores[sampled.rows] - sampled.log_q).exp().sum()))
    error = 4 * np.std(sums) / math.sqrt(len(sums))
    assert abs(np.mean(sums) - float(scores.exp().sum())) < error
