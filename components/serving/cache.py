"""Bounded tables that forget: what the reply caches are made of."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Least recently used entries, at most `entries` of them, each for `seconds` (None: until pushed out)."""

    def __init__(self, entries: int, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries, self._seconds, self._clock = entries, seconds, clock
        self._held: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable) -> V | None:
        """The entry, or None when there is none or it has expired."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            if self._seconds is not None and self._clock() - found[0] > self._seconds:
                del self._held[key]
                return None
            self._held.move_to_end(key)
            return found[1]

    def put(self, key: Hashable, value: V) -> None:
        """Keeps an entry, pushing out the least recently used one when full."""
        with self._lock:
            self._held[key] = (self._clock(), value)
            self._held.move_to_end(key)
            if len(self._held) > self._entries:
                self._held.popitem(last=False)

    def keep_only(self, wanted: Callable[[Hashable], bool]) -> None:
        """Drops the entries whose key is not wanted any more (those of a retired release)."""
        with self._lock:
            for key in [key for key in self._held if not wanted(key)]:
                del self._held[key]


class Epochs:
    """Counts the behaviours each shopper added through this server, so that a session key changes with them.

    The counters live in a bounded table; a shopper pushed out starts again from a number never used before.
    """

    def __init__(self, entries: int = 100_000) -> None:
        self._entries = entries
        self._of: OrderedDict[str, int] = OrderedDict()
        self._next = 1
        self._lock = threading.Lock()

    def of(self, user_id: str | None) -> int:
        """The shopper's epoch; 0 until a behaviour arrives."""
        return self._of.get(user_id, 0) if user_id else 0

    def advance(self, user_id: str) -> None:
        """A behaviour of this shopper has arrived."""
        with self._lock:
            self._of[user_id] = self._next
            self._of.move_to_end(user_id)
            self._next += 1
            if len(self._of) > self._entries:
                self._of.popitem(last=False)
