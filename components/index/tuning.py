"""Search parameters are searched for with every release, not guessed: UEPPR re-tunes its index with each model.

For each engine its ladder of effort is measured on real queries: recall@k against exact search and the latency of a
single query. The whole curve is kept in search.json for the report.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from components.common.progress import Progress
from components.index.backends import search_ladder
from components.index.ranking import Found
from components.index.resident import Engine, ExactEngine, FaissEngine, build_faiss, factory, recall_against
from components.index.settings import IndexSettings
from components.index.store import VectorStore

_CURVE_UP_TO = 60_000  # products up to which engines are measured even where exact search is chosen
_TIMED = 64
_SECONDS = 0.25


def exact_results(vectors: np.ndarray, queries: np.ndarray, k: int) -> list[Found]:
    """The truth: the exact best k of each query float32 [m, d']."""
    return ExactEngine(vectors).search(queries, min(k, len(vectors)))


def latency(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> dict[str, float]:
    """p50 and p99 in milliseconds of one-query searches, over at most 64 queries and about a quarter second."""
    search(queries[:1])
    seconds: list[float] = []
    while len(seconds) < _TIMED and (len(seconds) < 8 or sum(seconds) < _SECONDS):
        query = queries[len(seconds) % len(queries)][None]
        begun = time.perf_counter()
        search(query)
        seconds.append(time.perf_counter() - begun)
    return {"p50_ms": float(np.median(seconds)) * 1e3, "p99_ms": float(np.percentile(seconds, 99)) * 1e3}


def tune_resident(
    vectors: np.ndarray, queries: np.ndarray, exact: list[Found], settings: IndexSettings, path: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The engine a server will search with in memory, and the curve it was chosen from.

    Exact search is chosen while the catalogue has at most `exact_up_to` products and one search keeps to `latency_ms`:
    it needs no tuning and no extra care behind a filter. Otherwise the fastest engine that reaches `target_recall`;
    exact search again where none does. A chosen FAISS index is written to `path`.
    """
    import faiss

    count, dimension = vectors.shape
    plan: dict[str, Any] = {"engine": "exact", "precision": "float32", "parameters": {}, "faiss": None}
    curve = [_measured(ExactEngine(np.array(vectors)), plan, queries, exact, 0.0)]
    small = count <= settings.exact_up_to and curve[0]["p50_ms"] <= settings.latency_ms
    keep_exact = small and "exact" in settings.engines and settings.precision == "float32"
    names = [] if keep_exact and count > _CURVE_UP_TO else list(settings.engines)
    best: dict[str, Any] | None = None
    with Progress(len(names), "tune the search", "engines") as progress:
        for name in names:
            progress.advance()
            description = factory(name, settings.precision, count, dimension)
            if description is None:  # exact float32, measured above
                continue
            begun = time.perf_counter()
            index = build_faiss(vectors, description, settings.seed)
            seconds = time.perf_counter() - begun
            for parameters in _ladder(name, settings.precision, count, min(settings.recall_k, count)):
                choice = {"engine": name, "precision": settings.precision, "parameters": parameters}
                row = _measured(FaissEngine(index, vectors, parameters), choice, queries, exact, seconds)
                curve.append(row)
                if row["recall"] >= settings.target_recall:
                    if not keep_exact and (best is None or row["p50_ms"] < best["p50_ms"]):
                        best, plan = row, {**choice, "faiss": description}
                        faiss.write_index(index, str(path))
                    break
    return plan, curve


def _measured(
    engine: Engine, choice: dict[str, Any], queries: np.ndarray, exact: list[Found], seconds: float
) -> dict[str, Any]:
    k = len(exact[0][0])
    return {
        **{name: choice[name] for name in ("engine", "precision", "parameters")},
        "recall": recall_against(engine.search(queries, k), exact, k),
        "build_seconds": seconds,
        **latency(lambda query: engine.search(query, k), queries),
    }


def tune_collection(
    store: VectorStore,
    name: str,
    index_type: str,
    vectors: np.ndarray,
    queries: np.ndarray,
    exact: list[Found],
    row_of: dict[str, int],
    settings: IndexSettings,
    float16: bool = False,
) -> tuple[dict[str, Any], float, list[dict[str, Any]]]:
    """The cheapest search parameters of a loaded collection that reach `target_recall`, their recall, and the curve.

    Where none does, the most thorough ones come back with the recall they reach; verification then stops the run.
    """
    k = min(settings.recall_k, len(vectors))
    curve: list[dict[str, Any]] = []
    for parameters in search_ladder(index_type, len(vectors), k):
        begun = time.perf_counter()
        hits = store.search(name, queries, k, parameters=parameters, float16=float16)
        seconds = time.perf_counter() - begun
        found = [(np.array([row_of[key] for key, _ in one if key in row_of], dtype=np.int64), None) for one in hits]
        recall = recall_against(found, exact, k)  # type: ignore[arg-type]
        curve.append({"engine": f"milvus {index_type}", "precision": "float16" if float16 else "float32",
                      "parameters": parameters, "recall": recall,
                      "batch_ms": seconds * 1e3 / max(1, len(queries))})  # fmt: skip
        if recall >= settings.target_recall:
            break
    return curve[-1]["parameters"], curve[-1]["recall"], curve


def _ladder(engine: str, precision: str, products: int, k: int) -> list[dict[str, Any]]:
    if engine == "ivf_pq":  # UEPPR fetches five times as many candidates as it returns
        return [{**step, "fetch": fetch} for fetch in (5, 10) for step in search_ladder("IVF_PQ", products, k)]
    fetch = {} if precision == "float32" else {"fetch": 2}
    steps = {"hnsw": "HNSW", "ivf_flat": "IVF_FLAT", "exact": "FLAT"}[engine]
    return [{**step, **fetch} for step in search_ladder(steps, products, k)]
