"""Search over a release: one interface, answered from memory or by a Milvus server.

Embedded, the vectors lie in the memory of the searching process (Milvus Lite is the store; its own search is a loop
over all rows). On a server the search goes to the release's collection. Either way the found products are scored again
exactly and ordered by score and product id, so both give the same answer up to the recall of the index.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np

from components.common.errors import BadInput
from components.common.files import read_json
from components.common.manifest import Release
from components.common.settings import from_overrides
from components.index.codes import Codes, Resolved
from components.index.filters import Filter
from components.index.products import Products
from components.index.ranking import Found
from components.index.relevance import RelevanceControl
from components.index.resident import Engine, open_engine
from components.index.settings import IndexSettings
from components.index.vectors import extend_queries, load_vectors

MOST_RESULTS = 10_000
_KEPT_SELECTIONS = 32


class Hit(NamedTuple):
    """One found product: its id, its score (inner product or cosine, plus boosting) and its row in the catalogue."""

    product_id: str
    score: float
    row: int


class Finder(Protocol):
    """What answers behind a `Searcher`: see `ResidentFinder` and `milvus_finder.MilvusFinder`."""

    def find(
        self, queries: np.ndarray, k: int, wanted: Resolved, rows: np.ndarray | None, timeout: float | None
    ) -> list[Found]: ...

    def close(self) -> None: ...


class ResidentFinder:
    """Searches in memory; the filter arrives as rows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(
        self, queries: np.ndarray, k: int, wanted: Resolved, rows: np.ndarray | None, timeout: float | None
    ) -> list[Found]:
        """The best k rows of each query float32 [m, d']; a search in memory ends by itself, `timeout` is not used."""
        return self._engine.search(queries, k, rows)

    def close(self) -> None:
        """Nothing is held open."""


class Searcher:
    """A release's index, opened. Thread-safe. Made by `open_search`.

    Attributes: release_id; dimension (of the query tower's vectors); cosine; products; codes; relevance.
    """

    def __init__(
        self,
        release_id: str,
        vectors: np.ndarray,
        products: Products,
        codes: Codes,
        finder: Finder,
        relevance: RelevanceControl,
        weights: np.ndarray,
        cosine: bool,
    ) -> None:
        if len(vectors) != len(products):
            raise BadInput(
                f"release {release_id} holds {len(vectors)} vectors for {len(products)} products; rebuild it."
            )
        self.release_id, self.products, self.codes, self.relevance = release_id, products, codes, relevance
        self.dimension, self.cosine = vectors.shape[1] - len(weights), cosine
        self._vectors, self._finder, self._weights = vectors, finder, weights.astype(np.float32)
        self._selections: OrderedDict[Resolved, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.products)

    def __enter__(self) -> "Searcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends a connection to Milvus, if there is one."""
        self._finder.close()

    def search(
        self,
        vectors: np.ndarray,
        k: int,
        filters: Sequence[Filter | None] | None = None,
        timeout: float | None = None,
    ) -> list[list[Hit]]:
        """The best k products of each query vector float32 [n, d], best first; fewer when the filter leaves fewer.

        Raises BadInput for vectors of another shape or not finite, or k outside 1..10,000; Unavailable when a Milvus
        server does not answer within `timeout` seconds.
        """
        ids = self.products.ids
        return [
            [Hit(ids[row], score, row) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]
            for rows, scores in self.find(vectors, k, filters, timeout=timeout)
        ]

    def find(
        self,
        vectors: np.ndarray,
        k: int,
        filters: Sequence[Filter | None] | None = None,
        within: Sequence[np.ndarray | None] | None = None,
        timeout: float | None = None,
    ) -> list[Found]:
        """As `search`, giving rows int64 and scores float32; `within` limits a query to rows (ascending int64)."""
        queries = self.prepared(vectors)
        count = len(queries)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= MOST_RESULTS:
            raise BadInput(f"k must be a whole number from 1 to {MOST_RESULTS}, not {k!r}.")
        filters = [None] * count if filters is None else filters
        within = [None] * count if within is None else within
        if len(filters) != count or len(within) != count:
            raise BadInput(f"{count} query vectors came with {len(filters)} filters and {len(within)} limits.")
        nothing: Found = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        results: list[Found] = [nothing] * count
        groups: dict[tuple[Resolved, int], list[int]] = {}
        for number, wanted in enumerate(filters):
            limit = within[number]
            groups.setdefault((self.codes.resolve(wanted), 0 if limit is None else id(limit)), []).append(number)
        for (resolved, _), numbers in groups.items():
            rows = self._rows(resolved)
            limit = within[numbers[0]]
            if limit is not None:
                rows = limit if rows is None else np.intersect1d(rows, limit, assume_unique=True)
            if rows is not None and not len(rows):
                continue
            found = self._finder.find(queries[numbers], int(k), resolved, rows, timeout)
            for number, one in zip(numbers, found, strict=True):
                results[number] = one
        return results

    def notes(self, wanted: Filter | None) -> tuple[str, ...]:
        """Why a filter can match nothing: a sentence per value that the catalogue does not have."""
        return self.codes.resolve(wanted).notes

    def vectors_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """Item vectors float32 [n, d] as the towers made them, without boosting features; zeros for an unknown id."""
        rows = np.array([self.products.row_of.get(product_id, -1) for product_id in product_ids], dtype=np.int64)
        found = np.asarray(self._vectors[np.maximum(rows, 0), : self.dimension], dtype=np.float32)
        return np.where(rows[:, None] >= 0, found, np.float32(0.0))

    def boosts_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """What boosting adds to each product's score, f(p) w, float32 [n]; 0 for an unknown id or without boosting."""
        rows = np.array([self.products.row_of.get(product_id, -1) for product_id in product_ids], dtype=np.int64)
        quality = np.asarray(self._vectors[np.maximum(rows, 0), self.dimension :], dtype=np.float32)  # [n, f]
        return np.where(rows >= 0, quality @ self._weights, np.float32(0.0))

    def prepared(self, vectors: np.ndarray) -> np.ndarray:
        """Query vectors as the index takes them, float32 [n, d + f]: unit length for cosine, weights appended."""
        queries = np.asarray(vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise BadInput(
                f"query vectors of shape {tuple(queries.shape)} do not fit release {self.release_id}, "
                f"whose towers give [n, {self.dimension}]."
            )
        if not np.isfinite(queries).all():
            raise BadInput("a query vector holds a NaN or infinite value.")
        return extend_queries(queries, self._weights, self.cosine)

    def _rows(self, wanted: Resolved) -> np.ndarray | None:
        if wanted.free:
            return None
        with self._lock:
            if wanted in self._selections:
                self._selections.move_to_end(wanted)
                return self._selections[wanted]
        rows = np.flatnonzero(wanted.mask(self.products.columns))
        with self._lock:
            self._selections[wanted] = rows
            while len(self._selections) > _KEPT_SELECTIONS:
                self._selections.popitem(last=False)
        return rows


def open_search(release: Release | Path | str, settings: IndexSettings | str | None = None) -> Searcher:
    """Opens a release's index for searching.

    Args:
        release: the release, or its directory.
        settings: `search` says where (resident, milvus, or auto: Milvus when the release lies on a server).

    Raises:
        NotFound, BadInput: a file of the index is missing or does not fit the others.
        Unavailable: the Milvus server does not answer.
    """
    chosen = settings if isinstance(settings, IndexSettings) else from_overrides(IndexSettings, settings)
    directory = release.directory if isinstance(release, Release) else Path(release)
    index = directory / "index"
    plan: dict[str, Any] = read_json(index / "search.json")
    vectors = load_vectors(index / "vectors.npy")
    products = Products(index / "products.parquet")
    weights = np.array(read_json(index / "boosting.json")["weights"], dtype=np.float32)
    milvus = plan["milvus"]
    if chosen.search == "milvus" or (chosen.search == "auto" and milvus["kind"] == "server"):
        from components.index.milvus_finder import MilvusFinder

        finder: Finder = MilvusFinder(directory, milvus, vectors, products, chosen)
    else:
        finder = ResidentFinder(open_engine(vectors, plan["resident"], index / "resident.faiss"))
    return Searcher(
        plan["release"], vectors, products, Codes.read(index / "codes.json"), finder,
        RelevanceControl.open(index, products, chosen), weights, plan["score"] == "cosine",
    )  # fmt: skip
