"""Search by the release's Milvus collection: codes go in, product ids come back, exact scores are computed here."""

from pathlib import Path
from typing import Any

import numpy as np

from components.common.errors import NotFound
from components.index.backends import Backend, choose_backend, lite_backend
from components.index.codes import Resolved
from components.index.products import Products
from components.index.ranking import Found, rank
from components.index.resident import ExactEngine
from components.index.settings import IndexSettings
from components.index.store import VectorStore

_FETCH_QUANTISED = 2  # times k that a quantised index is asked for, to be re-ranked
_MOST_FETCHED = 16_384  # Milvus' own limit of results


class MilvusFinder:
    """Asks the collection of a release. `plan` is the `milvus` part of search.json.

    Raises NotFound when the collection is not there, Unavailable when Milvus is not.
    """

    def __init__(
        self, directory: Path, plan: dict[str, Any], vectors: np.ndarray, products: Products, settings: IndexSettings
    ) -> None:
        backend = lite_backend(directory / "milvus")
        if plan["kind"] == "server":
            chosen = choose_backend(directory / "milvus")
            backend = chosen if chosen.kind == "server" else Backend("server", plan["uri"])
        self._plan, self._vectors, self._products = plan, vectors, products
        self._timeout = settings.search_timeout
        self._exact = ExactEngine(vectors)
        self._store = VectorStore(backend, timeout=settings.milvus_timeout)
        try:
            if not self._store.exists(plan["collection"]):
                raise NotFound(
                    f"Milvus at {backend.label} has no collection {plan['collection']}; rebuild the release."
                )
            self._store.load(plan["collection"])
        except Exception:
            self._store.close()
            raise

    def find(
        self, queries: np.ndarray, k: int, wanted: Resolved, rows: np.ndarray | None, timeout: float | None
    ) -> list[Found]:
        """The best k rows of each query float32 [m, d'], those of the filter only.

        Where `rows` is narrower than the filter's expression (relevance control inside the search), or the index
        returns fewer products than the filter allows, those rows are searched exactly here.
        """
        allowed = len(self._products) if rows is None else len(rows)
        if rows is not None and wanted.free:
            return self._exact.search(queries, k, rows)
        quantised = self._plan["index_type"] not in ("FLAT", "HNSW", "IVF_FLAT")
        fetch = min(_MOST_FETCHED, allowed, k * (_FETCH_QUANTISED if quantised else 1))
        answers = self._store.search(
            self._plan["collection"], queries, fetch, wanted.expression(), self._plan["search"],
            timeout=timeout or self._timeout, float16=self._plan["float16"],
        )  # fmt: skip
        results = []
        for query, hits in zip(queries, answers, strict=True):
            row_of = self._products.row_of
            found = np.unique(np.array([row_of[key] for key, _ in hits if key in row_of], dtype=np.int64))
            if rows is not None:
                found = np.intersect1d(found, rows, assume_unique=True)
            if len(found) < min(k, allowed):
                results.extend(self._exact.search(query[None], k, rows))
            else:
                results.append(rank(self._vectors, query, found, k))
        return results

    def close(self) -> None:
        """Ends the connection."""
        self._store.close()
