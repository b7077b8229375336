"""Locks for reading, changing and writing back a shopper's history, so that two writers never lose each other's event.

Shoppers are spread over shards, one lock each. With SQLite the lock is `flock` on a file (threads and processes of one
machine; the system drops it when its owner dies); with Redis it is a key with an expiry (every replica of the server).
"""

from __future__ import annotations

import contextlib
import fcntl
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from components.common.errors import Unavailable

SHARDS = 64
_POLL_SECONDS = 0.001
# Longer than a read and a write may take (each command times out after half a second), short after an owner's death.
_REDIS_EXPIRY_SECONDS = 3.0


def shard_of(user_id: str) -> int:
    """The shard of a shopper, 0 to SHARDS - 1."""
    return zlib.crc32(user_id.encode("utf-8", "surrogatepass")) % SHARDS


class Locks(Protocol):
    """One lock per shard."""

    def hold(self, shard: int, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Holds a shard's lock while the block runs. Raises Unavailable when it isn't free within `seconds`."""


class FileLocks:
    """Locks as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def hold(self, shard: int, seconds: float) -> Iterator[None]:
        """See Locks."""
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + seconds
        with open(self._folder / f"shard-{shard:02d}", "a", encoding="utf-8") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise Unavailable(_sentence(shard, seconds)) from None
                    time.sleep(_POLL_SECONDS)
            yield


class RedisLocks:
    """Locks as expiring keys in the Redis that holds the features."""

    def __init__(self, client: Any, project: str) -> None:
        self._client, self._project = client, project

    @contextlib.contextmanager
    def hold(self, shard: int, seconds: float) -> Iterator[None]:
        """See Locks. An owner that dies leaves its key to expire after three seconds."""
        from redis.exceptions import RedisError

        lock = self._client.lock(
            f"{self._project}:shopper-lock:{shard}",
            timeout=_REDIS_EXPIRY_SECONDS,
            blocking_timeout=seconds,
            sleep=_POLL_SECONDS,
        )
        try:
            taken = lock.acquire()
        except RedisError as error:
            raise Unavailable(f"the lock of a shopper's history gives no answer from Redis: {error}.") from error
        if not taken:
            raise Unavailable(_sentence(shard, seconds))
        try:
            yield
        finally:
            # Past its expiry the lock may be another's: redis releases only a lock that is still ours. A lock that
            # can't be given back expires.
            with contextlib.suppress(RedisError):
                lock.release()


def _sentence(shard: int, seconds: float) -> str:
    return f"another writer has held shoppers' shard {shard} for more than {seconds:g} s; try again."
