"""Engines in the memory of the searching process: exact search by numpy, and FAISS indexes for large catalogues."""

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.common.errors import BadInput
from components.index.backends import lists
from components.index.ranking import Found, candidates_of, largest_norm, rank

_SCORES_AT_ONCE = 16_000_000  # 64 MB of float32 scores
_EXACT_SUBSET = 50_000
"""Filtered searches over at most so many rows are exact in every engine: an index finds too little behind a filter."""
_MOST_EFFORT = 16.0
_BATCH = 8  # queries from which threads pay: they wait for each other, on a busy machine for whole time slices
_SMALL = 20_000  # vectors below which building an index in one thread is fast enough
_GATHER = 8  # reading scattered rows costs about so many times reading them in a stream


class Engine(Protocol):
    """Finds the best k rows of each query float32 [m, d]; `rows` int64 (ascending) limits the search to those rows."""

    def search(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> list[Found]: ...


class ExactEngine:
    """Inner product with every vector float32 [n, d]; always exact, also behind a filter."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors

    @cached_property
    def _norm(self) -> float:
        return largest_norm(self._vectors)

    def search(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> list[Found]:
        """See `Engine`."""
        if rows is not None and _GATHER * len(rows) < len(self._vectors):
            pool = self._vectors[rows]
            return [self._best(scores, query, k, rows, whole=False) for scores, query in self._scores(pool, queries)]
        return [self._best(scores, query, k, rows) for scores, query in self._scores(self._vectors, queries)]

    def _scores(self, pool: np.ndarray, queries: np.ndarray) -> Iterator[Found]:
        if (
            len(queries) < _BATCH
        ):  # one thread and no BLAS: a little slower when all is quiet, ten times faster when not
            for query in queries:
                yield np.einsum("nd,d->n", pool, query), query
            return
        block = max(1, _SCORES_AT_ONCE // max(1, len(pool)))
        for start in range(0, len(queries), block):
            part = queries[start : start + block]
            yield from zip(part @ pool.T, part, strict=True)

    def _best(
        self, scores: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray | None, whole: bool = True
    ) -> Found:
        if rows is not None and whole:
            scores = scores[rows]
        found = candidates_of(scores, k, self._norm * float(np.linalg.norm(query)))
        return rank(self._vectors, query, found if rows is None else rows[found], k)


@dataclass
class FaissEngine:
    """A FAISS index over the vectors float32 [n, d] that proposes `fetch` times k candidates; they are re-ranked.

    parameters: ef (graphs) or nprobe (inverted files), and fetch. Filtered searches over few rows are exact.
    """

    index: Any
    vectors: np.ndarray
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # FAISS ships stubs of its C++ side only; its Python side takes keyword arguments and numpy arrays.
        self._faiss: Any = importlib.import_module("faiss")
        self._threads = usable_cores()
        self._exact = ExactEngine(self.vectors)

    def search(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> list[Found]:
        """See `Engine`."""
        if rows is not None and len(rows) <= _EXACT_SUBSET:
            return self._exact.search(queries, k, rows)
        allowed = len(self.vectors) if rows is None else len(rows)
        wanted = min(allowed, k * int(self.parameters.get("fetch", 1)))
        self._faiss.omp_set_num_threads(1 if len(queries) < _BATCH else self._threads)  # of the calling thread only
        proposed = self.index.search(padded(queries), wanted, params=self._search_parameters(wanted, rows))[1]
        results = []
        for query, found in zip(queries, proposed, strict=True):
            candidates = found[found >= 0]
            if len(candidates) < min(k, allowed):
                results.extend(self._exact.search(query[None], k, rows))
            else:
                results.append(rank(self.vectors, query, candidates, k))
        return results

    def _search_parameters(self, wanted: int, rows: np.ndarray | None) -> Any:
        faiss = self._faiss
        chosen: dict[str, Any] = {}
        effort = 1.0  # behind a filter the same effort meets fewer products
        if rows is not None:
            effort = min(_MOST_EFFORT, len(self.vectors) / len(rows))
            bits = np.zeros(len(self.vectors), dtype=bool)
            bits[rows] = True
            chosen["sel"] = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
        if "ef" in self.parameters:
            return faiss.SearchParametersHNSW(efSearch=int(effort * max(int(self.parameters["ef"]), wanted)), **chosen)
        if "nprobe" in self.parameters:
            return faiss.SearchParametersIVF(nprobe=int(effort * int(self.parameters["nprobe"])), **chosen)
        return faiss.SearchParameters(**chosen)


def usable_cores() -> int:
    """Threads for large work: OMP_NUM_THREADS where it is set, since a container has fewer cores than its node."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(stated) if stated.isdigit() and int(stated) else os.cpu_count() or 1


def padded(vectors: np.ndarray) -> np.ndarray:
    """Vectors [n, d] filled with zeros up to a multiple of 16 columns: quantised kernels are ten times faster on it."""
    missing = -vectors.shape[1] % 16
    if missing:
        vectors = np.concatenate([vectors, np.zeros((len(vectors), missing), dtype=vectors.dtype)], axis=1)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def factory(engine: str, precision: str, products: int, dimension: int) -> str | None:
    """FAISS' description of an engine at a precision; None for exact float32, which needs no index.

    `ivf_pq` is UEPPR's choice: 4-bit product quantisation with fast scan, a code for every two dimensions.
    """
    code = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8"}[precision]
    if engine == "exact":
        return None if precision == "float32" else code
    if engine == "hnsw":
        return f"HNSW32,{code}"
    if engine == "ivf_flat":
        return f"IVF{lists(products)},{code}"
    return f"IVF{lists(products)},PQ{(dimension + -dimension % 16) // 2}x4fs"


def build_faiss(vectors: np.ndarray, description: str, seed: int = 17) -> Any:
    """A FAISS index of inner products over vectors float32 [n, d], trained on at most 64 vectors a list."""
    import faiss

    data = padded(vectors)
    faiss.omp_set_num_threads(1 if len(data) < _SMALL else usable_cores())
    index = faiss.index_factory(data.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        sample = max(10_000, 64 * getattr(index, "nlist", 1))
        rng = np.random.default_rng(seed)
        index.train(data if sample >= len(data) else data[np.sort(rng.choice(len(data), sample, replace=False))])
    index.add(data)
    return index


def open_engine(vectors: np.ndarray, choice: dict[str, Any], path: Path) -> Engine:
    """The engine that tuning chose (`search.json`): exact over the vectors, or the FAISS index stored at `path`.

    Raises BadInput when the stored index does not belong to the vectors.
    """
    if not choice.get("faiss"):
        return ExactEngine(np.array(vectors))  # in memory: a mapped page may be evicted between two searches
    import faiss

    index = faiss.read_index(str(path))
    if index.ntotal != len(vectors):
        raise BadInput(f"{path} holds {index.ntotal} vectors, vectors.npy {len(vectors)}; rebuild the release.")
    return FaissEngine(index, vectors, dict(choice["parameters"]))


def recall_against(found: Sequence[Found], exact: Sequence[Found], k: int) -> float:
    """Mean share of the exact best k rows that were found too (recall@k against exact search)."""
    shares = [
        len(np.intersect1d(got[0][:k], truth[0][:k])) / max(1, len(truth[0][:k]))
        for got, truth in zip(found, exact, strict=True)
    ]
    return float(np.mean(shares)) if shares else 1.0
