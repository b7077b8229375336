"""Histories of many shoppers at many moments, computed in arrays: what Feast stores offline.

A snapshot is a shopper's history strictly before a moment. It becomes available one microsecond after the last thing
in it, so "available at or before the search" (Feast's rule) means "happened strictly before the search": of equal
timestamps, the event is not seen. A search is itself part of later histories, so two searches share a snapshot only
when nothing at all lies between them.

An event that answers a search is put one microsecond after it at the earliest (`buckets`), whatever its clock says.

Late events: an event that reaches the log after its time is put at its time. It then changes the snapshots of the
searches after it and none before; a model trained earlier saw those searches without it, a later one sees them with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.features.history import ORDER
from components.features.schema import SNAPSHOTS, TIMESTAMP
from components.features.sequence import offsets_of, ragged_indices, sequence_order
from components.features.settings import FeatureSettings

_CHUNK = 2_000_000
_NEVER = np.iinfo(np.int64).min
_END = np.iinfo(np.int64).max
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Track:
    """One kind of thing of many shoppers as a sequence: sorted by shopper, then time (see `sequence`).

    shoppers, times, codes: int64 [n]; a code is an index into `values`. offsets: int64 [shoppers + 1], the rows of
    shopper s are offsets[s]:offsets[s+1].
    """

    shoppers: Ints
    times: Ints
    codes: Ints
    values: pa.Array
    offsets: Ints

    @classmethod
    def of(cls, shoppers: Ints, times: Ints, codes: Ints, values: pa.Array, count: int) -> Track:
        """The track of `count` shoppers."""
        return cls(shoppers, times, codes, values, offsets_of(np.bincount(shoppers, minlength=count)))

    def before(self, shoppers: Ints, times: Ints) -> tuple[Ints, Ints]:
        """For each moment the run [start, end) of its shopper's rows strictly before it."""
        start = self.offsets[shoppers]
        low, high = start.copy(), self.offsets[shoppers + 1]
        # Bisection inside each shopper's rows, all moments side by side.
        while (searching := np.flatnonzero(low < high)).size:
            middle = (low[searching] + high[searching]) // 2
            earlier = self.times[middle] < times[searching]
            low[searching] = np.where(earlier, middle + 1, low[searching])
            high[searching] = np.where(earlier, high[searching], middle)
        return start, low

    def last_time(self, start: Ints, end: Ints) -> Ints:
        """Time of the last row of each run, `_NEVER` where the run is empty."""
        if not len(self.times):
            return np.full(len(start), _NEVER)
        return np.where(end > start, self.times[np.maximum(end - 1, 0)], _NEVER)

    def lists(self, rows: Ints, lengths: Ints) -> tuple[pa.ListArray, pa.ListArray]:
        """The values and the times of these rows as lists of the given lengths."""
        return lists_of(lengths, self.values.take(pa.array(self.codes[rows]))), lists_of(lengths, self.times[rows])


class ShopperTracks:
    """Everything a set of shoppers did, ready to be cut at any moments.

    Args:
        behaviours: user_id, us (int64 microseconds), product_id, action (code). searches: user_id, us, query. Both in
            any order and with repeats; user ids not null.
    """

    def __init__(self, behaviours: pa.Table, searches: pa.Table, settings: FeatureSettings) -> None:
        self._settings = settings
        self._users, (doing, asking) = string_codes(behaviours["user_id"], searches["user_id"])
        products, (codes,) = string_codes(behaviours["product_id"])
        times, actions = behaviours["us"].to_numpy(), behaviours["action"].to_numpy()
        order = sequence_order(doing, times, codes, actions)
        self._actions = actions[order].astype(np.int32)
        known = len(self._users)
        self._done = Track.of(doing[order], times[order], codes[order], products, known)
        orders = np.flatnonzero(self._actions == ORDER)
        bought = (self._done.shoppers[orders], self._done.times[orders], self._done.codes[orders])
        self._bought = Track.of(*bought, products, known)
        self._bought_again = _next_purchase(self._bought)
        queries, (codes,) = string_codes(searches["query"])
        times = searches["us"].to_numpy()
        order = sequence_order(asking, times, codes)
        self._asked = Track.of(asking[order], times[order], codes[order], queries, known)

    def latest(self) -> pa.Table:
        """Every shopper's history at the end of the log: SNAPSHOTS, one row a shopper, ordered by user id."""
        return self.snapshots(self._users, np.full(len(self._users), _END))

    def snapshots(self, shoppers: pa.Array | pa.ChunkedArray, times: Ints) -> pa.Table:
        """The snapshots that hold at these moments: SNAPSHOTS, each (shopper, available time) once, ordered by both.

        Args: shoppers: string [m]; times: int64 [m], microseconds. A moment before which nothing happened has none.
        """
        known = pc.index_in(shoppers, value_set=self._users)
        if isinstance(known, pa.ChunkedArray):
            known = known.combine_chunks()
        seen = np.flatnonzero(known.is_valid().to_numpy(zero_copy_only=False))
        shopper = known.drop_null().to_numpy().astype(np.int64)
        moment = np.asarray(times, dtype=np.int64)[seen]
        done, asked = self._done.before(shopper, moment), self._asked.before(shopper, moment)
        last = np.maximum(self._done.last_time(*done), self._asked.last_time(*asked))
        some = np.flatnonzero(last != _NEVER)
        order = some[sequence_order(shopper[some], last[some])]
        runs = [(start[order], end[order]) for start, end in (done, asked)]
        return self._available(shopper[order], last[order] + 1, *runs)

    def _available(self, shopper: Ints, available: Ints, done: tuple[Ints, Ints], asked: tuple[Ints, Ints]) -> pa.Table:
        """The snapshots [m] made of these runs [start, end) of behaviours and searches."""
        settings = self._settings
        lengths, rows = _latest_rows(*done, settings.history_length)
        product_ids, timestamps = self._done.lists(rows, lengths)
        actions = lists_of(lengths, self._actions[rows])
        lengths, rows = _latest_rows(*asked, settings.recent_queries)
        queries, query_timestamps = self._asked.lists(rows, lengths)
        lengths, rows = self._bought_before(shopper, available)
        bought_product_ids, bought_timestamps = self._bought.lists(rows, lengths)
        columns = {
            "user_id": self._users.take(pa.array(shopper)),
            "event_timestamp": pa.array(available).cast(TIMESTAMP),
            "product_ids": product_ids,
            "actions": actions,
            "timestamps": timestamps,
            "queries": queries,
            "query_timestamps": query_timestamps,
            "bought_product_ids": bought_product_ids,
            "bought_timestamps": bought_timestamps,
            "available_at": pa.array(available),
        }
        return pa.table(columns).cast(SNAPSHOTS)

    def _bought_before(self, shopper: Ints, moment: Ints) -> tuple[Ints, Ints]:
        """Per moment the distinct products bought before it, by last purchase: (lengths [m], rows)."""
        start, end = self._bought.before(shopper, moment)
        found: list[Ints] = [np.zeros(0, dtype=np.int64)]
        lengths = np.zeros(len(start), dtype=np.int64)
        # All purchases before each moment are spread out, so moments are taken in parts of bounded size.
        parts = np.cumsum(end - start) // _CHUNK
        for part in np.split(np.arange(len(start)), np.flatnonzero(np.diff(parts)) + 1):
            rows, run = ragged_indices(start[part], (end - start)[part])
            # A purchase stands for its product unless the product was bought again before the same moment.
            stands = self._bought_again[rows] >= end[part][run]
            rows, run = rows[stands], run[stands]
            counts = np.bincount(run, minlength=len(part))
            newer = np.repeat(np.cumsum(counts), counts) - np.arange(len(rows)) - 1
            inside = newer < self._settings.bought_products
            found.append(rows[inside])
            lengths[part] = np.bincount(run[inside], minlength=len(part))
        return lengths, np.concatenate(found)


def string_codes(*columns: pa.ChunkedArray) -> tuple[pa.Array, list[Ints]]:
    """The sorted distinct strings of all columns, and each column as indices into them."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    encoded = pa.chunked_array(chunks, type=pa.string()).combine_chunks().dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[encoded.indices.to_numpy()]
    ends = np.cumsum([len(column) for column in columns])
    return encoded.dictionary.take(pa.array(order)), np.split(codes, ends[:-1])


def _latest_rows(start: Ints, end: Ints, length: int) -> tuple[Ints, Ints]:
    lengths = np.minimum(end - start, length)
    return lengths, ragged_indices(end - lengths, lengths)[0]


def _next_purchase(track: Track) -> Ints:
    """For each purchase the row of the same shopper's next purchase of the same product, `_END` if there is none."""
    again = np.full(len(track.times), _END)
    order = np.lexsort((np.arange(len(track.times)), track.codes, track.shoppers))
    same = (np.diff(track.codes[order]) == 0) & (np.diff(track.shoppers[order]) == 0)
    again[order[:-1][same]] = order[1:][same]
    return again


def lists_of(lengths: Ints, values: pa.Array | pa.ChunkedArray | NDArray) -> pa.ListArray:
    """Consecutive values [sum of lengths] as lists of these lengths [n]."""
    flat = pa.array(values) if isinstance(values, np.ndarray) else values
    return pa.ListArray.from_arrays(pa.array(offsets_of(lengths).astype(np.int32)), flat)
