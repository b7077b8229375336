"""A shopper's history: the latest behaviours, recent searches and bought products, in numpy and plain lists alone.

The same type is read from the training examples, from the online store, and grown by real-time events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.common.errors import BadInput
from components.features.sequence import latest_per_key, sequence_order, sorted_codes
from components.features.settings import FeatureSettings

ACTION_CODES: dict[str, int] = {"click": 1, "favourite": 2, "cart": 3, "order": 4}
"""Behaviours kept in a history and their codes; an impression is not a behaviour of the shopper."""
ACTION_NAMES: dict[int, str] = {code: name for name, code in ACTION_CODES.items()}
ORDER = ACTION_CODES["order"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A shopper acted on a product. `timestamp`: microseconds since the epoch; `action`: a key of ACTION_CODES."""

    timestamp: int
    product_id: str
    action: str


@dataclass(frozen=True, slots=True)
class Search:
    """The shopper searched. `timestamp`: microseconds since the epoch."""

    timestamp: int
    query: str


def _times(values: Iterable[int] | NDArray = ()) -> NDArray[np.int64]:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class History:
    """Parallel arrays, oldest first.

    product_ids [n], actions int8 [n], timestamps int64 [n] (microseconds): the latest product behaviours.
    queries [m], query_timestamps int64 [m]: the latest searches.
    bought_product_ids [b], bought_timestamps int64 [b]: distinct products bought, by their last purchase.

    Order and ties: by time, then product id, then action (then query text for searches); an event that repeats another
    in all of these counts once. Raises BadInput when parallel arrays differ in length.
    """

    product_ids: list[str]
    actions: NDArray[np.int8]
    timestamps: NDArray[np.int64]
    queries: list[str] = field(default_factory=list)
    query_timestamps: NDArray[np.int64] = field(default_factory=_times)
    bought_product_ids: list[str] = field(default_factory=list)
    bought_timestamps: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", np.asarray(self.actions, dtype=np.int8))
        object.__setattr__(self, "timestamps", _times(self.timestamps))
        object.__setattr__(self, "query_timestamps", _times(self.query_timestamps))
        bought = self.bought_timestamps
        # A purchase without a known time counts as long past: it is in every state of the shopper.
        known = np.zeros(len(self.bought_product_ids), dtype=np.int64) if bought is None else _times(bought)
        object.__setattr__(self, "bought_timestamps", known)
        lengths = (len(self.product_ids), len(self.actions), len(self.timestamps))
        pairs = ((len(self.queries), len(self.query_timestamps)), (len(self.bought_product_ids), len(known)))
        if len(set(lengths)) != 1 or any(a != b for a, b in pairs):
            raise BadInput(
                f"a history's parallel arrays differ in length: behaviours {lengths}, searches {pairs[0]}, "
                f"bought products {pairs[1]}; write the shopper's history again."
            )

    @classmethod
    def empty(cls) -> History:
        """The history of a shopper about whom nothing is known."""
        return cls([], np.zeros(0, np.int8), _times())

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> History:
        """The history in one row of the training examples (its `history_*` and `bought_*` columns)."""
        return cls(
            list(row["history_product_ids"] or []),
            np.asarray(row["history_actions"] or [], dtype=np.int8),
            _times(row["history_timestamps"] or []),
            list(row["history_queries"] or []),
            _times(row["history_query_timestamps"] or []),
            list(row["bought_product_ids"] or []),
            _times(row["bought_timestamps"] or []) if row.get("bought_timestamps") is not None else None,
        )

    @classmethod
    def of(cls, events: Iterable[Behaviour | Search], settings: FeatureSettings | None = None) -> History:
        """The history made of these events, in whatever order they come."""
        return cls.empty().append(*events, settings=settings)

    def __len__(self) -> int:
        return len(self.product_ids)

    def __bool__(self) -> bool:
        return bool(self.product_ids or self.queries or self.bought_product_ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self.as_lists() == other.as_lists()

    __hash__ = None  # type: ignore[assignment]

    def as_lists(self) -> dict[str, list]:
        """The seven arrays as plain lists by field name."""
        return {
            "product_ids": list(self.product_ids),
            "actions": self.actions.tolist(),
            "timestamps": self.timestamps.tolist(),
            "queries": list(self.queries),
            "query_timestamps": self.query_timestamps.tolist(),
            "bought_product_ids": list(self.bought_product_ids),
            "bought_timestamps": self._bought_times.tolist(),
        }

    @property
    def _bought_times(self) -> NDArray[np.int64]:
        assert self.bought_timestamps is not None
        return self.bought_timestamps

    @property
    def last_timestamp(self) -> int | None:
        """Time of the latest thing in this history, None when it is empty."""
        return max(
            (int(t.max()) for t in (self.timestamps, self.query_timestamps, self._bought_times) if len(t)), default=None
        )

    def before(self, now_us: int) -> History:
        """What had happened strictly before `now_us`: an event at the very same microsecond is not seen.

        A product bought again at or after `now_us` is left out, since only its last purchase is kept.
        """
        return self._between(-(2**63), now_us)

    def since(self, start_us: int) -> History:
        """What happened at or after `start_us`."""
        return self._between(start_us, 2**63 - 1)

    def _between(self, start: int, end: int) -> History:
        seen, asked, bought = (
            np.flatnonzero((times >= start) & (times < end))
            for times in (self.timestamps, self.query_timestamps, self._bought_times)
        )
        if len(seen) == len(self) and len(asked) == len(self.queries) and len(bought) == len(self.bought_product_ids):
            return self
        return self._take(seen, asked, bought)

    def _take(self, seen: NDArray, asked: NDArray, bought: NDArray) -> History:
        return History(
            [self.product_ids[i] for i in seen],
            self.actions[seen],
            self.timestamps[seen],
            [self.queries[i] for i in asked],
            self.query_timestamps[asked],
            [self.bought_product_ids[i] for i in bought],
            self._bought_times[bought],
        )

    def append(self, *events: Behaviour | Search, settings: FeatureSettings | None = None) -> History:
        """This history with more events, each at its place in time whenever it arrives; capped by the settings."""
        behaviours = [event for event in events if isinstance(event, Behaviour)]
        searches = [event for event in events if isinstance(event, Search)]
        for event in behaviours:
            if event.action not in ACTION_CODES:
                raise BadInput(
                    f"the action {event.action!r} on product {event.product_id!r} is not a behaviour; "
                    f"use one of {', '.join(ACTION_CODES)}."
                )
        orders = [event for event in behaviours if event.action == "order"]
        return self.merge(
            History(
                [event.product_id for event in behaviours],
                np.array([ACTION_CODES[event.action] for event in behaviours], dtype=np.int8),
                _times(event.timestamp for event in behaviours),
                [event.query for event in searches],
                _times(event.timestamp for event in searches),
                [event.product_id for event in orders],
                _times(event.timestamp for event in orders),
            ),
            settings,
        )

    def merge(self, other: History, settings: FeatureSettings | None = None) -> History:
        """The history of the union of both sets of events, capped by the settings (see `sequence`)."""
        settings = settings or FeatureSettings()
        both = History(
            self.product_ids + other.product_ids,
            np.concatenate((self.actions, other.actions)),
            np.concatenate((self.timestamps, other.timestamps)),
            self.queries + other.queries,
            np.concatenate((self.query_timestamps, other.query_timestamps)),
            self.bought_product_ids + other.bought_product_ids,
            np.concatenate((self._bought_times, other._bought_times)),
        )
        one = np.zeros(max(len(both), len(both.queries), len(both.bought_product_ids)), dtype=np.int8)
        products = sorted_codes(both.product_ids)
        bought = sorted_codes(both.bought_product_ids)
        return both._take(
            sequence_order(one[: len(both)], both.timestamps, products, both.actions)[-settings.history_length :],
            sequence_order(one[: len(both.queries)], both.query_timestamps, sorted_codes(both.queries))[
                -settings.recent_queries :
            ],
            latest_per_key(one[: len(bought)], bought, both._bought_times)[-settings.bought_products :],
        )
