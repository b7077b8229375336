"""Replies and where they are kept: UEPPR's two cache designs, and the last good result of a query.

Session design: who asks is part of the key and entries live for seconds; it spares the feature look-up and serves
paging and going back. Feature design: features are looked up first and their content is hashed into the key; entries
live long, because a changed behaviour is another key (UEPPR, serving). Every key begins with the release, so that a
promotion invalidates by itself.
"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.serving.cache import BoundedCache, Epochs
from components.serving.loaded_release import Found
from components.serving.metrics import Metrics
from components.serving.requests import SearchRequest
from components.serving.rollout import ReleaseTable
from components.serving.settings import ServingSettings

_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Reply:
    """The answer to one search: products best first, the release that answered, and why it is degraded, if it is."""

    found: Found
    release: str
    degraded: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """The JSON of one prediction."""
        pairs = zip(self.found.product_ids, self.found.scores, strict=True)
        products = [{"product_id": product_id, "score": score} for product_id, score in pairs]
        return {"products": products, "release": self.release, "degraded": list(self.degraded) or False}


class Replies:
    """The three stores of replies of one server. `epochs` counts behaviours that arrived here, per shopper."""

    def __init__(self, settings: ServingSettings, metrics: Metrics) -> None:
        self._by_session = settings.cache in ("session", "both")
        self._by_features = settings.cache in ("features", "both")
        self._metrics = metrics
        self.epochs = Epochs()
        self._sessions: BoundedCache[Reply] = BoundedCache(settings.cache_entries, settings.session_cache_seconds)
        self._features: BoundedCache[Reply] = BoundedCache(settings.cache_entries, settings.feature_cache_seconds)
        self._last_good: BoundedCache[Reply] = BoundedCache(settings.last_good_entries, None)

    def of_session(self, release: str, request: SearchRequest) -> Reply | None:
        """The reply under the session key, or None."""
        key = session_key(release, request, self.epochs.of(request.user_id)) if self._by_session else None
        return None if key is None else self._count("session", self._sessions.get(key))

    def of_features(self, release: str, request: SearchRequest, history: Any, now_us: int) -> Reply | None:
        """The reply under the feature key, or None."""
        if not self._by_features:
            return None
        return self._count("features", self._features.get(feature_key(release, request, history, now_us)))

    def keep(self, reply: Reply, request: SearchRequest, epoch: int, history: Any, now_us: int) -> None:
        """Keeps a reply that is not degraded. `epoch` is the shopper's epoch from before the features were read."""
        if reply.degraded:
            return
        if self._by_session and (key := session_key(reply.release, request, epoch)) is not None:
            self._sessions.put(key, reply)
        if self._by_features:
            self._features.put(feature_key(reply.release, request, history, now_us), reply)
        self._last_good.put((request.query, request.filter, request.user_id), reply)
        if no_behaviour(history):
            self._last_good.put((request.query, request.filter, None), reply)

    def last_good(self, request: SearchRequest) -> Reply | None:
        """The last good reply to this query and filter: this shopper's own, else an anonymous one; cut to k."""
        for who in (request.user_id, None):
            reply = self._last_good.get((request.query, request.filter, who))
            if reply is not None and request.release in (None, reply.release):
                return replace(reply, found=reply.found.first(request.k))
        return None

    def forget_other_releases(self, table: ReleaseTable) -> None:
        """Drops the cached replies of releases that are not loaded any more."""
        kept = {release.release_id for release in table.roles().values()}
        for cache in (self._sessions, self._features):
            cache.keep_only(lambda key: key[0] in kept)  # type: ignore[index]

    def _count(self, design: str, reply: Reply | None) -> Reply | None:
        self._metrics.cache.labels(design, "miss" if reply is None else "hit").inc()
        return reply


def session_key(release: str, request: SearchRequest, epoch: int) -> Hashable | None:
    """Release, session, shopper and the request's own fields; None when the request names no session."""
    if request.session_id is None or request.history is not None or request.now is not None:
        return None
    asked = (request.query, request.k, request.filter, request.place, request.relevance)
    return (release, request.session_id, request.user_id, epoch, *asked)


def feature_key(release: str, request: SearchRequest, history: Any, now_us: int) -> Hashable:
    """Release, the request's own fields and a hash of everything the tower sees of the shopper.

    Behaviour windows move with the clock, so a shopper with a history also has the hour in the key; an anonymous
    request has not.
    """
    features = None if no_behaviour(history) else (history_hash(history), now_us // _HOUR_US)
    return (release, features, request.query, request.k, request.filter, request.place, request.relevance)


def no_behaviour(history: Any) -> bool:
    """True for somebody of whom nothing is known."""
    return len(history.product_ids) + len(history.queries) + len(history.bought_product_ids) == 0


def history_hash(history: Any) -> bytes:
    """16 bytes over a shopper's behaviours: products, actions, queries and purchases, each with its moments."""
    digest = hashlib.blake2b(digest_size=16)
    for texts in (history.product_ids, history.queries, history.bought_product_ids):
        for text in texts:
            digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
        digest.update(b"\1")
    for numbers in (history.actions, history.timestamps, history.query_timestamps, history.bought_timestamps):
        digest.update(np.ascontiguousarray(numbers).tobytes())
        digest.update(b"\1")
    return digest.digest()
