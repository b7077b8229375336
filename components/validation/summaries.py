"""What is known of one day of searches or events, or of one catalogue: counts, and sketches of its columns."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.common.files import read_json, write_json
from components.logs.contract import ACTIONS, OPTIONAL
from components.validation.conform import Conformed
from components.validation.counts import HashedCounts
from components.validation.sketches import Distinct, HeavyHitters, Quantiles, QuantilesBuilder
from components.validation.text import word_counts, words

HOUR = 3_600_000_000
_SUMMARY, _SKETCHES = "summary.json", "sketches.json"
POSITIONS = (1, 2, 4, 7, 11, 21)
"""First position of each bucket: 1, 2-3, 4-6, 7-10, 11-20, 21 and beyond."""
HEAVY = {"products": ("brand", "category"), "searches": ("query", "user_id"), "events": ("user_id",), "judgements": ()}
HEAD = {"query", "user_id"}
"""Columns of which only the most frequent value counts, and `FEW` are kept."""
FEW = 1_000
HASHED = {"products": (), "searches": ("query_words",), "events": ("product_id",), "judgements": ()}
"""Columns whose heavy hitters are kept by their hash."""
QUANTILES = {"products": ("price", "title_length"), "searches": ("query_length",), "events": (), "judgements": ()}
DISTINCT = {"products": ("shop_id",), "searches": ("query", "user_id"), "events": ("user_id",), "judgements": ()}


class Summary:
    """A finished, mergeable summary of a table's good rows.

    `rows`; `nulls` by optional column; `heavy`, `counts`, `quantiles`, `distinct` by column (see HEAVY, HASHED,
    QUANTILES, DISTINCT); `figures` int64 arrays that add up: for searches `hours` [24]; for events `hours` [5 actions,
    24] and `positions` [5 actions, 6 buckets], and what the behaviour checks count.
    """

    def __init__(self, table: str) -> None:
        self.table, self.rows = table, 0
        self.nulls: Counter[str] = Counter()
        self.heavy: dict[str, HeavyHitters] = {}
        self.counts: dict[str, HashedCounts] = {}
        self.quantiles: dict[str, Quantiles] = {}
        self.distinct: dict[str, Distinct] = {}
        self.figures: dict[str, np.ndarray] = {}

    def count(self, name: str, values: np.ndarray) -> None:
        """Adds int64 figures of any shape to those of this name."""
        self.figures[name] = self.figures.get(name, 0) + values.astype(np.int64)

    def save(self, folder: Path) -> None:
        """Writes `summary.json`; what only the day's own checks read, `sketches.json`; and `<column>.counts.npy`."""
        summary = {
            "table": self.table,
            "rows": self.rows,
            "nulls": dict(sorted(self.nulls.items())),
            "quantiles": {name: sketch.as_json() for name, sketch in self.quantiles.items()},
            "figures": {name: values.tolist() for name, values in self.figures.items()},
        }
        sketches = {
            "heavy": {name: sketch.as_json() for name, sketch in self.heavy.items()},
            "distinct": {name: sketch.as_json() for name, sketch in self.distinct.items()},
        }
        write_json(folder / _SUMMARY, summary)
        write_json(folder / _SKETCHES, sketches)
        for name, counts in self.counts.items():
            counts.save(folder / f"{name}.counts.npy")

    @staticmethod
    def load(folder: Path, sketches: bool = True) -> "Summary":
        """Reads what `save` wrote; without `sketches` it has no `heavy` and no `distinct`, and is read much faster."""
        value: dict[str, Any] = read_json(folder / _SUMMARY)
        summary = Summary(value["table"])
        summary.rows, summary.nulls = value["rows"], Counter(value["nulls"])
        summary.quantiles = {name: Quantiles.from_json(part) for name, part in value["quantiles"].items()}
        summary.figures = {name: np.asarray(part, dtype=np.int64) for name, part in value["figures"].items()}
        summary.counts = {name: HashedCounts.load(folder / f"{name}.counts.npy") for name in HASHED[summary.table]}
        if sketches:
            value = read_json(folder / _SKETCHES)
            summary.heavy = {name: HeavyHitters.from_json(part) for name, part in value["heavy"].items()}
            summary.distinct = {name: Distinct.from_json(part) for name, part in value["distinct"].items()}
        return summary

    @staticmethod
    def merge(parts: Iterable["Summary"]) -> "Summary | None":
        """One summary of all parts, with what the first of them has; None of none.

        Parts are read one at a time: memory is flat in their number.
        """
        total: Summary | None = None
        builders: dict[str, QuantilesBuilder] = {}
        for part in parts:
            if total is None:
                total = Summary(part.table)
                total.heavy = {name: HeavyHitters(sketch.capacity) for name, sketch in part.heavy.items()}
                total.distinct = {name: Distinct() for name in part.distinct}
                builders = {name: QuantilesBuilder() for name in part.quantiles}
            total.rows += part.rows
            total.nulls.update(part.nulls)
            for name, sketch in total.heavy.items():
                sketch.merge(part.heavy[name])
            for name, kmv in total.distinct.items():
                kmv.merge(part.distinct[name])
            for name, counts in part.counts.items():
                total.counts[name] = total.counts[name].plus(counts) if name in total.counts else counts
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
        self.summary = Summary(table)
        self.summary.heavy = {
            name: HeavyHitters(min(capacity, FEW) if name in HEAD else capacity) for name in HEAVY[table]
        }
        self.summary.distinct = {name: Distinct() for name in DISTINCT[table]}
        self._hashed = {name: HeavyHitters(capacity) for name in HASHED[table]}
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
        for name, sketch in (summary.heavy | self._hashed).items():
            values = derived.get(name, columns.get(name))
            if values is not None:
                sketch.add(values)
        for name, kmv in summary.distinct.items():
            if name in columns:
                kmv.add(columns[name])

    def finish(self) -> Summary:
        """The summary; the builder is spent."""
        self.summary.quantiles = {name: builder.finish() for name, builder in self._quantiles.items()}
        self.summary.counts = {name: HashedCounts.of(sketch) for name, sketch in self._hashed.items()}
        return self.summary

    def _products(self, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        if "price" in columns:
            self._quantiles["price"].add(columns["price"].drop_null().to_numpy(zero_copy_only=False))
        self._quantiles["title_length"].add(pc.utf8_length(columns["title"]).to_numpy(zero_copy_only=False))
        return {}

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
