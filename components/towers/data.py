"""What a training reads: the examples folder as vocabulary, catalogue and arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from components.common.errors import BadInput
from components.common.files import read_json
from components.common.settings import from_overrides
from components.features.settings import FeatureSettings
from components.towers.batches import QUERY_SCALARS
from components.towers.catalogue import ITEM_SCALARS, Catalogue, build_catalogue
from components.towers.examples import Examples, read_examples
from components.towers.fields import TOKEN_GROUPS, field_values, fit_price_levels, group_tokens
from components.towers.interfaces import Schema
from components.towers.parts.title_vectors import TitleVectors
from components.towers.ragged import Ragged
from components.towers.settings import TEXT_VECTORS, TowerSettings
from components.towers.spelling import Spelling
from components.towers.title_queries import with_title_queries
from components.towers.vocabulary import Vocabulary

_NEEDS_OF = {
    "users": {"past", "behaviour", "behaviour_titles", "clicked_titles", "bought_titles"},
    "locations": {"location"},
}
"""Batch fields that only make sense if the log has this."""


@dataclass(frozen=True)
class TrainingData:
    """counts int64 [P]: training positives of each product. query_index int64 [Q]: row of each training query in
    `catalogue.graph_queries`, -1 where it is not there. description: features.json. texts: the pretrained encoder's
    vectors, and the titles [P] whose vectors a release takes along; None for towers without one.
    spelling: what puts queries right, None where they are taken as typed.
    """

    vocabulary: Vocabulary
    catalogue: Catalogue
    train: Examples
    validation: Examples
    counts: Tensor
    query_index: Tensor
    schema: Schema
    needs: frozenset[str]
    windows: FeatureSettings
    description: dict[str, Any]
    texts: tuple[TitleVectors, list[str]] | None = None
    spelling: Spelling | None = None


def load_training_data(
    folder: Path, model: Any, settings: TowerSettings, text_cache: Path | None = None
) -> TrainingData:
    """Reads an examples folder for a model (a `TwoTowerModel` class).

    Args:
        text_cache: folder of the pretrained encoder's vectors, which later trainings find there; None keeps none.

    Raises:
        BadInput: naming what is missing. NotFound: the package of the pretrained encoder is absent.
    """
    description = read_json(folder / "features.json")
    windows = window_settings(description)
    has = {name: bool(value) for name, value in description.get("has", {}).items()}
    products = pq.read_table(folder / "products.parquet")
    graph_path = folder / "graph.parquet"
    has["graph"] = graph_path.is_file() and pq.read_metadata(graph_path).num_rows > 0
    needs = present(model.needs - settings.unread, has)
    queries, engaged = _training_text(folder / "train.parquet")
    groups = [name for name in TOKEN_GROUPS if name in needs]
    tokens = [group_tokens(products, name, settings.word_unit, settings.max_title_tokens) for name in groups]
    price_levels = fit_price_levels(products)
    vocabulary = Vocabulary.build(
        [*products["title"].to_pylist(), *queries],
        settings.units,
        min_count=settings.min_token_count,
        buckets=settings.hash_buckets,
        max_tokens=settings.max_tokens,
        codes=field_values(products, price_levels),
        price_levels=price_levels,
        token_rows=[row for group in tokens for row in group],
    )
    ids = {product_id for product_id, count in engaged.items() if count >= settings.min_item_count}
    trained = (product_id for product_id in products["product_id"].to_pylist() if product_id in ids)
    id_rows = {product_id: row for row, product_id in enumerate(trained, start=1)}
    encode = TitleVectors.minilm(text_cache, settings.device) if TEXT_VECTORS in needs else None
    catalogue = build_catalogue(products, vocabulary, settings, settings.units, id_rows, needs, encode)
    if "graph" in needs:
        catalogue = with_graph(catalogue, neighbour_queries(pq.read_table(graph_path)), vocabulary, settings)
    product_ids = catalogue.product_ids.tolist()
    spelling = Spelling.learn(products["title"].to_pylist()) if settings.spelling else None
    train, validation = (
        read_examples(
            folder / f"{name}.parquet",
            product_ids,
            vocabulary,
            settings,
            windows,
            settings.units,
            encode,
            spelling,
        )
        for name in ("train", "validation")
    )
    counts = torch.bincount(train.listed.values[train.stages > 0].long(), minlength=len(catalogue))
    if settings.title_queries:
        train = with_title_queries(train, products["title"].to_pylist(), vocabulary, settings)
    positions = {query: row for row, query in enumerate(catalogue.graph_queries)}
    return TrainingData(
        vocabulary=vocabulary,
        catalogue=catalogue,
        train=train,
        validation=validation,
        counts=counts,
        query_index=torch.tensor([positions.get(query, -1) for query in train.queries], dtype=torch.int64),
        schema=Schema(
            tokens=vocabulary.size,
            items=len(id_rows) + 1,
            codes=vocabulary.code_sizes(),
            units=settings.units,
            item_scalars=ITEM_SCALARS if "scalars" in needs else (),
            query_scalars=QUERY_SCALARS if "scalars" in needs else (),
            has=has,
        ),
        needs=needs,
        windows=windows,
        description=description,
        spelling=spelling,
        texts=None if encode is None else (encode, products["title"].to_pylist()),
    )


def window_settings(description: dict[str, Any]) -> FeatureSettings:
    """The feature settings that the examples were built with, from features.json."""
    known_names = FeatureSettings.__dataclass_fields__
    stored = description.get("settings") or {}
    return from_overrides(FeatureSettings, {name: value for name, value in stored.items() if name in known_names})


def present(needs: frozenset[str], has: dict[str, bool]) -> frozenset[str]:
    """The needs that data with these properties can fill."""
    missing = {field for name, fields in _NEEDS_OF.items() if not has.get(name) for field in fields}
    return needs - missing - (set() if has.get("graph") else {"graph"})


def neighbour_queries(graph: pa.Table) -> dict[str, list[str]]:
    """Each product's queries, heaviest first, from the columns product_id, queries list<str>, weights list<float>."""
    rows = zip(*(graph[name].to_pylist() for name in ("product_id", "queries", "weights")), strict=True)
    return {
        product_id: [
            query for query, _ in sorted(zip(queries, weights, strict=True), key=lambda pair: (-pair[1], pair[0]))
        ]
        for product_id, queries, weights in rows
    }


def with_graph(
    catalogue: Catalogue, neighbours: Mapping[str, list[str]], vocabulary: Vocabulary, settings: TowerSettings
) -> Catalogue:
    """The catalogue with each product's neighbour queries; a product that has none gets an empty bag."""
    lists = [neighbours.get(product_id, []) for product_id in catalogue.product_ids.tolist()]
    queries = sorted({query for row in lists for query in row})
    number = {query: row for row, query in enumerate(queries)}
    return replace(
        catalogue,
        graph=Ragged.from_lists([[number[query] for query in row] for row in lists], np.int32),
        graph_queries=queries,
        graph_text=vocabulary.encode_all(queries, settings.units, settings.max_query_tokens),
    )


def _training_text(path: Path) -> tuple[list[str], Counter[str]]:
    """Distinct training queries, and how often each product is engaged."""
    table = pq.read_table(path, columns=["query", "product_ids", "stages"])
    if table.num_rows == 0:
        raise BadInput(f"{path} holds no search; the log needs searches with clicks before the last two days.")
    items = table["product_ids"].combine_chunks().flatten()
    stages = table["stages"].combine_chunks().flatten()
    engaged = items.filter(pc.greater(stages, 0))
    counted = pc.value_counts(engaged)
    counts = Counter({entry["values"]: entry["counts"] for entry in counted.to_pylist()})
    return pc.unique(table["query"]).to_pylist(), counts
