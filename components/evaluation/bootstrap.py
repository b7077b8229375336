"""Intervals by resampling searches: what a figure would have been on another day of the same shop.

Percentile bootstrap (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13). The searches of one
shopper resemble each other, so shoppers are drawn, not searches, where they are known (cluster bootstrap; Davison and
Hinkley 1997, section 3.8). A difference between two methods is measured on the same draws, which cancels what is hard
or easy for both.
"""

from dataclasses import dataclass

import numpy as np

_BLOCK = 64  # resamples drawn at once


@dataclass(frozen=True)
class Interval:
    """Mean `value` over the `n` searches that can be measured, and the bounds of its interval."""

    value: float
    low: float
    high: float
    n: int


def intervals(
    values: np.ndarray, clusters: np.ndarray, samples: int, confidence: float, seed: int
) -> list[Interval | None]:
    """Means of the columns of `values` float64 [searches, columns] with percentile intervals; None for an empty column.

    NaN entries are left out of their column. `clusters` int [searches] names whom each search belongs to; equal numbers
    are drawn together. The same seed draws the same shoppers for every column, so columns are comparable.
    """
    measured = ~np.isnan(values)
    filled = np.where(measured, values, 0.0)
    counts = measured.sum(axis=0)
    _, members = np.unique(clusters, return_inverse=True)
    groups = int(members.max()) + 1 if len(members) else 0
    sums = _per_group(filled, members, groups)
    weights = _per_group(measured.astype(np.float64), members, groups)
    means = np.empty((samples, values.shape[1]))
    generator = np.random.default_rng(seed)
    for start in range(0, samples if groups else 0, _BLOCK):
        stop = min(start + _BLOCK, samples)
        drawn = generator.integers(groups, size=(stop - start, groups))
        drawn += np.arange(stop - start)[:, None] * groups
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[start:stop] = (times @ sums) / (times @ weights)  # NaN where a draw holds no measurable search
    edge = (1 - confidence) / 2
    result: list[Interval | None] = []
    for column in range(values.shape[1]):
        n = int(counts[column])
        if n == 0:
            result.append(None)
            continue
        low, high = np.nanquantile(means[:, column], [edge, 1 - edge])
        result.append(Interval(float(filled[:, column].sum() / n), float(low), float(high), n))
    return result


def _per_group(values: np.ndarray, members: np.ndarray, groups: int) -> np.ndarray:
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, members, values)
    return total
