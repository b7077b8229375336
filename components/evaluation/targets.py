"""Which products answer which search, and how well: a ragged table shared by all metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Targets:
    """Products with a gain per search, in compressed rows.

    Search `i` owns the entries `offsets[i]:offsets[i + 1]`. `products` are row numbers of the catalogue; `gains` are
    grades or weights, larger is better.
    """

    offsets: np.ndarray  # int64 [searches + 1]
    products: np.ndarray  # int32 [entries]
    gains: np.ndarray  # float64 [entries]

    @classmethod
    def of(cls, products: Sequence[Sequence[int]], gains: Sequence[Sequence[float]] | None = None) -> "Targets":
        """Builds the table from one list per search; without `gains` every product counts 1."""
        counts = np.fromiter((len(row) for row in products), np.int64, len(products))
        flat = np.fromiter((item for row in products for item in row), np.int32)
        if gains is None:
            gains = [[1.0] * len(row) for row in products]
        values = np.fromiter((item for row in gains for item in row), np.float64)
        return cls(np.concatenate([[0], np.cumsum(counts)]), flat, values)

    @classmethod
    def of_entries(cls, searches: int, rows: np.ndarray, products: np.ndarray, gains: np.ndarray) -> "Targets":
        """Builds the table from entries (search, product, gain) whose searches come in rising order."""
        counts = np.bincount(rows, minlength=searches)
        return cls(np.concatenate([[0], np.cumsum(counts)]), products.astype(np.int32), gains.astype(np.float64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def counts(self) -> np.ndarray:
        """Products per search, int64 [searches]."""
        return np.diff(self.offsets)

    @cached_property
    def rows(self) -> np.ndarray:
        """The search of every entry, int64 [entries]."""
        return np.repeat(np.arange(len(self)), self.counts)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Per-entry values summed per search, float64 [searches]."""
        return np.bincount(self.rows, weights=values, minlength=len(self))

    def where(self, keep: np.ndarray) -> "Targets":
        """The same searches with only the entries that `keep` (bool [entries]) marks."""
        counts = np.bincount(self.rows[keep], minlength=len(self))
        return Targets(np.concatenate([[0], np.cumsum(counts)]), self.products[keep], self.gains[keep])

    def row(self, search: int) -> np.ndarray:
        """The products of one search, int32."""
        return self.products[self.offsets[search] : self.offsets[search + 1]]
