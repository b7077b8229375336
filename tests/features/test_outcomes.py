"""What searches led to, as lists: only of searches that led to something, by position, then product."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from components.features.outcomes import engaged_outcomes
from tests.features.strategies import unhurried

SEARCHES = ["s2", "s1", "s3"]
found = st.dictionaries(
    st.tuples(st.sampled_from(SEARCHES), st.sampled_from(["p1", "p10", "p2", "ñ"])),
    st.tuples(st.integers(min_value=0, max_value=4), st.none() | st.integers(min_value=1, max_value=3)),
)


@unhurried
@given(found)
def test_each_engaged_search_lists_its_products_by_position_unknown_last_then_product(found):
    table = pa.table(
        {
            "search_id": pa.array([search for search, _ in found], pa.string()),
            "product_id": pa.array([product for _, product in found], pa.string()),
            "stage": pa.array([stage for stage, _ in found.values()], pa.int8()),
            "position": pa.array([position for _, position in found.values()], pa.int32()),
        }
    )
    rows, lists = engaged_outcomes(table, pa.chunked_array([SEARCHES]))
    expected = {}
    for number, search in enumerate(SEARCHES):
        shown = [
            (position or 9, product.encode(), product, stage, position or -1)
            for (owner, product), (stage, position) in found.items()
            if owner == search
        ]
        if any(stage for _, _, _, stage, _ in shown):
            expected[number] = [row[2:] for row in sorted(shown)]
    assert rows.tolist() == list(expected)
    columns = (lists[name].to_pylist() for name in ("product_ids", "stages", "positions"))
    assert [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)] == list(expected.values())
