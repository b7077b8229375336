"""How often the most frequent values of a column occur, by their hash: what a window's mixes are summed from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.validation.hashing import hash_strings
from components.validation.sketches import HeavyHitters


@dataclass(frozen=True)
class HashedCounts:
    """`hashes` uint64 [k] ascending, `counts` float64 [k]: a sketch's heavy hitters.

    A day's file of them is read in a fraction of the time that its sketch takes to decode, and what is counted over
    days (events a category, words that nobody knows) is the sum of what is counted a day. The error of a sum is the
    sum of the days' errors, total / capacity, as of merged sketches.
    """

    hashes: np.ndarray
    counts: np.ndarray

    @staticmethod
    def of(sketch: HeavyHitters) -> HashedCounts:
        """The sketch's values and counts."""
        values, counts = sketch.estimate()
        hashes = hash_strings(values.cast(pa.string()))
        order = np.argsort(hashes, kind="stable")
        return HashedCounts(hashes[order], counts[order])

    def plus(self, other: HashedCounts) -> HashedCounts:
        """The counts of both; as many values as both have."""
        hashes, place = np.unique(np.concatenate([self.hashes, other.hashes]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([self.counts, other.counts]), minlength=len(hashes))
        return HashedCounts(hashes, counts)

    def save(self, path: Path) -> None:
        """Writes one .npy file, uint64 [2, k]."""
        np.save(path, np.stack([self.hashes, self.counts.view(np.uint64)]))

    @staticmethod
    def load(path: Path) -> HashedCounts:
        """Reads what `save` wrote."""
        hashes, counts = np.load(path)
        return HashedCounts(hashes, counts.view(np.float64))
