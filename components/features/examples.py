"""Training examples, bucket by bucket: what a search led to, and the shopper's history just before it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.features.buckets import Buckets
from components.features.outcomes import engaged_outcomes
from components.features.repository import PointInTimeJoin
from components.features.schema import (
    EXAMPLE_HISTORY,
    EXAMPLES,
    FEATURES,
    SHOPPER,
    SNAPSHOT_TIME,
    SNAPSHOTS,
    SPLITS,
    TIMESTAMP,
)
from components.features.settings import FeatureSettings
from components.features.snapshots import ShopperTracks, lists_of
from components.features.splits import Split

_ROW_GROUP = 8192
_STEPS, _STEP = (4, 8, 16, 32), 64
_PAIRS_A_SEARCH, _FEW_PAIRS = 4, 100_000
_NO_FEATURES = pa.schema([("row", pa.int64()), *FEATURES.items()]).empty_table()
STORAGE: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "write_statistics": [SHOPPER, SNAPSHOT_TIME],
    "coerce_timestamps": "us",
}
"""How lists are stored. Plainly encoded, since a shopper's histories repeat each other and zstd sees that; the least
and greatest of a list's elements would tell nobody anything; microseconds, since DuckDB refuses nanoseconds."""


class ExampleWriter:
    """Writes train, validation and test; each in row groups in the order of the buckets."""

    def __init__(self, folder: Path) -> None:
        self._files = ExitStack()
        self._writers = [
            self._files.enter_context(pq.ParquetWriter(folder / f"{name}.parquet", EXAMPLES, **STORAGE))
            for name in SPLITS
        ]
        self.rows = dict.fromkeys(SPLITS, 0)
        self.snapshots = 0
        self.windows: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> ExampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def write(self, examples: pa.Table, assigned: NDArray[np.int8], snapshots: int) -> None:
        """Writes each example to the split it is assigned to; `snapshots` is how many were made for them.

        Args: examples: EXAMPLES, ordered by split. assigned: the split of each [n], ascending.
        """
        self.snapshots += snapshots
        times = examples["timestamp"].cast(pa.int64()).to_numpy()
        bounds = np.searchsorted(assigned, np.arange(len(SPLITS) + 1))
        for writer, name, start, end in zip(self._writers, SPLITS, bounds, bounds[1:], strict=False):
            if start == end:
                continue
            writer.write_table(examples.slice(start, end - start), row_group_size=_ROW_GROUP)
            first, last = int(times[start:end].min()), int(times[start:end].max())
            known = self.windows.get(name, (first, last))
            self.windows[name] = (min(known[0], first), max(known[1], last))
            self.rows[name] += int(end - start)


def bucket_examples(
    buckets: Buckets, bucket: int, split: Split, sources: Path, join: PointInTimeJoin | None, settings: FeatureSettings
) -> tuple[pa.Table, NDArray[np.int8], int]:
    """One bucket's examples (EXAMPLES, by split, shopper and time), the split of each, how many snapshots it took.

    Snapshots go to `sources`: `moments-*` just before each search, `latest-*` at the end of the log. Without `join`
    (a log without shoppers or times) nothing is written and every history is empty.

    Feast's join meets every search with every earlier snapshot of its shopper: the square of a shopper's searches. So
    the searches of one shopper are spread over rounds, each joined to the snapshots of its own searches; the snapshot
    that holds at a search is among them.
    """
    searches = buckets.searches(bucket)
    rows, outcomes = engaged_outcomes(buckets.outcomes(bucket), searches["search_id"])
    engaged = _with_columns(searches.take(pa.array(rows)), outcomes)
    assigned = split.assign(engaged["us"].to_numpy(), engaged["query"])
    by_split = np.argsort(assigned, kind="stable")
    if join is None:
        return _examples(engaged.take(pa.array(by_split)), _empty_histories(len(rows))), assigned[by_split], 0
    tracks = ShopperTracks(buckets.behaviours(bucket), searches.filter(pc.is_valid(searches["user_id"])), settings)
    write_lists(tracks.latest(), sources / f"latest-{bucket:05d}.parquet")
    rounds = search_rounds(engaged["user_id"])
    features, snapshots = [_NO_FEATURES], 0
    for number in np.unique(rounds):
        chosen = pa.array(np.flatnonzero(rounds == number))
        part = engaged.select(["user_id", "us"]).take(chosen)
        moments = tracks.snapshots(part["user_id"], part["us"].to_numpy())
        path = sources / f"moments-{bucket:05d}-{number:03d}.parquet"
        write_lists(moments, path)
        features.append(join(path, part["user_id"], part["us"].cast(TIMESTAMP), chosen))
        snapshots += moments.num_rows
    # A shopper's searches side by side: their histories repeat each other, which is what zstd makes small.
    histories = _histories(pa.concat_tables(features), by_split)
    return _examples(engaged.take(pa.array(by_split)), histories), assigned[by_split], snapshots


def search_rounds(shoppers: pa.ChunkedArray) -> NDArray[np.int64]:
    """The round of each search [n], given the shoppers of searches ordered by shopper and time.

    A round takes the next searches of every shopper, up to the 4th, 8th, 16th, 32nd, 64th, 128th, ..., as many as meet
    4 snapshots a search on average or 100,000 in all, which take no longer than one more call of Feast.
    """
    if not len(shoppers):
        return np.zeros(0, dtype=np.int64)
    codes = shoppers.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    first = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    lengths = np.diff(np.append(first, len(codes)))
    ordinal = np.arange(len(codes)) - np.repeat(first, lengths)
    ordinal[codes == -1] = 0
    lengths[codes[first] == -1] = 1
    starts, last = [0], 0
    for end in (*_STEPS, *range(_STEP, int(lengths.max()) + _STEP, _STEP)):
        held = np.clip(lengths - starts[-1], 0, end - starts[-1])
        pairs = int((held * (held + 1) // 2).sum())
        if last > starts[-1] and pairs > max(_FEW_PAIRS, _PAIRS_A_SEARCH * held.sum()):
            starts.append(last)
        last = end
    return np.searchsorted(starts, ordinal, side="right") - 1


def write_lists(table: pa.Table, path: Path) -> None:
    """Writes a table of lists compactly; see STORAGE."""
    pq.write_table(table, path, row_group_size=_ROW_GROUP, **STORAGE)


def write_no_snapshots(sources: Path) -> None:
    """The snapshots of a log without shoppers: one file of the right columns and no rows."""
    write_lists(SNAPSHOTS.empty_table(), sources / "latest-00000.parquet")


def _examples(searches: pa.Table, histories: dict[str, pa.ListArray]) -> pa.Table:
    timestamp = searches["us"].cast(TIMESTAMP)
    return _with_columns(searches, {"timestamp": timestamp, **histories}).select(EXAMPLES.names).cast(EXAMPLES)


def _with_columns(table: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def _histories(features: pa.Table, rows: NDArray[np.int64]) -> dict[str, pa.ListArray]:
    """The histories of these rows [n] out of features in any order, each with the `row` it is of."""
    place = np.full(len(rows), -1)
    place[features["row"].to_numpy()] = np.arange(features.num_rows)
    places = pa.array(place[rows], mask=place[rows] < 0)
    return {
        name: _no_nulls(features[feature].take(places).cast(kind)) for name, (feature, kind) in EXAMPLE_HISTORY.items()
    }


def _no_nulls(lists: pa.ChunkedArray) -> pa.ListArray:
    """Nulls (a shopper without a snapshot, or without a name) as empty lists."""
    joined = lists.combine_chunks()
    return lists_of(joined.value_lengths().fill_null(0).to_numpy(), joined.flatten())


def _empty_histories(rows: int) -> dict[str, pa.ListArray]:
    none = np.zeros(rows, dtype=np.int64)
    return {name: lists_of(none, pa.array([], kind.value_type)) for name, (_, kind) in EXAMPLE_HISTORY.items()}
