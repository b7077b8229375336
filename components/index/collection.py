"""Builds a release's collection from vectors and scalars: create, upsert, flush, index, load, tune, verify."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.index.backends import Backend, build_parameters, choose_index_type
from components.index.ranking import Found
from components.index.settings import IndexSettings
from components.index.store import Rows, VectorStore, collection_name
from components.index.tuning import tune_collection
from components.index.verify import verify_collection


@dataclass(frozen=True)
class Built:
    """What search.json keeps of a collection (`plan`) and the recall curve it was tuned on."""

    plan: dict[str, Any]
    curve: list[dict[str, Any]]


def build_collection(
    backend: Backend,
    release_id: str,
    rows: Rows,
    queries: np.ndarray,
    exact: list[Found],
    settings: IndexSettings,
    owner: str,
    changes: "Changes | None" = None,
) -> Built:
    """Writes, indexes, tunes and verifies the collection of a release; the store is closed when this returns.

    Args:
        backend: where the collection goes.
        release_id: names the collection.
        rows: everything the collection must hold in the end.
        queries: real query vectors float32 [m, d'] for tuning.
        exact: their exact best `recall_k`.
        settings: index type, batch sizes, targets.
        owner: the work directory's mark, see `garbage`.
        changes: when the backend already holds the parent's collection: only these rows are written.

    Raises:
        BadSetting: an index type or precision the backend does not have.
        Unavailable: Milvus does not answer.
        GateClosed: the collection is not what was written, or its recall is too low.
    """
    index_type = choose_index_type(backend, settings.milvus_index, settings.precision)
    name = collection_name(release_id)
    with VectorStore(backend, owner, settings.milvus_timeout) as store:
        float16 = settings.precision == "float16" and not backend.is_lite
        if changes is None:
            store.create(name, rows.vectors.shape[1], float16)
            store.upsert(name, rows, settings.upsert_batch, float16)
        else:
            store.rename(collection_name(changes.parent), name)
            store.load(name)
            store.delete(name, changes.deleted)
            store.upsert(name, changes.upserted, settings.upsert_batch, float16)
        store.flush(name)
        store.build_index(name, index_type, build_parameters(index_type, len(rows.product_ids)))
        store.load(name)
        row_of = {key: row for row, key in enumerate(rows.product_ids)}
        parameters, recall, curve = tune_collection(
            store, name, index_type, rows.vectors, queries, exact, row_of, settings, float16
        )
        verified = verify_collection(store, name, rows, recall, settings, float16)
        plan = {
            "kind": backend.kind,
            "uri": "milvus/" + Path(backend.uri).name if backend.is_lite else backend.label,
            "version": store.version,
            "collection": name,
            "index_type": index_type,
            "build": build_parameters(index_type, len(rows.product_ids)),
            "search": parameters,
            "float16": float16,
            "verified": verified.describe(),
        }
    return Built(plan, curve)


@dataclass(frozen=True)
class Changes:
    """The difference between a parent release's collection and its child's: ids to delete and rows to upsert."""

    parent: str
    deleted: list[str]
    upserted: Rows
