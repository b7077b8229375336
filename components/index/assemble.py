"""Writes the files of a release's `index/` directory and its collection, for a new release and for a child alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.files import write_json
from components.common.settings import as_overrides
from components.index.backends import Backend
from components.index.boosting import Boosting
from components.index.codes import Codes
from components.index.collection import Built, Changes, build_collection
from components.index.postings import Postings
from components.index.products import with_scalars
from components.index.settings import IndexSettings
from components.index.store import Rows
from components.index.terms import Terms
from components.index.tuning import exact_results, tune_resident
from components.index.vectors import extend_queries, unit


@dataclass(frozen=True)
class Content:
    """What goes into an index.

    products: the catalogue in index order; vectors: what `item_vectors` made of the item tower's, float32 [n, d];
    queries: tower vectors of real searches float32 [m, d], for tuning; cosine: whether the towers score by cosine.
    """

    products: pa.Table
    vectors: np.ndarray
    queries: np.ndarray
    cosine: bool
    boosting: Boosting
    codes: Codes
    terms: Terms
    postings: Postings

    def rows(self) -> Rows:
        """The rows of the collection: p' = [p; f(p)] and the scalars."""
        return Rows(
            self.products.column("product_id").to_pylist(),
            extend_items(self.vectors, self.boosting, self.products),
            self.codes.columns(self.products),
        )


def item_vectors(vectors: np.ndarray, cosine: bool) -> np.ndarray:
    """Vectors of the item tower as an index keeps them: float32 [n, d], unit length where the score is a cosine.

    Done once, when a product is embedded: scaling a stored vector again would change its last bits.
    """
    return unit(vectors) if cosine else np.ascontiguousarray(vectors, dtype=np.float32)


def extend_items(vectors: np.ndarray, boosting: Boosting, products: pa.Table) -> np.ndarray:
    """p' = [p; f(p)] (UEPPR, product boosting), of vectors from `item_vectors`. float32 [n, d + f]."""
    if not boosting.on:
        return np.ascontiguousarray(vectors)
    return np.concatenate([vectors, boosting.quality.features(products)], axis=1, dtype=np.float32)


def write_index(
    directory: Path,
    release_id: str,
    content: Content,
    backend: Backend,
    settings: IndexSettings,
    owner: str,
    changes: Changes | None = None,
    relevance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes `index/` into a release's (staged) directory, builds and verifies the collection; returns search.json.

    Raises BadSetting, Unavailable, GateClosed as `build_collection`.
    """
    index = directory / "index"
    index.mkdir(parents=True, exist_ok=True)
    rows = content.rows()
    np.save(index / "vectors.npy", rows.vectors)
    np.save(index / "queries.npy", content.queries)
    pq.write_table(with_scalars(content.products, rows.scalars), index / "products.parquet", compression="zstd")
    content.codes.write(index / "codes.json")
    content.terms.write(index / "terms.json")
    content.postings.write(index)
    content.boosting.write(index / "boosting.json")

    queries = extend_queries(content.queries, content.boosting.weights, content.cosine)
    exact = exact_results(rows.vectors, queries, settings.recall_k)
    resident, curve = tune_resident(rows.vectors, queries, exact, settings, index / "resident.faiss")
    built: Built = build_collection(backend, release_id, rows, queries, exact, settings, owner, changes)
    plan = {
        "release": release_id,
        "score": "cosine" if content.cosine else "inner_product",
        "products": len(rows.product_ids),
        "dimension": int(content.vectors.shape[1]),
        "stored_dimension": int(rows.vectors.shape[1]),
        "resident": resident,
        "milvus": built.plan,
        "recall_k": min(settings.recall_k, len(rows.product_ids)),
        "tuned_on": len(queries),
        "curve": curve + built.curve,
        "relevance": dict(relevance or {}),
        "settings": as_overrides(settings),
    }
    write_json(index / "search.json", plan)
    return plan
