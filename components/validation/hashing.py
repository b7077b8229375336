"""64-bit hashes of strings and rows, vectorised and the same on every machine.

Ids are compared by these hashes: two different ids among n share one with probability n^2 / 2^65 (3e-8 for a million
ids, 3e-4 for a hundred million). The hash guards against accidents, not against an adversary.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_SHORT = 64
_MULTIPLY = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(values: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser (Steele, Lea and Flood 2014), a bijection of uint64 [n] that spreads every bit."""
    values = values.astype(np.uint64, copy=True)
    values ^= values >> np.uint64(30)
    values *= _MULTIPLY[0]
    values ^= values >> np.uint64(27)
    values *= _MULTIPLY[1]
    values ^= values >> np.uint64(31)
    return values


def combine(*columns: np.ndarray) -> np.ndarray:
    """One uint64 [n] hash of several integer columns [n]; the order of columns matters."""
    result = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        result = mix(result * _GOLDEN + mix(column.astype(np.int64, copy=False).view(np.uint64) + _GOLDEN))
    return result


def string_buffers(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets int32 [n + 1] starting at 0 and the bytes uint8 of a string array, without copying; nulls are empty."""
    buffers = array.buffers()
    if len(array) == 0 or buffers[1] is None:
        return np.zeros(len(array) + 1, dtype=np.int32), np.zeros(0, dtype=np.uint8)
    offsets = np.frombuffer(buffers[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(buffers[2], dtype=np.uint8) if buffers[2] is not None else np.zeros(0, dtype=np.uint8)
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


@dataclass(frozen=True)
class Hashed:
    """A string column by its different values: `unique` uint64 [u + 1], the last one 0 for null; `index` int32 [n]."""

    unique: np.ndarray
    index: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """uint64 [n]: the hash of every row, 0 for null."""
        return self.unique[self.index]

    def spread(self, of_unique: np.ndarray) -> np.ndarray:
        """What was found for `unique` [u + 1] as one value a row [n]."""
        return of_unique[self.index]


def hash_column(array: pa.Array) -> Hashed:
    """Hashes of a string array's UTF-8 bytes, each different value once; null is 0 and no other value is."""
    if len(array) == 0:
        return Hashed(np.zeros(1, dtype=np.uint64), np.zeros(0, dtype=np.int32))
    encoded = array.dictionary_encode()
    unique = np.append(_hash_unique(encoded.dictionary), np.uint64(0))
    return Hashed(unique, encoded.indices.fill_null(len(unique) - 1).to_numpy(zero_copy_only=False))


def hash_strings(array: pa.Array) -> np.ndarray:
    """uint64 [n] hash of every row of a string array, 0 for null."""
    return hash_column(array).rows


def _hash_unique(array: pa.Array) -> np.ndarray:
    offsets, data = string_buffers(array)
    starts, lengths = offsets[:-1].astype(np.int64), np.diff(offsets)
    result = mix(lengths.astype(np.uint64) + _GOLDEN)
    short = np.flatnonzero(lengths <= _SHORT)
    padded = np.concatenate([data, np.zeros(_SHORT + 8, dtype=np.uint8)])
    for word in range((int(lengths[short].max(initial=0)) + 7) // 8):
        rows = short[lengths[short] > 8 * word]
        block = padded[(starts[rows] + 8 * word)[:, None] + np.arange(8)]
        left = np.minimum(lengths[rows] - 8 * word, 8)
        block[np.arange(8) >= left[:, None]] = 0
        result[rows] = mix(result[rows] * _GOLDEN + block.view("<u8").ravel())
    for row in np.flatnonzero(lengths > _SHORT):
        value = data[starts[row] : starts[row] + lengths[row]].tobytes()
        result[row] = np.frombuffer(hashlib.blake2b(value, digest_size=8).digest(), dtype="<u8")[0]
    result[result == 0] = np.uint64(1)
    return result
