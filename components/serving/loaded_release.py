"""A release in memory: its towers, its index and its catalogue, opened together, used together, closed together."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from components.serving.errors import BadRequest
from components.serving.requests import FILTER_TEXTS, SearchRequest

_COLUMN = {"price_min": "price", "price_max": "price"}
_EXPRESSION = frozenset("\"'`\\<>=!|&;(){}[]%$*")


class Encoder(Protocol):
    """The query tower: requests in, vectors float32 [n, d] out; `attention` says which behaviours mattered."""

    def encode(self, requests: Sequence[Any]) -> np.ndarray: ...

    def attention(self, request: Any) -> list[tuple[str, float]]: ...


@dataclass(frozen=True)
class Found:
    """Products of one search, best first, aligned with their scores."""

    product_ids: tuple[str, ...]
    scores: tuple[float, ...]

    def first(self, k: int) -> "Found":
        """The best k."""
        return self if len(self.product_ids) <= k else Found(self.product_ids[:k], self.scores[:k])


@dataclass(frozen=True)
class Kept:
    """What is left of a search: at most k products. `removed` of `fetched` were dropped by relevance control."""

    found: Found
    fetched: int
    removed: int = 0


class Index(Protocol):
    """The search over this release's vectors, and relevance control of what it finds.

    `find` takes vectors [n, d] and their requests, and gives one opaque result per row, deep enough for `keep`, which
    drops what contradicts the key terms of the query (when `control`) and cuts to k. `terms` are the key terms of a
    query that a product carries, as (kind, value).
    """

    def find(self, vectors: np.ndarray, requests: Sequence[SearchRequest], control: bool) -> list[Any]: ...

    def keep(self, request: SearchRequest, result: Any, control: bool) -> Kept: ...

    def terms(self, query: str, product_id: str) -> tuple[tuple[str, str], ...]: ...


class Products(Protocol):
    """The release's catalogue as far as a page shows it."""

    def rows(self, product_ids: Sequence[str]) -> list[dict[str, Any] | None]: ...


class NoProducts:
    """A catalogue that shows nothing, for servers without a page."""

    def rows(self, product_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """None for each product."""
        return [None] * len(product_ids)


@dataclass(eq=False)
class LoadedRelease:
    """Everything needed to answer for one release; without `index` it only embeds (the role `predictor`).

    `make_request(request, history, now_us)` builds the tower's input.
    `vectors(product_ids)` gives item vectors float32 [n, d], zeros for an unknown product.
    `boosts(product_ids)` gives what product boosting adds to each score, float32 [n], zeros without boosting.
    `lexical(query, k)` searches the titles by words, for the page.
    `now_us()` is the moment a search is taken to happen at (see `clock`), microseconds since the epoch.
    `knows(field, value)` tells whether some product has a filter's value; `absent` are the fields of a filter that no
    product has. `close` is called once, when the release is retired and the last search on it has ended.
    """

    release_id: str
    encoder: Encoder
    index: Index | None
    dimension: int
    make_request: Callable[[Any, Any, int], Any]
    products: Products = field(default_factory=NoProducts)
    vectors: Callable[[Sequence[str]], np.ndarray] | None = None
    boosts: Callable[[Sequence[str]], np.ndarray] | None = None
    knows: Callable[[str, str], bool] = lambda field, value: True
    absent: frozenset[str] = frozenset()
    simulated: bool = False
    model: str = ""
    lexical: Callable[[str, int], list[tuple[str, float]]] | None = None
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    close: Callable[[], None] = lambda: None
    _users: int = 0
    _retired: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def lease(self) -> Iterator[bool]:
        """Holds the release open for the block; yields False when it has been closed already."""
        with self._lock:
            open_ = not (self._retired and self._users == 0)
            self._users += open_
        try:
            yield open_
        finally:
            if open_:
                self._leave()

    def check_filter(self, request: SearchRequest) -> None:
        """Refuses a field that the catalogue lacks, and a value that no product has and that carries expression
        characters; other values just match nothing.

        Raises BadRequest. A brand such as "Levi's" or a path "Home > Lamps" passes when the catalogue has it.
        """
        for name, value in request.filter:
            if name in self.absent:
                raise BadRequest(
                    f'"filter.{name}": the catalogue of release {self.release_id} has no {_COLUMN.get(name, name)}, so '
                    "nothing could be found; leave it out, or log that column of the products."
                )
            if name in FILTER_TEXTS and _EXPRESSION & set(value) and not self.knows(name, value):
                shown = value if len(value) <= 60 else f"{value[:57]}..."
                raise BadRequest(f'"filter.{name}": no product of release {self.release_id} has the value {shown!r}.')

    def retire(self) -> None:
        """No new searches are expected; closes at once, or when the last one under way ends."""
        with self._lock:
            already, self._retired = self._retired, True
            close_now = not already and self._users == 0
        if close_now:
            self.close()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            close_now = self._retired and self._users == 0
        if close_now:
            self.close()
