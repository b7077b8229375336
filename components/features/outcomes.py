"""What each search led to: the products shown or acted on after it, as lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.features.sequence import sequence_order
from components.features.snapshots import lists_of, string_codes

_UNKNOWN = np.iinfo(np.int32).max


def engaged_outcomes(found: pa.Table, search_ids: pa.ChunkedArray) -> tuple[NDArray[np.int64], dict[str, pa.ListArray]]:
    """The outcomes of those searches that led to anything.

    A search after which nothing was clicked, favourited, carted or ordered is left out.

    Args:
        found: search_id, product_id, stage (int8), position (int32, null unknown): each product of a search once, in
            any order. search_ids: of all searches, each once.

    Returns: (rows of the searches in `search_ids`, ascending [n]; product_ids, stages, positions: lists [n], by
    position, then product id; an unknown position is -1 and stands last).
    """
    search = pc.index_in(found["search_id"], value_set=search_ids.combine_chunks()).to_numpy().astype(np.int64)
    products, (codes,) = string_codes(found["product_id"])
    stages = found["stage"].to_numpy()
    positions = found["position"].fill_null(_UNKNOWN).to_numpy()
    engaged = np.zeros(len(search_ids), dtype=bool)
    engaged[search[stages > 0]] = True
    rows = np.flatnonzero(engaged[search])
    rows = rows[sequence_order(search[rows], positions[rows], codes[rows])]
    positions = np.where(positions[rows] == _UNKNOWN, -1, positions[rows]).astype(np.int32)
    lengths = np.bincount(search[rows], minlength=len(search_ids))[engaged]
    return np.flatnonzero(engaged), {
        "product_ids": lists_of(lengths, products.take(pa.array(codes[rows]))),
        "stages": lists_of(lengths, stages[rows]),
        "positions": lists_of(lengths, positions),
    }
