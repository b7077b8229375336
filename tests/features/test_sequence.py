"""One order for any set of rows, whichever way it is sorted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.features.sequence import sequence_order
from tests.features.strategies import unhurried

near = st.integers(min_value=0, max_value=4)
far = st.sampled_from([-(2**63), -1, 0, 1, 2**62, 2**63 - 1])
owners = st.integers(min_value=0, max_value=3) | st.sampled_from([-1, 2**40])


@unhurried
@given(st.lists(st.tuples(owners, near | far, near, near), max_size=30))
def test_rows_are_ordered_by_owner_time_and_ties_and_repeats_count_once(rows):
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), 4).T
    order = sequence_order(*columns)
    assert [rows[index] for index in order] == sorted(set(rows))


def test_the_order_holds_for_more_shoppers_and_years_than_one_integer_holds():
    owners, times = np.array([2**21, 1, 2**21, 1]), np.array([5, 2**44, 1, 3])
    assert sequence_order(owners, times).tolist() == [3, 1, 2, 0]
