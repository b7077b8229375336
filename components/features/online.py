"""Shoppers' histories in Feast's online store: read some, write some; every failure is an `Unavailable`.

Feast answers an unknown shopper with nulls and no error, and says the same when its store was emptied. So a marker, a
reserved shopper, is written once the store is filled: where the marker is missing, nothing there means anything.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from components.common.errors import BadInput, Unavailable
from components.features.history import History
from components.features.locks import FileLocks, Locks, RedisLocks
from components.features.repository import load_config, open_store
from components.features.schema import FEATURES, HISTORY_VIEW, PROJECT, SERVICE, SHOPPER

RESERVED = "\x00"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARKER = f"{RESERVED}towerline"


@dataclass(frozen=True)
class Stored:
    """A shopper's history as stored; `available_at` orders its versions, None when the shopper is unknown."""

    history: History
    available_at: int | None


class OnlineHistories:
    """One set of connections to the online store of an environment; safe for threads. Opens at first use.

    Args:
        environment: local, redis or cluster. directory: the work directory's feature store folder.
    """

    def __init__(self, environment: str, directory: Path) -> None:
        self.environment, self.directory = environment, Path(directory)
        self._opening = threading.Lock()
        self._using: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        self._store: Any = None
        self._provider: Any = None
        self._view: Any = None
        self._service: Any = None

    def open(self) -> None:
        """Imports Feast and loads the registry. Raises Unavailable without one, BadSetting for the environment."""
        with self._opening:
            if self._service is not None:
                return
            config = load_config(self.environment, self.directory)
            if config.online_store.type == "sqlite":
                if not Path(config.online_store.path).exists():
                    raise Unavailable(self._sentence("it was never filled; run the pipeline once"))
                # SQLite's connection is shared: a read beside an open write on it would see half of that write.
                self._using = threading.Lock()
            from feast.infra.provider import get_provider

            with self._failures():
                self._store = open_store(config)
                self._provider = get_provider(config)
                self._view = self._store.get_feature_view(HISTORY_VIEW)
                self._service = self._store.get_feature_service(SERVICE)

    def locks(self) -> Locks:
        """The locks that writers of this store hold."""
        self.open()
        config = self._store.config
        if config.online_store.type != "redis":
            return FileLocks(self.directory / "locks")
        from feast.infra.online_stores.redis import RedisOnlineStore

        # Feast's own reading of the connection string, for a client of our own.
        return RedisLocks(RedisOnlineStore()._get_client(config.online_store), PROJECT)

    def read(self, user_ids: Sequence[str]) -> list[Stored]:
        """The stored histories, in the order asked; unknown shoppers have an empty one."""
        self.open()
        with self._failures(), self._using:
            answer = self._store.get_online_features(self._service, [{SHOPPER: user_id} for user_id in user_ids]).proto
        columns = {
            name: result.values for name, result in zip(answer.metadata.feature_names.val, answer.results, strict=True)
        }
        return [self._stored(user_id, columns, row) for row, user_id in enumerate(user_ids)]

    def _stored(self, user_id: str, columns: dict[str, Any], row: int) -> Stored:
        values = {name: columns[name][row] for name in FEATURES}
        # A status of PRESENT means nothing with Redis: only the value's own kind tells whether there is one.
        present = [name for name, value in values.items() if value.WhichOneof("val") is not None]
        if not present:
            return Stored(History.empty(), None)
        if len(present) < len(FEATURES):
            missing = sorted(set(FEATURES) - set(present))
            raise Unavailable(self._sentence(f"it lacks {missing[0]} of shopper {user_id!r}; materialise again"))
        try:
            history = History(
                list(values["product_ids"].string_list_val.val),
                np.array(values["actions"].int32_list_val.val, dtype=np.int8),
                np.array(values["timestamps"].int64_list_val.val, dtype=np.int64),
                list(values["queries"].string_list_val.val),
                np.array(values["query_timestamps"].int64_list_val.val, dtype=np.int64),
                list(values["bought_product_ids"].string_list_val.val),
                np.array(values["bought_timestamps"].int64_list_val.val, dtype=np.int64),
            )
        except BadInput as error:
            raise Unavailable(self._sentence(f"its history of shopper {user_id!r} is damaged: {error}")) from error
        return Stored(history, int(values["available_at"].int64_val))

    def write(self, rows: Sequence[tuple[str, Stored]]) -> None:
        """Replaces the histories of these shoppers, each as a whole: a reader sees the old one or the new one.

        The rows are those that Feast's `push` makes of a data frame, handed to its online store directly: the way
        through the frame and the registry takes ten times as long.
        """
        if not rows:
            return
        self.open()
        made = [_row(user_id, stored) for user_id, stored in rows]
        with self._failures(), self._using:
            self._provider.online_write_batch(self._store.config, self._view, made, None)

    def marker(self) -> str | None:
        """The token of the last complete materialisation in this store; None where there was none or it was emptied."""
        queries = self.read([_MARKER])[0].history.queries
        return queries[0] if queries else None

    def set_marker(self, token: str) -> None:
        """Marks the store as filled."""
        previous = self.read([_MARKER])[0].available_at
        history = History([], np.zeros(0, np.int8), np.zeros(0, np.int64), [token], np.zeros(1, np.int64))
        self.write([(_MARKER, Stored(history, (previous or 0) + 1))])

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        import sqlite3

        import redis.exceptions
        from feast.errors import FeastError

        try:
            yield
        except (sqlite3.Error, redis.exceptions.RedisError, FeastError, OSError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Unavailable(self._sentence(first)) from error

    def _sentence(self, reason: str) -> str:
        return f"the online feature store ({self.environment}, {self.directory}) gives no answer: {reason.rstrip('.')}."


def _row(user_id: str, stored: Stored) -> tuple[Any, dict[str, Any], datetime, None]:
    """A shopper's row as an online store of Feast takes it: key, values by feature, time, no time of creation."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Int32List, Int64List, StringList, Value

    lists, available_at = stored.history.as_lists(), stored.available_at or 0
    values = {
        "product_ids": Value(string_list_val=StringList(val=lists["product_ids"])),
        "actions": Value(int32_list_val=Int32List(val=lists["actions"])),
        "timestamps": Value(int64_list_val=Int64List(val=lists["timestamps"])),
        "queries": Value(string_list_val=StringList(val=lists["queries"])),
        "query_timestamps": Value(int64_list_val=Int64List(val=lists["query_timestamps"])),
        "bought_product_ids": Value(string_list_val=StringList(val=lists["bought_product_ids"])),
        "bought_timestamps": Value(int64_list_val=Int64List(val=lists["bought_timestamps"])),
        "available_at": Value(int64_val=available_at),
    }
    key = EntityKey(join_keys=[SHOPPER], entity_values=[Value(string_val=user_id)])
    return key, values, _EPOCH + timedelta(microseconds=available_at), None
