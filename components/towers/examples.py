"""Searches as compact ragged arrays: read once from the training examples, or made from the requests of a server.

Both ways end in `make_examples`, so a request is encoded exactly as the training example of the same search was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from components.common.errors import BadInput
from components.features.settings import FeatureSettings
from components.features.windows import cut_windows
from components.towers.interfaces import Location
from components.towers.ragged import Ragged
from components.towers.settings import TowerSettings
from components.towers.spelling import Spelling
from components.towers.vocabulary import Vocabulary


@dataclass(frozen=True)
class Histories:
    """Flat histories of n shoppers, oldest first; shopper b owns offsets[b]:offsets[b+1] of each array.

    rows int64: catalogue rows, -1 for a product that is not in the catalogue. past and bought likewise: rows of the
    distinct queries, and catalogue rows.
    """

    offsets: np.ndarray
    rows: np.ndarray
    actions: np.ndarray
    timestamps: np.ndarray
    past_offsets: np.ndarray
    past: np.ndarray
    bought_offsets: np.ndarray
    bought: np.ndarray


@dataclass(frozen=True)
class Examples:
    """n searches.

    queries: the distinct query strings; query_text: their tokens by unit; text_vectors float32 [Q, w]: their vectors of
    a pretrained encoder, zero for those that are only asked before others. query int64 [n]: row of the query.
    real_time, short_term, long_term (by action): bags of catalogue rows. past: bag of query rows. bought: bag of
    catalogue rows. listed: bag of the catalogue rows shown or engaged, stages int8 aligned with its values.
    search_ids [n] name a search in messages.
    """

    queries: list[str]
    query_text: dict[str, Ragged]
    query: Tensor
    now: Tensor
    real_time: Ragged
    short_term: Ragged
    long_term: dict[str, Ragged]
    past: Ragged
    bought: Ragged
    location: Location
    listed: Ragged
    stages: Tensor
    search_ids: Sequence[str]
    text_vectors: Tensor | None = None

    def __len__(self) -> int:
        return self.query.shape[0]


def make_examples(
    queries: list[str],
    query: np.ndarray,
    now: np.ndarray,
    histories: Histories,
    location: Location,
    vocabulary: Vocabulary,
    settings: TowerSettings,
    windows: FeatureSettings,
    units: Sequence[str],
    listed: Ragged | None = None,
    stages: Tensor | None = None,
    search_ids: Sequence[str] = (),
    encode: Callable[[Sequence[str]], np.ndarray] | None = None,
    spelling: Spelling | None = None,
) -> Examples:
    """Cuts the windows of every history and tokenises every distinct query; arguments as in `Examples`.

    `encode`: n texts -> float32 [n, w], a pretrained encoder. `spelling`: what puts queries right before they are
    tokenised and encoded; `queries` stay as they were typed.
    """
    texts = queries if spelling is None else spelling.all(queries)
    cut = cut_windows(histories.offsets, histories.actions, histories.timestamps, now, windows)

    def products(window) -> Ragged:
        return known(histories.rows[window.indices], window.offsets)

    return Examples(
        queries=queries,
        query_text=vocabulary.encode_all(texts, units, settings.max_query_tokens),
        query=torch.from_numpy(query.astype(np.int64)),
        now=torch.from_numpy(now.astype(np.int64)),
        real_time=products(cut.real_time),
        short_term=products(cut.short_term),
        long_term={name: products(window) for name, window in cut.long_term.items()},
        past=known(histories.past, histories.past_offsets).last(settings.past_queries),
        bought=known(histories.bought, histories.bought_offsets),
        location=location,
        listed=listed if listed is not None else Ragged.empty(len(query)),
        stages=stages if stages is not None else torch.zeros(0, dtype=torch.int8),
        search_ids=search_ids,
        text_vectors=None if encode is None else _text_vectors(texts, query, encode),
    )


def read_examples(
    path: Path,
    product_ids: Sequence[str],
    vocabulary: Vocabulary,
    settings: TowerSettings,
    windows: FeatureSettings,
    units: Sequence[str],
    encode: Callable[[Sequence[str]], np.ndarray] | None = None,
    spelling: Spelling | None = None,
) -> Examples:
    """Reads train, validation or test.parquet. Products that are not in `product_ids` are dropped. `encode` and
    `spelling`: as in `make_examples`.

    Raises:
        BadInput: a column is missing.
    """
    table = pq.read_table(path)
    catalogue = pa.array(product_ids, pa.string())
    text = _column(table, "query", path)
    past, past_offsets = _lists(table, "history_queries", path)
    queries = pc.unique(pa.chunked_array([text, past]))
    rows, offsets = _lists(table, "history_product_ids", path)
    bought, bought_offsets = _lists(table, "bought_product_ids", path)
    histories = Histories(
        offsets=offsets,
        rows=_index(rows, catalogue),
        actions=_lists(table, "history_actions", path)[0].to_numpy(),
        timestamps=_lists(table, "history_timestamps", path)[0].to_numpy(),
        past_offsets=past_offsets,
        past=_index(past, queries),
        bought_offsets=bought_offsets,
        bought=_index(bought, catalogue),
    )
    items, item_offsets = _lists(table, "product_ids", path)
    item_rows = _index(items, catalogue)
    stages = _lists(table, "stages", path)[0].to_numpy()
    country = [vocabulary.code("country", value) for value in _column(table, "country", path).to_pylist()]
    return make_examples(
        queries=queries.to_pylist(),
        query=_index(text, queries),
        now=_column(table, "timestamp", path).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(),
        histories=histories,
        location=Location(
            torch.from_numpy(_column(table, "latitude", path).to_numpy(zero_copy_only=False).astype(np.float32)),
            torch.from_numpy(_column(table, "longitude", path).to_numpy(zero_copy_only=False).astype(np.float32)),
            torch.tensor(country, dtype=torch.int64),
        ),
        vocabulary=vocabulary,
        settings=settings,
        windows=windows,
        units=units,
        listed=known(item_rows, item_offsets),
        stages=torch.from_numpy(stages[item_rows >= 0].astype(np.int8)),
        search_ids=_column(table, "search_id", path).to_pylist(),
        encode=encode,
        spelling=spelling,
    )


def known(values: np.ndarray, offsets: np.ndarray) -> Ragged:
    """The bags without their -1 values."""
    keep = values >= 0
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep)])
    return Ragged(torch.from_numpy(values[keep].astype(np.int64)), torch.from_numpy(before[offsets]))


def _text_vectors(queries: Sequence[str], query: np.ndarray, encode: Callable[[Sequence[str]], np.ndarray]) -> Tensor:
    """Vectors [Q, w] of the queries that are searched for; past ones stay zero, as no tower reads them."""
    asked = np.unique(query)
    found = encode([queries[number] for number in asked])
    vectors = np.zeros((len(queries), found.shape[1]), np.float32)
    vectors[asked] = found
    return torch.from_numpy(vectors)


def _index(values: pa.Array, among: pa.Array) -> np.ndarray:
    """Position of each value in `among`, int64; -1 where it is missing."""
    found = pc.index_in(values, value_set=among)
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def _column(table: pa.Table, name: str, path: Path) -> pa.Array:
    if name not in table.column_names:
        raise BadInput(f"{path} has no column {name!r}; build the features again.")
    column = table[name].combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _lists(table: pa.Table, name: str, path: Path) -> tuple[pa.Array, np.ndarray]:
    """Flat values of a list column and row boundaries int64 [n + 1]; a null list is empty."""
    column = _column(table, name, path)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return column.flatten(), np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
