"""Ragged bags against plain Python lists."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from components.towers.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=8)


def lists(bags: Ragged) -> list[list[int]]:
    return [bags.row(row).tolist() for row in range(len(bags))]


@given(ROWS, st.data())
def test_take_gives_the_rows_in_order_with_repeats(rows, data):
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    bags, wanted = Ragged.from_lists(rows), torch.tensor(wanted, dtype=torch.int64)
    taken, places = bags.take(wanted), bags.places(wanted)
    assert lists(taken) == [rows[row] for row in wanted.tolist()]
    assert taken.values.dtype == torch.int64
    assert torch.equal(bags.values[places.values], taken.values)
    assert torch.equal(places.offsets, taken.offsets)


@given(ROWS, st.integers(1, 6))
def test_last_keeps_the_end_of_each_row(rows, count):
    assert lists(Ragged.from_lists(rows).last(count)) == [row[-count:] for row in rows]


@given(ROWS)
def test_pad_left_aligns_and_masks(rows):
    padded = Ragged.from_lists(rows).pad()
    width = max(1, *map(len, rows))
    assert padded.values.tolist() == [row + [0] * (width - len(row)) for row in rows]
    assert padded.mask.sum(1).tolist() == [len(row) for row in rows]


def test_row_of_value_and_column():
    bags = Ragged(torch.tensor([[1, 10], [2, 20], [3, 30]]), torch.tensor([0, 0, 2, 3]))
    assert bags.row_of_value.tolist() == [1, 1, 2]
    assert lists(bags.column(1)) == [[], [10, 20], [30]]
    assert bags.pad().values.shape == (3, 2, 2)
