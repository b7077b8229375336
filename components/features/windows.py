"""The behaviour windows of a shopper at one moment, cut from the history at read time.

ONE rule, used in training, in evaluation and in serving: `cut_windows`, for many shoppers held in ragged arrays.
`behaviour_windows` gives what it cuts for one shopper by name, to read and to compare.

Windows follow MGDSPR (Taobao, KDD 2021, section 3.1; lengths in section 5): real-time R, the latest clicks; short-term
S, the clicks before R within 10 days; long-term L, what lies before S within a month, one sequence per action. R and S
hold clicks alone, so only the clicks of L need to lie before S; every favourite, cart and order of the month is in L.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.features.history import ACTION_CODES, History
from components.features.sequence import offsets_of
from components.features.settings import FeatureSettings

DAY_US = 86_400_000_000
"""Microseconds in a day."""
_CLICK = ACTION_CODES["click"]


@dataclass(frozen=True)
class Ragged:
    """One window of many shoppers: `indices` [k] into the flat history arrays, row b at offsets[b]:offsets[b+1]."""

    offsets: NDArray[np.int64]
    indices: NDArray[np.int64]

    def row(self, number: int) -> NDArray[np.int64]:
        """The indices of one shopper's window, oldest first."""
        return self.indices[self.offsets[number] : self.offsets[number + 1]]

    def lengths(self) -> NDArray[np.int64]:
        """How many behaviours each shopper has in this window."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class WindowIndices:
    """The windows of many shoppers as indices into flat arrays; `long_term` by action name."""

    real_time: Ragged
    short_term: Ragged
    long_term: dict[str, Ragged]


@dataclass(frozen=True)
class Windows:
    """The windows of one shopper as product ids, oldest first; and the recent searches and purchases seen by then.

    `long_term` maps each action (click, favourite, cart, order) to its products.
    """

    real_time: list[str]
    short_term: list[str]
    long_term: dict[str, list[str]]
    queries: list[str]
    bought: list[str]


def cut_windows(
    offsets: NDArray,
    actions: NDArray,
    timestamps: NDArray,
    now_us: NDArray,
    settings: FeatureSettings | None = None,
) -> WindowIndices:
    """The windows of B shoppers, each at its own moment.

    Args:
        offsets: int [B+1], shopper b's behaviours are the rows offsets[b]:offsets[b+1] of the flat arrays.
        actions: int [n] action codes. timestamps: int64 [n] microseconds, ascending within each shopper.
        now_us: int64 [B], the moment of each shopper; only behaviours strictly before it count.
    """
    settings = settings or FeatureSettings()
    offsets = np.asarray(offsets, dtype=np.int64)
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    age = np.asarray(now_us, dtype=np.int64)[row] - np.asarray(timestamps, dtype=np.int64)
    actions = np.asarray(actions)

    clicks = (age > 0) & (actions == _CLICK)
    within = _not_older(age, settings.real_time_days) if settings.real_time_days else clicks
    real_time = _last(clicks & within, offsets, settings.real_time_length)
    short_term = _last(
        clicks & ~real_time & _not_older(age, settings.short_term_days), offsets, settings.short_term_length
    )
    month = (age > 0) & _not_older(age, settings.long_term_days)
    unused = month & ~real_time & ~short_term
    long_term = {
        name: _last(unused & (actions == code), offsets, settings.long_term_length)
        for name, code in ACTION_CODES.items()
    }
    return WindowIndices(
        _ragged(real_time, offsets),
        _ragged(short_term, offsets),
        {name: _ragged(mask, offsets) for name, mask in long_term.items()},
    )


def behaviour_windows(history: History, now_us: int, settings: FeatureSettings | None = None) -> Windows:
    """The windows of one shopper at `now_us` (microseconds): a pure function of history, moment and settings."""
    indices = cut_windows(
        np.array([0, len(history)]), history.actions, history.timestamps, np.array([now_us]), settings
    )
    seen = history.before(now_us)

    def products(window: Ragged) -> list[str]:
        return [history.product_ids[i] for i in window.indices]

    return Windows(
        products(indices.real_time),
        products(indices.short_term),
        {name: products(window) for name, window in indices.long_term.items()},
        seen.queries,
        seen.bought_product_ids,
    )


def _not_older(age: NDArray, days: float) -> NDArray:
    return age <= int(days * DAY_US)


def _last(mask: NDArray, offsets: NDArray, length: int) -> NDArray:
    """Of the rows marked in `mask`, those among the last `length` of their shopper."""
    count = offsets_of(mask)
    newer = np.repeat(count[offsets[1:]], np.diff(offsets)) - count[1:]
    return mask & (newer < length)


def _ragged(mask: NDArray, offsets: NDArray) -> Ragged:
    return Ragged(offsets_of(mask)[offsets], np.flatnonzero(mask).astype(np.int64))
