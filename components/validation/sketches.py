"""Mergeable summaries of a column: quantiles, heavy hitters (Misra-Gries) and distinct counts (KMV), as JSON values.

All three are `tfx_bsl.sketches`. A day's summary is small and constant in its number of rows, and a window's is the
merge of its days'. Nothing is pickled: the quantile sketch, which only pickles, is kept as weighted points.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from tfx_bsl import sketches

QUANTILE_ERROR = 1e-3
POINTS = 1_000
DISTINCT_BUCKETS = 4_096
_MANY = 2**32


@dataclass(frozen=True)
class Quantiles:
    """A distribution as weighted points: `values` float64 [m <= 1,001] ascending, `weights` float64 [m], rows each.

    Exact while a column has at most 1,000 different values a day. Otherwise a rank read from one day is off by at most
    0.001 (sketch) + 0.001 (points) of its rows, and from a merge by at most 0.001 more: the points go into a fresh
    sketch with their weights. (tfx_bsl.sketches.QuantilesSketch, after Zhang and Wang 2007.)
    """

    values: np.ndarray
    weights: np.ndarray

    @property
    def rows(self) -> float:
        return float(self.weights.sum())

    def quantile(self, share: float | np.ndarray) -> np.ndarray:
        """The values at ranks `share` (0..1) [k]; NaN for an empty distribution."""
        if len(self.values) == 0:
            return np.full(np.shape(share), np.nan)
        place = np.searchsorted(np.cumsum(self.weights), np.asarray(share) * self.rows - 1e-9)
        return self.values[np.minimum(place, len(self.values) - 1)]

    def as_json(self) -> dict[str, list[float]]:
        return {"values": self.values.tolist(), "weights": self.weights.tolist()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Quantiles":
        return Quantiles(np.asarray(value["values"], np.float64), np.asarray(value["weights"], np.float64))

    @staticmethod
    def merge(parts: Iterable["Quantiles"]) -> "Quantiles":
        """The distribution of all rows of the parts."""
        builder = QuantilesBuilder()
        for part in parts:
            builder.add(part.values, part.weights)
        return builder.finish()

    def gap(self, other: "Quantiles") -> float:
        """The largest difference of the two cumulative distributions, 0..1 (Kolmogorov-Smirnov); 0 if one is empty."""
        if len(self.values) == 0 or len(other.values) == 0:
            return 0.0
        grid = np.union1d(self.values, other.values)
        return float(np.abs(self._below(grid) - other._below(grid)).max())

    def _below(self, grid: np.ndarray) -> np.ndarray:
        cumulative = np.concatenate([[0.0], np.cumsum(self.weights)]) / self.rows
        return cumulative[np.searchsorted(self.values, grid, side="right")]


class QuantilesBuilder:
    """Adds values batch by batch; `finish` gives the summary, after which the builder is spent."""

    def __init__(self) -> None:
        self._sketch = sketches.QuantilesSketch(QUANTILE_ERROR, _MANY, 1)
        self._empty = True

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Adds float64 [n]; NaN is ignored, as null is."""
        if np.isnan(values).all():
            return
        self._empty = False
        array = pa.array(np.asarray(values, dtype=np.float64))
        if weights is None:
            self._sketch.AddValues(array)
        else:
            self._sketch.AddValues(array, pa.array(np.asarray(weights, dtype=np.float32)))

    def finish(self) -> Quantiles:
        if self._empty:
            return Quantiles(np.zeros(0), np.zeros(0))
        both = self._sketch.GetQuantilesAndCumulativeWeights(POINTS)
        points, cumulative = (part.flatten().to_numpy() for part in both)
        # The last of equal points carries the rank below which the value lies; the differences are the rows each.
        last = np.append(points[1:] != points[:-1], True)
        values, ranks = points[last], np.maximum.accumulate(cumulative)[last]
        weights = np.diff(ranks, prepend=0.0)
        return Quantiles(values[weights > 0], weights[weights > 0])


class HeavyHitters:
    """Counts of the most frequent strings (Misra and Gries 1982): a count is off by at most `total / capacity`."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.total = capacity, 0.0
        self._sketch = sketches.MisraGriesSketch(capacity)

    def add(self, values: pa.Array, weights: np.ndarray | None = None) -> None:
        """Adds a string array [n], each value once or with its weight; nulls are ignored."""
        if weights is None:
            values = values.drop_null()
            self._sketch.AddValues(values)
            self.total += len(values)
        else:
            self._sketch.AddValues(values, pa.array(np.asarray(weights, dtype=np.float32)))
            self.total += float(weights.sum())

    def merge(self, other: "HeavyHitters") -> None:
        self._sketch.Merge(other._sketch)
        self.total += other.total

    def counts(self, limit: int | None = None) -> dict[str, float]:
        """Value and count, the most frequent first, ties in the order of their text."""
        values, counts = self.estimate()
        return dict(zip(values.slice(0, limit).to_pylist(), counts[:limit].tolist(), strict=True))

    def estimate(self) -> tuple[pa.Array, np.ndarray]:
        """The values, large strings [k], and their counts float64 [k], in the order of `counts`."""
        estimate = self._sketch.Estimate()
        counts = estimate.field(1).to_numpy(zero_copy_only=False).astype(np.float64)
        return estimate.field(0).cast(pa.large_string()), counts

    def as_json(self) -> dict[str, Any]:
        counts = self.counts()
        return {"capacity": self.capacity, "total": self.total, "values": list(counts), "counts": list(counts.values())}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "HeavyHitters":
        sketch = HeavyHitters(value["capacity"])
        sketch.add(pa.array(value["values"], pa.string()), np.asarray(value["counts"], dtype=np.float64))
        sketch.total = value["total"]
        return sketch


class Distinct:
    """Number of different strings (k minimum values, k = 4,096: standard error 1.6 %; exact below k)."""

    def __init__(self, state: str | None = None) -> None:
        self._state = state

    @cached_property
    def _sketch(self) -> Any:
        if self._state is None:
            return sketches.KmvSketch(DISTINCT_BUCKETS)
        return sketches.KmvSketch.Deserialize(base64.b64decode(self._state))

    def add(self, values: pa.Array) -> None:
        self._sketch.AddValues(values.drop_null())

    def merge(self, other: "Distinct") -> None:
        self._sketch.Merge(other._sketch)

    def count(self) -> int:
        return int(self._sketch.Estimate())

    def as_json(self) -> dict[str, str]:
        return {"kmv": base64.b64encode(self._sketch.Serialize()).decode("ascii")}

    @staticmethod
    def from_json(value: dict[str, str]) -> "Distinct":
        return Distinct(value["kmv"])
