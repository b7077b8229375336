"""What the server uses: a shopper's history now, and real-time events that change it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from components.common.errors import BadInput, Unavailable
from components.features.history import Behaviour, History, Search
from components.features.locks import Locks, shard_of
from components.features.online import RESERVED, OnlineHistories, Stored
from components.features.repository import kept_settings, store_directory
from components.features.settings import FeatureSettings

_MARKER_SECONDS = 30.0


class FeatureStoreClient:
    """Reads and grows shoppers' histories in the online store. Cheap to make; Feast is imported by `warm` or first use.

    Args:
        workdir: the work directory whose `feature_store/` was materialised.
        environment: local, redis or cluster.
        settings: how long histories are kept; by default as those that were materialised.
        lock_seconds: how long a push waits for another writer of the same shoppers.

    Safe for threads. Reads and writes have connections of their own, so a read never waits for a push. Every method
    raises Unavailable when the store doesn't answer.
    """

    def __init__(
        self,
        workdir: Path,
        environment: str = "local",
        settings: FeatureSettings | None = None,
        lock_seconds: float = 2.0,
    ) -> None:
        directory = store_directory(workdir)
        self._given = settings
        self._reader = OnlineHistories(environment, directory)
        self._writer = OnlineHistories(environment, directory)
        self._lock_seconds = lock_seconds
        self._locks: Locks | None = None
        self._opening = threading.Lock()
        self._filled_until = 0.0

    def warm(self) -> None:
        """Imports Feast, opens the connections and checks that the store was filled."""
        self._check_filled()
        self._writer_locks()

    def history(self, user_id: str | None) -> History:
        """The shopper's history up to now; empty for an anonymous or unknown shopper."""
        return self.histories([user_id])[0]

    def histories(self, user_ids: Sequence[str | None]) -> list[History]:
        """The histories of several shoppers in one read, in the order asked."""
        known = [user_id for user_id in user_ids if user_id and _is_shopper(user_id)]
        stored = dict(zip(known, self._reader.read(known), strict=True)) if known else {}
        if any(one.available_at is None for one in stored.values()):
            # "Unknown" is only believed of a store that was filled: an emptied one would make everybody unknown.
            self._check_filled()
        empty = History.empty()
        return [stored[user_id].history if user_id in stored else empty for user_id in user_ids]

    def push(self, user_id: str, *events: Behaviour | Search) -> History:
        """Adds real-time events to the shopper's history and returns it; the next read sees them.

        They live online only. The log is the source of truth: once it has passed their time, less a grace, the next
        materialisation leaves out what it does not hold.

        Late rule: an event is put at its own time, whenever it comes, so an older event never replaces a newer one; one
        that was pushed before changes nothing; one older than everything in a full history is dropped. Raises BadInput
        for an anonymous shopper or an action that is no behaviour (an impression).
        """
        if not _is_shopper(user_id):
            raise BadInput(f"an event needs the id of a shopper, not {user_id!r}; send a user_id that is not empty.")
        with self._writer_locks().hold(shard_of(user_id), self._lock_seconds):
            settings = self._settings
            addition = History.of(events, settings)
            old = self._writer.read([user_id])[0]
            new = combined(old, addition, settings)
            if new is not old:
                self._writer.write([(user_id, new)])
        return new.history

    @cached_property
    def _settings(self) -> FeatureSettings:
        return self._given or kept_settings(self._reader.directory)

    def _writer_locks(self) -> Locks:
        with self._opening:
            if self._locks is None:
                self._locks = self._writer.locks()
            return self._locks

    def _check_filled(self) -> None:
        now = time.monotonic()
        if now < self._filled_until:
            return
        if self._reader.marker() is None:
            raise Unavailable(
                f"the online feature store ({self._reader.environment}, {self._reader.directory}) is empty: it was "
                "never filled or was emptied; materialise the features again."
            )
        self._filled_until = now + _MARKER_SECONDS


def combined(old: Stored, addition: History, settings: FeatureSettings) -> Stored:
    """What is stored after adding events to `old`; `old` itself when that changes nothing.

    Versions are ordered by `available_at`: after the last event, and always after the version replaced, because SQLite
    lets an older version overwrite a newer one and Redis refuses one of the same time.
    """
    history = old.history.merge(addition, settings)
    if old.available_at is not None and history == old.history:
        return old
    last = history.last_timestamp
    return Stored(history, max((last if last is not None else -1) + 1, (old.available_at or 0) + 1))


def _is_shopper(user_id: str | None) -> bool:
    return bool(user_id) and not str(user_id).startswith(RESERVED)
