"""Which searches train, which validate and which test: by time, or by query where a log has no usable times.

By time: the last day of searches tests, the day before it validates, the rest trains. By query: a query's MD5 decides,
so every search of one query falls on one side and test queries never occur in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.features.schema import SPLITS

TRAIN, VALIDATION, TEST = range(len(SPLITS))
_TEST_SHARE, _VALIDATION_SHARE = 5, 10
MINIMUM_DAYS = 3


def query_split(query: str) -> int:
    """TRAIN, VALIDATION or TEST by the MD5 of the lower-cased query: a fifth tests, a tenth of the rest validates.

    Lower case, so that two spellings of one query never stand on both sides.
    """
    number = int(hashlib.md5(query.lower().encode("utf-8"), usedforsecurity=False).hexdigest(), 16)
    if number % _TEST_SHARE == 0:
        return TEST
    return VALIDATION if number // _TEST_SHARE % _VALIDATION_SHARE == 0 else TRAIN


@dataclass(frozen=True)
class TimeSplit:
    """Searches before `validation` train, before `test` validate, the others test; microseconds since the epoch."""

    validation: int
    test: int
    name = "time"

    @classmethod
    def of_days(cls, days: Iterable[date]) -> TimeSplit | None:
        """The split of a log with searches on these days; None when there are fewer than three."""
        ordered = sorted(set(days))
        return cls(_midnight(ordered[-2]), _midnight(ordered[-1])) if len(ordered) >= MINIMUM_DAYS else None

    @property
    def ends(self) -> tuple[tuple[int, int], ...]:
        """(search before, outcomes counted up to): a training search's outcomes end where validation begins."""
        return (self.validation, self.validation), (self.test, self.test)

    def assign(self, times: NDArray[np.int64], queries: pa.ChunkedArray) -> NDArray[np.int8]:
        """The split of each search [n]."""
        return ((times >= self.validation).astype(np.int8) + (times >= self.test)).astype(np.int8)


@dataclass(frozen=True)
class QuerySplit:
    """Searches by the hash of their query."""

    name = "query"
    ends: tuple[tuple[int, int], ...] = ()

    def assign(self, times: NDArray[np.int64], queries: pa.ChunkedArray) -> NDArray[np.int8]:
        """The split of each search [n]."""
        distinct = queries.unique()
        splits = np.array([query_split(query) for query in distinct.to_pylist()], dtype=np.int8)
        return splits[pc.index_in(queries, value_set=distinct).to_numpy()]


Split = TimeSplit | QuerySplit


def iso(us: int) -> str:
    """A moment in microseconds since the epoch as an ISO time in UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)) // timedelta(microseconds=1)
