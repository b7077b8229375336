"""What is known of one day of searches or events, or of one catalogue: counts, and sketches of its columns."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.logs.contract import ACTIONS, OPTIONAL
from components.validation.conform import Conformed
from components.validation.sketches import Distinct, HeavyHitters, Quantiles, QuantilesBuilder
from components.validation.text import word_counts, words

HOUR = 3_600_000_000
POSITIONS = (1, 2, 4, 7, 11, 21)
"""First position of each bucket: 1, 2-3, 4-6, 7-10, 11-20, 21 and beyond."""
HEAVY = {
    "products": ("title_words", "brand", "category"),
    "searches": ("query_words", "query", "user_id"),
    "events": ("product_id", "user_id"),
    "judgements": (),
}
FEW = {"user_id": 1_000, "query": 5_000}
"""Columns of which only the head counts, and how many of it are kept."""
QUANTILES = {"products": ("price", "title_length"), "searches": ("query_length",), "events": (), "judgements": ()}
DISTINCT = {"products": ("shop_id",), "searches": ("query", "user_id"), "events": ("user_id",), "judgements": ()}


class Summary:
    """A finished, mergeable summary of a table's good rows.

    `rows`; `nulls` by optional column; `heavy`, `quantiles`, `distinct` by column (see HEAVY, QUANTILES, DISTINCT);
    `figures` int64 arrays that add up: for searches `hours` [24]; for events `hours` [5 actions, 24] and `positions`
    [5 actions, 6 buckets], and what the behaviour checks count.
    """

    def __init__(self, table: str, capacity: int) -> None:
        self.table, self.rows = table, 0
        self.nulls: Counter[str] = Counter()
        self.heavy = {name: HeavyHitters(min(capacity, FEW.get(name, capacity))) for name in HEAVY[table]}
        self.quantiles: dict[str, Quantiles] = {}
        self.distinct = {name: Distinct() for name in DISTINCT[table]}
        self.figures: dict[str, np.ndarray] = {}

    def count(self, name: str, values: np.ndarray) -> None:
        """Adds int64 figures of any shape to those of this name."""
        self.figures[name] = self.figures.get(name, 0) + values.astype(np.int64)

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "rows": self.rows,
            "nulls": dict(sorted(self.nulls.items())),
            "heavy": {name: sketch.as_json() for name, sketch in self.heavy.items()},
            "quantiles": {name: sketch.as_json() for name, sketch in self.quantiles.items()},
            "distinct": {name: sketch.as_json() for name, sketch in self.distinct.items()},
            "figures": {name: values.tolist() for name, values in self.figures.items()},
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Summary":
        summary = Summary(value["table"], 1)
        summary.rows, summary.nulls = value["rows"], Counter(value["nulls"])
        summary.heavy = {name: HeavyHitters.from_json(part) for name, part in value["heavy"].items()}
        summary.quantiles = {name: Quantiles.from_json(part) for name, part in value["quantiles"].items()}
        summary.distinct = {name: Distinct.from_json(part) for name, part in value["distinct"].items()}
        summary.figures = {name: np.asarray(part, dtype=np.int64) for name, part in value["figures"].items()}
        return summary

    @staticmethod
    def merge(parts: Iterable["Summary"], heavy: Collection[str] | None = None) -> "Summary | None":
        """One summary of all parts, None of none; `heavy` names the heavy hitters wanted, then without distinct counts.

        Parts are read one at a time: memory is flat in their number.
        """
        total: Summary | None = None
        builders: dict[str, QuantilesBuilder] = {}
        for part in parts:
            if total is None:
                total = Summary(part.table, 1)
                total.heavy = {
                    name: HeavyHitters(sketch.capacity)
                    for name, sketch in part.heavy.items()
                    if heavy is None or name in heavy
                }
                total.distinct = total.distinct if heavy is None else {}
                builders = {name: QuantilesBuilder() for name in part.quantiles}
            total.rows += part.rows
            total.nulls.update(part.nulls)
            for name, sketch in total.heavy.items():
                sketch.merge(part.heavy[name])
            for name, kmv in total.distinct.items():
                kmv.merge(part.distinct[name])
            for name, points in part.quantiles.items():
                builders[name].add(points.values, points.weights)
            for name, values in part.figures.items():
                total.count(name, values)
        if total is not None:
            total.quantiles = {name: builder.finish() for name, builder in builders.items()}
        return total


class SummaryBuilder:
    """Adds the good rows of pieces; `finish` gives their `Summary`."""

    def __init__(self, table: str, capacity: int) -> None:
        self.summary = Summary(table, capacity)
        self._quantiles = {name: QuantilesBuilder() for name in QUANTILES[table]}

    def add(self, conformed: Conformed, good: np.ndarray) -> None:
        """Adds the rows of a piece where `good`, bool [rows], is true."""
        rows = int(good.sum())
        summary, table = self.summary, conformed.table
        keep = None if rows == conformed.rows else pa.array(good)
        columns = {name: array if keep is None else array.filter(keep) for name, array in conformed.columns.items()}
        summary.rows += rows
        for name in OPTIONAL[table]:
            summary.nulls[name] += columns[name].null_count if name in columns else rows
        derived = getattr(self, f"_{table}")(columns)
        for name, sketch in summary.heavy.items():
            values = derived.get(name, columns.get(name))
            if values is not None:
                sketch.add(values)
        for name, kmv in summary.distinct.items():
            if name in columns:
                kmv.add(columns[name])

    def finish(self) -> Summary:
        """The summary; the builder is spent."""
        self.summary.quantiles = {name: builder.finish() for name, builder in self._quantiles.items()}
        return self.summary

    def _products(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        if "price" in columns:
            self._quantiles["price"].add(columns["price"].drop_null().to_numpy(zero_copy_only=False))
        self._quantiles["title_length"].add(pc.utf8_length(columns["title"]).to_numpy(zero_copy_only=False))
        return {"title_words": words(columns["title"])}

    def _searches(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        self._quantiles["query_length"].add(word_counts(columns["query"]))
        times = columns["timestamp"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        self.summary.count("hours", np.bincount(times // HOUR % 24, minlength=24))
        return {"query_words": words(columns["query"])}

    def _events(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        times = columns["timestamp"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        actions = action_codes(columns["action"])
        grid = np.bincount(actions * 24 + times // HOUR % 24, minlength=len(ACTIONS) * 24)
        self.summary.count("hours", grid.reshape(len(ACTIONS), 24))
        positions = np.zeros((len(ACTIONS), len(POSITIONS)), dtype=np.int64)
        if "position" in columns:
            known = columns["position"].is_valid().to_numpy(zero_copy_only=False).astype(bool)
            bucket = np.searchsorted(POSITIONS, columns["position"].drop_null().to_numpy(), side="right") - 1
            flat = np.bincount(actions[known] * len(POSITIONS) + bucket, minlength=positions.size)
            positions = flat.reshape(positions.shape)
        self.summary.count("positions", positions)
        return {}

    def _judgements(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        return {}


def day_figures(summary: Summary) -> dict[str, Any]:
    """What a report shows of a day of searches or of events: counts by name, and shares that tell of its health."""
    if summary.table == "searches":
        median = float(summary.quantiles["query_length"].quantile(0.5))
        return {"searches": summary.rows, "queries": summary.distinct["query"].count(), "median_query_words": median}
    counts = summary.figures["hours"].sum(axis=1).tolist()
    top = next(iter(summary.heavy["user_id"].counts(1).values()), 0.0)
    return {
        "events": summary.rows,
        **dict(zip(ACTIONS, counts, strict=True)),
        "shoppers": summary.distinct["user_id"].count(),
        "clicks_per_impression": counts[1] / counts[0] if counts[0] else None,
        "anonymous_share": summary.nulls["user_id"] / summary.rows,
        "top_shopper_share": top / summary.rows,
    }


def action_codes(actions: pa.Array) -> np.ndarray:
    """int64 [rows]: the index of each action in ACTIONS, -1 for another word or null."""
    found = pc.index_in(actions, value_set=pa.array(ACTIONS))
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
