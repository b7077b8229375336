"""Ids as text, made column-wise: a prefix and a number of fixed width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbered(
    prefix: str, numbers: NDArray[Any], width: int, missing: NDArray[np.bool_] | None = None
) -> pa.StringArray:
    """Ids such as "p00000123"; null where `missing`. Raises ValueError when a number has more digits than `width`."""
    rest = np.where(missing, 0, numbers).astype(np.int64) if missing is not None else numbers.astype(np.int64)
    if len(rest) and (rest.max() >= 10**width or rest.min() < 0):
        raise ValueError(f"ids of {width} digits can't hold numbers from {rest.min()} to {rest.max()}")
    size = len(prefix) + width
    text = np.empty((len(rest), size), dtype=np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    for place in range(size - 1, len(prefix) - 1, -1):
        rest, digit = np.divmod(rest, 10)
        text[:, place] = digit + ord("0")
    offsets = np.arange(len(text) + 1, dtype=np.int32) * size
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
    return pa.StringArray.from_buffers(len(text), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()), valid)
