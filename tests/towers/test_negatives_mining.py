"""Mining draws within its quotas, from the highest stage down, and does not depend on how a batch is spread."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.errors import BadSetting
from components.towers.negatives import request_mining
from components.towers.negatives.request_mining import RequestMining, hashed
from components.towers.ragged import Ragged

LEVELS = {0: "shown", 1: "clicked", 2: "clicked", 3: "clicked", 4: "ordered"}
requests = st.lists(st.lists(st.integers(0, 4), max_size=12), min_size=1, max_size=6)


def make(stages):
    """Requests of these stages; the rows of request r are 100 r, 100 r + 1, ..."""
    listed = Ragged.from_lists([[100 * r + place for place in range(len(row))] for r, row in enumerate(stages)])
    return listed, torch.tensor([stage for row in stages for stage in row], dtype=torch.int8)


@given(requests, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_mined_items_are_the_requests_own_within_each_quota(stages, ordered, clicked, shown, salt):
    listed, flat = make(stages)
    quota = {"ordered": ordered, "clicked": clicked + 1, "shown": shown}
    mined = RequestMining(**quota)(listed, flat, torch.arange(len(stages)), salt)
    for request, row in enumerate(stages):
        kept = [(int(r), int(s)) for r, s in zip(mined.rows[request], mined.stages[request], strict=True) if r >= 0]
        assert len({r for r, _ in kept}) == len(kept)
        assert all(r // 100 == request and row[r % 100] == s for r, s in kept)
        for name, count in quota.items():
            found = sum(LEVELS[s] == name for _, s in kept)
            assert found == min(count, sum(LEVELS[s] == name for s in row))


def test_every_item_of_a_stage_has_the_same_chance():
    listed, flat = make([[0] * 6])
    mining, seen = RequestMining(1, 1, 2), torch.zeros(6)
    for salt in range(1500):
        rows = mining(listed, flat, torch.tensor([5]), salt).rows
        seen += torch.bincount(rows.flatten(), minlength=6)
    assert bool(((seen / 1500 - 2 / 6).abs() < 0.05).all())


def test_the_draw_is_the_same_however_the_batch_is_spread():
    stages = [[0, 0, 0, 0, 1, 1], [0, 4, 0, 0, 0, 0], [0, 0, 0, 1, 4, 4]]
    listed, flat = make(stages)
    mining, example = RequestMining(1, 1, 2), torch.tensor([11, 12, 13])
    together = mining(listed, flat, example, salt=7)
    alone = mining(listed.take(torch.tensor([2])), flat[12:], example[2:], salt=7)
    assert together.rows[2].tolist() == alone.rows[0].tolist()
    assert together.rows.tolist() != mining(listed, flat, example, salt=8).rows.tolist()


def test_hashed_numbers_are_uniform():
    numbers = hashed(torch.arange(20_000), torch.arange(20_000) * 3, salt=1)
    shares = torch.histc(numbers.float(), bins=10, min=0, max=1) / 20_000
    assert bool(((shares - 0.1).abs() < 0.01).all())


def test_requests_without_any_item_are_all_padding():
    mined = RequestMining()(Ragged.empty(2), torch.zeros(0, dtype=torch.int8), torch.arange(2), salt=0)
    assert mined.rows.tolist() == [[-1], [-1]]
    assert mined.stages.tolist() == [[-1], [-1]]


def test_mining_nothing_to_learn_from_is_refused():
    with pytest.raises(BadSetting):
        RequestMining(ordered=0, clicked=0)


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(request_mining, extraglobs={"torch": torch}).failed == 0
