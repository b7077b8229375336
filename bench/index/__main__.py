"""Search engines and stores for one catalogue: latency, recall, build time, upsert rate.

    python -m bench.index                                # 43,000 x 128, in memory and Milvus Lite; about a minute
    python -m bench.index --products 1000000 --stores    # no store: engines only (several minutes, 4 GB)
    TOWERLINE_MILVUS_URI=http://127.0.0.1:19530 python -m bench.index --stores lite server

The vectors are simulated: clusters on a sphere, queries drawn like the products. Each latency is one query at a time on
a warm process; "batch" is the time a query takes in a batch of 64; "filtered" keeps a random fifth of the products.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from components.index.backends import (
    build_parameters,
    choose_backend,
    choose_index_type,
    lite_backend,
    search_ladder,
)
from components.index.codes import CODE_COLUMNS
from components.index.resident import Engine, ExactEngine, FaissEngine, build_faiss, factory, recall_against
from components.index.settings import IndexSettings
from components.index.store import Rows, VectorStore
from components.index.tuning import exact_results, tune_collection, tune_resident
from components.index.vectors import unit

EXPECTED = tomllib.loads((Path(__file__).parent / "expected.toml").read_text(encoding="utf-8"))
K, BATCH, QUERIES = 100, 64, 256
CANDIDATES = (("exact", "float32"), ("exact", "float16"), ("exact", "int8"), ("ivf_flat", "float32"),
              ("ivf_flat", "int8"), ("ivf_pq", "float32"), ("hnsw", "float32"), ("hnsw", "int8"))  # fmt: skip
COLUMNS = ("engine", "precision", "parameters", "recall", "p50_ms", "p99_ms", "batch_ms", "filtered_p50_ms", "build_s")


def catalogue(products: int, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulated item vectors float32 [n, d] in 500 clusters on the unit sphere, and 256 query vectors among them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((500, dimension)).astype(np.float32)

    def draw(count: int) -> np.ndarray:
        noise = rng.standard_normal((count, dimension), dtype=np.float32)
        return unit(centres[rng.integers(0, len(centres), count)] + 0.8 * noise)

    return draw(products), draw(QUERIES)


def timed(search: Callable[[np.ndarray], Any], queries: np.ndarray, searches: int = 200) -> tuple[float, float]:
    """p50 and p99 in milliseconds of one-query searches."""
    for query in queries[:10]:
        search(query[None])
    seconds = []
    for number in range(searches):
        begun = time.perf_counter()
        search(queries[number % len(queries)][None])
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds)) * 1e3, float(np.percentile(seconds, 99)) * 1e3


def engines(vectors: np.ndarray, queries: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row per engine in memory, each at its first effort with a recall@100 of .99 (or its last)."""
    exact = exact_results(vectors, queries, K)
    rows = np.flatnonzero(np.random.default_rng(1).random(len(vectors)) < 0.2)
    for name, precision in CANDIDATES:
        begun = time.perf_counter()
        description = factory(name, precision, *vectors.shape)
        index = build_faiss(vectors, description) if description else None
        seconds = time.perf_counter() - begun
        engine: Engine = ExactEngine(vectors)
        recall, parameters = 1.0, {}
        for parameters in _efforts(name, precision, len(vectors)) if index is not None else ():
            engine = FaissEngine(index, vectors, parameters)
            recall = recall_against(engine.search(queries, K), exact, K)
            if recall >= EXPECTED["search"]["chosen_recall"]:
                break
        p50, p99 = timed(lambda query, engine=engine: engine.search(query, K), queries)  # type: ignore[misc]
        begun = time.perf_counter()
        engine.search(queries[:BATCH], K)
        batch = (time.perf_counter() - begun) * 1e3 / BATCH
        filtered, _ = timed(lambda query, engine=engine: engine.search(query, K, rows), queries, 50)  # type: ignore[misc]
        yield dict(zip(COLUMNS, (name, precision, json.dumps(parameters), recall, p50, p99, batch, filtered, seconds),
                       strict=True))  # fmt: skip


def _efforts(name: str, precision: str, products: int) -> list[dict[str, Any]]:
    fetch = 5 if name == "ivf_pq" else 1 if precision == "float32" else 2
    kind = {"hnsw": "HNSW", "exact": "FLAT"}.get(name, "IVF_FLAT")
    return [{**step, "fetch": fetch} for step in search_ladder(kind, products, K)]


def store(kind: str, vectors: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    """Upsert rate, index build and search of one Milvus."""
    rng = np.random.default_rng(2)
    count = len(vectors)
    scalars = {name: rng.integers(0, 50, count).astype(np.int32) for name in CODE_COLUMNS}
    rows = Rows([f"p{number:08d}" for number in range(count)], vectors,
                {**scalars, "price": rng.uniform(0, 100, count), "in_stock": rng.random(count) < 0.9})  # fmt: skip
    name = "towerline_bench"
    with tempfile.TemporaryDirectory() as folder:
        backend = lite_backend(Path(folder)) if kind == "lite" else choose_backend(Path(folder))
        index_type = choose_index_type(backend, "auto", "float32")
        with VectorStore(backend, "bench", timeout=600) as milvus:
            milvus.create(name, vectors.shape[1])
            begun = time.perf_counter()
            milvus.upsert(name, rows)
            upsert = time.perf_counter() - begun
            begun = time.perf_counter()
            milvus.flush(name)
            milvus.build_index(name, index_type, build_parameters(index_type, count))
            milvus.load(name)
            build = time.perf_counter() - begun
            row_of = {key: row for row, key in enumerate(rows.product_ids)}
            parameters, recall, curve = tune_collection(
                milvus, name, index_type, vectors, queries, exact_results(vectors, queries, K), row_of, IndexSettings()
            )
            p50, p99 = timed(lambda query: milvus.search(name, query, K, parameters=parameters), queries, 50)
            version = milvus.version
            milvus.drop(name)
    return {
        "store": version,
        "index": index_type,
        "parameters": json.dumps(parameters),
        "upsert_rows_per_s": count / upsert,
        "flush_index_load_s": build,
        "recall": recall,
        "p50_ms": p50,
        "p99_ms": p99,
        "batch_ms": curve[-1]["batch_ms"],
    }


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Prints a table."""
    print(f"\n{title}")
    cells = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    heads = list(rows[0])
    widths = [max(len(line[column]) for line in [heads, *cells]) for column in range(len(heads))]
    for line in [heads, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def main() -> int:
    """Runs the benchmark; 1 when the machine misses an expected value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=EXPECTED["search"]["products"])
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stores", nargs="*", default=["lite"], choices=["lite", "server"])
    options = parser.parse_args()
    vectors, queries = catalogue(options.products, options.dimension, options.seed)
    print(f"simulated vectors, {options.products:,} x {options.dimension}, {os.cpu_count()} cores, k = {K}")
    show("engines in memory", list(engines(vectors, queries)))
    with tempfile.TemporaryDirectory() as folder:
        exact = exact_results(vectors, queries, K)
        plan, curve = tune_resident(vectors, queries, exact, IndexSettings(), Path(folder) / "resident.faiss")
    chosen = next(
        row for row in curve if all(row[name] == plan[name] for name in ("engine", "precision", "parameters"))
    )
    print(f"\nchosen by the tuning: {plan['engine']} {plan['parameters']}, recall {chosen['recall']:.4f}, "
          f"p50 {chosen['p50_ms']:.2f} ms")  # fmt: skip
    missed = []
    if chosen["p50_ms"] > EXPECTED["search"]["chosen_p50_ms"] or chosen["recall"] < EXPECTED["search"]["chosen_recall"]:
        missed.append("the chosen engine misses its latency or recall")
    stores = [store(kind, vectors, queries) for kind in options.stores]
    if stores:
        show("stores", stores)
    if "lite" in options.stores and stores[0]["upsert_rows_per_s"] < EXPECTED["store"]["lite_upsert_rows_per_second"]:
        missed.append("Milvus Lite takes too few rows a second")
    for sentence in missed:
        print(f"MISSED: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
