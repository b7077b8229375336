"""How fast shoppers act, and whether the order of rows gives the clicks away."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.validation.hashing import combine

MINUTE = 60_000_000
_SHOWN = 5


def too_fast(users: np.ndarray, times: np.ndarray, per_minute: int) -> int:
    """Rows of known users (uint64 [n], 0 unknown) in minutes with more than `per_minute` rows of the same user."""
    known = users != 0
    keys = combine(users[known].astype(np.uint64), times[known].astype(np.int64) // MINUTE)
    _, counts = np.unique(keys, return_counts=True)
    return int(counts[counts > per_minute].sum())


def leak(searches: np.ndarray, products: np.ndarray, engaged: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """int64 [3]: searches judged; those whose engaged products are the first rows; those where they lead by position.

    `searches`, `products` uint64 [n]: the impressions in row order, `products` a hash of search and product; `engaged`
    uint64 [m]: those hashes with a click or more; `positions` int32 [n], 0 unknown. Judged are searches with at
    least 5 products shown, some but not all engaged. A shopper's preference for the top makes one of three such
    searches look so; a list sorted by its labels makes all of them.
    """
    order = np.argsort(searches, kind="stable")
    groups = searches[order]
    hits = pc.is_in(pa.array(products[order]), value_set=pa.array(engaged)).to_numpy(zero_copy_only=False)
    if len(groups) == 0:
        return np.zeros(3, dtype=np.int64)
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    sizes = np.diff(np.append(starts, len(groups)))
    clicked = np.add.reduceat(hits.astype(np.int64), starts)
    judged = (sizes >= _SHOWN) & (clicked > 0) & (clicked < sizes)
    by_row = np.arange(len(groups)) - np.repeat(starts, sizes)
    by_position = positions[order].astype(np.int64)
    first_rows = _first(hits, by_row, starts, clicked)
    first_positions = _first(hits, by_position - 1, starts, clicked) & (by_position[starts] > 0)
    return np.array([judged.sum(), (judged & first_rows).sum(), (judged & first_positions).sum()])


def _first(hits: np.ndarray, rank: np.ndarray, starts: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    last = np.maximum.reduceat(np.where(hits, rank, -1), starts)
    return (last == clicked - 1) & (clicked > 0)
