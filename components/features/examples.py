"""Training examples, bucket by bucket: what a search led to, and the shopper's history just before it."""

from __future__ import annotations

from collections.abc import Iterator
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
from components.features.repository import PointInTimeJoin
from components.features.schema import EXAMPLE_HISTORY, EXAMPLES, SNAPSHOTS, SPLITS, TIMESTAMP
from components.features.settings import FeatureSettings
from components.features.snapshots import ShopperTracks
from components.features.splits import Split

_ROW_GROUP = 8192
_STEPS, _STEP = (4, 8, 16, 32), 64
_PAIRS_A_SEARCH, _FEW_PAIRS = 4, 100_000
STORAGE: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "coerce_timestamps": "us",
}
"""How lists are stored. Plainly encoded, since a shopper's histories repeat each other and zstd sees that;
microseconds, since DuckDB refuses nanoseconds."""


class ExampleWriter:
    """Writes train, validation and test; each in row groups in the order of the buckets."""

    def __init__(self, folder: Path, split: Split) -> None:
        self._split = split
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

    def write(self, examples: pa.Table, snapshots: int) -> None:
        """Writes each example to the split it belongs to; `snapshots` is how many were made for them."""
        self.snapshots += snapshots
        times = examples["timestamp"].cast(pa.int64()).to_numpy()
        assigned = self._split.assign(times, examples["query"].to_pylist())
        for number, name in enumerate(SPLITS):
            rows = np.flatnonzero(assigned == number)
            if not len(rows):
                continue
            self._writers[number].write_table(examples.take(pa.array(rows)), row_group_size=_ROW_GROUP)
            first, last = int(times[rows].min()), int(times[rows].max())
            known = self.windows.get(name, (first, last))
            self.windows[name] = (min(known[0], first), max(known[1], last))
            self.rows[name] += len(rows)


def bucket_examples(
    buckets: Buckets, bucket: int, sources: Path, join: PointInTimeJoin | None, settings: FeatureSettings
) -> Iterator[tuple[pa.Table, int]]:
    """One bucket's examples (EXAMPLES) in pieces, and how many snapshots were written for each piece.

    Snapshots go to `sources`: `moments-*` just before each search, `latest-*` at the end of the log. Without `join`
    (a log without shoppers or times) nothing is written and every history is empty.

    Feast's join meets every search with every earlier snapshot of its shopper: the square of a shopper's searches. So
    the searches of one shopper are spread over rounds, each joined to the snapshots of its own searches; the snapshot
    that holds at a search is among them.
    """
    searches = buckets.searches(bucket)
    outcomes = buckets.outcomes(bucket)
    row = pc.index_in(searches["search_id"], value_set=outcomes["search_id"].combine_chunks())
    engaged = searches.filter(pc.is_valid(row))
    outcomes = outcomes.take(row.drop_null())
    if join is None:
        yield _examples(engaged, outcomes, _empty_histories(engaged.num_rows)), 0
        return
    tracks = ShopperTracks(buckets.behaviours(bucket), searches.filter(pc.is_valid(searches["user_id"])), settings)
    write_lists(tracks.latest(), sources / f"latest-{bucket:05d}.parquet")
    rounds = search_rounds(engaged["user_id"])
    for number in np.unique(rounds):
        chosen = pa.array(rounds == number)
        part = engaged.filter(chosen)
        moments = tracks.snapshots(part["user_id"], part["us"].to_numpy())
        path = sources / f"moments-{bucket:05d}-{number:03d}.parquet"
        write_lists(moments, path)
        yield _examples(part, outcomes.filter(chosen), _histories(join, path, part)), moments.num_rows


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


def _examples(searches: pa.Table, outcomes: pa.Table, histories: dict[str, Any]) -> pa.Table:
    columns = {
        "search_id": searches["search_id"],
        "timestamp": searches["us"].cast(TIMESTAMP),
        **{name: searches[name] for name in ("query", "user_id", "latitude", "longitude", "country")},
        **{name: outcomes[name] for name in ("product_ids", "stages", "positions")},
        **histories,
    }
    return pa.table(columns).select(EXAMPLES.names).cast(EXAMPLES)


def _histories(join: PointInTimeJoin, snapshots: Path, searches: pa.Table) -> dict[str, Any]:
    known = pc.is_valid(searches["user_id"])
    asking = searches.filter(known)
    if not asking.num_rows:
        return _empty_histories(searches.num_rows)
    features = join(snapshots, asking["user_id"], asking["us"].cast(TIMESTAMP))
    # Anonymous searches have no row in the join: take() with a null index gives null, which becomes an empty list.
    place = np.cumsum(known.to_numpy()) - 1
    rows = pa.array(place, mask=~known.to_numpy())
    return {
        name: _no_nulls(features[feature].cast(kind).take(rows)) for name, (feature, kind) in EXAMPLE_HISTORY.items()
    }


def _no_nulls(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Nulls (Feast's answer for a shopper it has no snapshot of) as empty lists."""
    empty = pa.scalar([], type=lists.type)
    return pa.chunked_array([pc.coalesce(chunk, empty) for chunk in lists.chunks], type=lists.type)


def _empty_histories(rows: int) -> dict[str, pa.Array]:
    return {
        name: pa.ListArray.from_arrays(pa.array(np.zeros(rows + 1, np.int32)), pa.array([], kind.value_type))
        for name, (_, kind) in EXAMPLE_HISTORY.items()
    }
