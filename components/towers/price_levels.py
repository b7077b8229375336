"""How dear a product is for what it is: the quantile of its price within its category."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

LEVELS = 10
"""Buckets of equal count in each category."""
_LEAST = 2 * LEVELS
"""Products with a price that a category needs; a smaller one takes the quantiles of the category above it."""


class PriceLevels:
    """Price quantiles of each category of the training's catalogue.

    Args:
        edges: category path ("A > B", "" for the whole catalogue) -> the `LEVELS - 1` prices between its buckets,
            rising. A path that is missing takes those of the path above it.

    A price says little across categories and much within one: 40 is a dear cup and a cheap lamp. What a shopper pays
    for one kind of product says what level they seek in another.
    """

    def __init__(self, edges: Mapping[str, Sequence[float]] | None = None) -> None:
        self.edges = {path: list(values) for path, values in (edges or {}).items()}

    @staticmethod
    def fit(paths: Sequence[Sequence[str]], prices: np.ndarray) -> PriceLevels:
        """Quantiles from the category levels, from the top, and the price (NaN where unknown) of each product."""
        found: dict[str, list[float]] = defaultdict(list)
        for path, price in zip(paths, prices.tolist(), strict=True):
            if not np.isnan(price):
                for depth in range(len(path) + 1):
                    found[" > ".join(path[:depth])].append(price)
        shares = np.arange(1, LEVELS) / LEVELS
        return PriceLevels(
            {path: np.quantile(values, shares).tolist() for path, values in found.items() if len(values) >= _LEAST}
        )

    def level(self, path: Sequence[str], price: float) -> str | None:
        """The bucket of a price, "0" (cheapest) to "9"; None for an unknown price or where nothing was fitted."""
        if np.isnan(price):
            return None
        for depth in range(len(path), -1, -1):
            edges = self.edges.get(" > ".join(path[:depth]))
            if edges is not None:
                return str(bisect_right(edges, price))
        return None
