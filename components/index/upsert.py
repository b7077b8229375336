"""`upsert`: new, changed or removed products become a child of the served release, without training.

A release never changes, so that servers keep answering and rollback stays exact. The child has the parent's towers
(linked), vocabularies (extended), key terms and boosting weights, and an index and collection of its own.
"""

import dataclasses
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.candidates import hold_candidate
from components.common.errors import BadInput
from components.common.files import link_tree, read_json, staged_directory, write_json
from components.common.manifest import (
    Release,
    fingerprint_files,
    new_release_id,
    read_release,
    release_directory,
    verify_files,
    write_release,
)
from components.common.records import task_record
from components.common.served import served_release_id
from components.common.settings import from_overrides, parse_overrides
from components.index.assemble import Content, extend_items, item_vectors, write_index
from components.index.backends import choose_backend
from components.index.boosting import Boosting
from components.index.catalogue import in_order
from components.index.changes import Difference, compare, read_changes
from components.index.codes import Codes
from components.index.collection import Changes
from components.index.content import item_encoder
from components.index.embed import embed
from components.index.garbage import collect_collections, owner_mark
from components.index.golden import read_golden, refresh_golden, write_golden
from components.index.postings import Postings
from components.index.products import stored_names
from components.index.search import open_search
from components.index.settings import IndexSettings
from components.index.store import Rows
from components.index.terms import Terms, product_words
from components.index.vectors import load_vectors

_REBUILD_SHARE = 0.5  # of the catalogue changed: a new collection is faster than a copy and its changes


@dataclass(frozen=True)
class _Parent:
    release: Release
    plan: dict[str, Any]
    products: pa.Table
    vectors: np.ndarray  # of the item tower, float32 [n, d]


def upsert_products(
    workdir: Path, products: Path, settings: str | Mapping[str, Any] = "{}", release_id: str | None = None
) -> str:
    """Makes a child of the served release with the changes of a Parquet file, and returns its id.

    Nothing that is served changes before the child is promoted. Where the file changes nothing, no release is made and
    the parent's id comes back.

    Rows follow the products table of the log contract. A new product needs its title. For a known product a column that
    the file lacks keeps its value, one that it has is taken as it is, nulls included. A row whose column `deleted` is
    true removes its product; a product with in_stock = false stays. Settings not given are the parent's.

    Raises:
        NotFound: there is no served release or no such file.
        BadInput: the file does not follow the contract, or nothing would be left.
        Unavailable, GateClosed: as the step.
    """
    workdir = Path(workdir)
    with task_record("upsert_products") as record:
        parent = _read_parent(workdir)
        given = parse_overrides(settings)
        chosen = from_overrides(IndexSettings, {**parent.plan["settings"], **given})
        difference = compare(parent.products, read_changes(Path(products)), str(products))
        record.figure("changes", difference.counts)
        for sentence in difference.notes:
            record.note(sentence)
        if difference.nothing:
            record.note("No product differs from the served release, so no new release was made.")
            return parent.release.release_id
        child = release_id or new_release_id(suffix=uuid.uuid4().hex[:6])
        directory = release_directory(workdir, child)
        if directory.exists():
            raise BadInput(f"release {child} exists already, and a release never changes; choose another id.")
        collect_collections(workdir, chosen)
        with hold_candidate(workdir, child), staged_directory(directory) as stage:
            link_tree(parent.release.path("towers"), stage / "towers")
            write_json(stage / "evaluation.json", read_json(parent.release.path("evaluation.json")))
            content = _content(parent, stage / "towers", difference, chosen)
            changes = _collection_changes(parent, stage, content, difference)
            plan = write_index(
                stage, child, content, choose_backend(stage / "milvus"), chosen, owner_mark(workdir), changes,
                parent.plan["relevance"],
            )  # fmt: skip
            with open_search(stage, IndexSettings(search="resident")) as searcher:
                write_golden(stage / "golden.json", refresh_golden(read_golden(parent.release.directory), searcher))
            write_release(
                dataclasses.replace(
                    parent.release,
                    release_id=child,
                    collection=plan["milvus"]["collection"],
                    milvus={**plan["milvus"], "changes": difference.counts},
                    settings={**parent.release.settings, **{f"index.{name}": value for name, value in given.items()}},
                    files=fingerprint_files(stage),
                    created_at=datetime.now(UTC).isoformat(),
                    parent=parent.release.release_id,
                    directory=stage,
                )
            )
        record.figure("release", child)
        record.figure("products", plan["products"])
    return child


def _read_parent(workdir: Path) -> _Parent:
    release = read_release(workdir, served_release_id(workdir))
    verify_files(release)
    plan = read_json(release.path("index", "search.json"))
    products = pq.read_table(release.path("index", "products.parquet"))
    products = products.drop_columns([name for name in stored_names() if name in products.column_names])
    vectors = load_vectors(release.path("index", "vectors.npy"))[:, : plan["dimension"]]
    return _Parent(release, plan, products, vectors)


def _content(parent: _Parent, towers: Path, difference: Difference, settings: IndexSettings) -> Content:
    """The child's index content: kept vectors as they are, upserted products through the item tower."""
    index = parent.release.path("index")
    cosine = parent.plan["score"] == "cosine"
    kept = parent.products.take(pa.array(difference.kept))
    products, vectors = kept, np.asarray(parent.vectors[difference.kept])
    if difference.upserted.num_rows:
        new = embed(
            item_encoder(towers, settings), difference.upserted, settings.embed_batch, cosine, "changed products"
        )
        products = pa.concat_tables([kept, difference.upserted.select(kept.column_names)])
        vectors = np.concatenate([vectors, item_vectors(new, cosine)])
    if not products.num_rows:
        raise BadInput("every product of the served release would be removed; a release needs at least one.")
    position = products.append_column("_position", pa.array(np.arange(products.num_rows)))
    ordered = in_order(position, "the changed catalogue")
    vectors = vectors[ordered.column("_position").to_numpy()]
    products = ordered.drop_columns(["_position"])
    terms = Terms.read(index / "terms.json")
    words = [name for name in ("title", "brand", "category", "attributes") if name in products.column_names]
    postings = Postings.build(product_words(product, terms.units) for product in products.select(words).to_pylist())
    queries = np.load(index / "queries.npy", allow_pickle=False)
    codes = Codes.learn(products, Codes.read(index / "codes.json"))
    boosting = Boosting.read(index / "boosting.json")
    return Content(products, vectors, queries, cosine, boosting, codes, terms, postings)


def _collection_changes(parent: _Parent, stage: Path, content: Content, difference: Difference) -> Changes | None:
    """For Milvus Lite a copy of the parent's database and what to change in it; None: fill a new collection."""
    changed = difference.upserted.num_rows + len(difference.deleted)
    database = parent.release.path("milvus")
    on_lite = choose_backend(stage / "milvus").is_lite and parent.plan["milvus"]["kind"] == "lite"
    if not on_lite or not database.is_dir() or changed > _REBUILD_SHARE * content.products.num_rows:
        return None
    shutil.copytree(database, stage / "milvus")
    ids = difference.upserted.column("product_id").to_pylist()
    row_of = {key: row for row, key in enumerate(content.products.column("product_id").to_pylist())}
    rows = np.array([row_of[key] for key in ids], dtype=np.int64)
    part = content.products.take(pa.array(rows))
    return Changes(
        parent.release.release_id,
        difference.deleted,
        Rows(
            ids,
            extend_items(content.vectors[rows], content.boosting, part),
            content.codes.columns(part),
        ),
    )
