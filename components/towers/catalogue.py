"""Products as integers: one function for training, for embedding the catalogue and for serving.

A product is its id row, five codes (leaf category, first-level category, brand, shop, price level), its title tokens
and, for models that ask for them, further token groups, a location, scalars and its neighbour queries in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from components.common.errors import BadInput
from components.towers.fields import TOKEN_GROUPS, field_values, floats, group_tokens, strings
from components.towers.interfaces import CODE_FIELDS, ItemBatch, Location
from components.towers.ragged import Ragged
from components.towers.settings import TowerSettings
from components.towers.vocabulary import Vocabulary

ITEM_SCALARS: tuple[str, ...] = ("price", "rating", "review_count", "sales")
"""Scalar columns of a product, in the order of `ItemBatch.scalars`."""


@dataclass(frozen=True)
class Catalogue:
    """P products, row by row. Shapes as in `ItemBatch`, with P for M; token values are int32.

    graph: bag of rows of `graph_queries` for each product, heaviest first; graph_text: their tokens by unit.
    token_weights: first weight of every row of the token table, from its IDF, float32 [V]. code_text: for leaf, top and
    brand the tokens of each code's words, row 0 (unknown) empty.
    """

    product_ids: np.ndarray
    ids: Tensor
    codes: Tensor
    text: dict[str, Ragged]
    token_weights: Tensor
    code_text: dict[str, Ragged] = field(default_factory=dict)
    fields: dict[str, Ragged] = field(default_factory=dict)
    location: Location | None = None
    scalars: Tensor | None = None
    graph: Ragged | None = None
    graph_queries: list[str] = field(default_factory=list)
    graph_text: dict[str, Ragged] | None = None
    text_vectors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.product_ids)

    def batch(
        self,
        rows: Tensor,
        neighbours: int = 0,
        exclude_queries: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ItemBatch:
        """The products of `rows` int64 [M].

        Args:
            neighbours: at most this many neighbour queries a product. With a generator they are drawn at random,
                without one the heaviest are taken. 0 leaves the graph out.
            exclude_queries: int64 [M], one neighbour query to leave out of each product (-1: none); UEPPR leaves the
                target query out so that the graph can't give the label away.
        """
        graph, graph_text = None, None
        if neighbours and self.graph is not None and self.graph_text is not None:
            chosen = self._neighbours(rows, neighbours, exclude_queries, generator)
            distinct, index = torch.unique(chosen.values, return_inverse=True)
            graph = Ragged(index, chosen.offsets)
            graph_text = {unit: bags.take(distinct) for unit, bags in self.graph_text.items()}
        return ItemBatch(
            ids=self.ids.index_select(0, rows),
            codes=self.codes.index_select(0, rows),
            text={unit: bags.take(rows) for unit, bags in self.text.items()},
            fields={name: bags.take(rows) for name, bags in self.fields.items()},
            location=None
            if self.location is None
            else Location(self.location.latitude[rows], self.location.longitude[rows], self.location.country[rows]),
            scalars=None if self.scalars is None else self.scalars[rows],
            graph=graph,
            graph_text=graph_text,
            text_vectors=None if self.text_vectors is None else self.text_vectors[rows],
            rows=rows,
        )

    def _neighbours(
        self, rows: Tensor, count: int, exclude: Tensor | None, generator: torch.Generator | None
    ) -> Ragged:
        assert self.graph is not None
        found = self.graph.take(rows)
        owner = found.row_of_value  # [N]
        rank = torch.arange(owner.shape[0]) - found.offsets[owner]  # [N] place among its product's neighbours
        if generator is not None:
            rank = torch.rand(owner.shape[0], generator=generator)
        if exclude is not None:
            keep = found.values != exclude[owner]  # [N]
            owner, rank, values = owner[keep], rank[keep], found.values[keep]
        else:
            values = found.values
        order = torch.argsort(rank, stable=True)
        order = order[torch.argsort(owner[order], stable=True)]  # by product, then by rank
        owner, values = owner[order], values[order]
        lengths = torch.bincount(owner, minlength=rows.shape[0])
        starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        kept = torch.arange(owner.shape[0]) - starts[owner] < count
        lengths = lengths.clamp_max(count)
        return Ragged(values[kept], torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))

    def behaviour_fields(self, rows: Tensor) -> Tensor:
        """What a behaviour on a product is made of: int64 [n, 6] = (item id, then `CODE_FIELDS`)."""
        return torch.cat([self.ids[rows].unsqueeze(1), self.codes[rows]], dim=1).long()


def build_catalogue(
    products: pa.Table,
    vocabulary: Vocabulary,
    settings: TowerSettings,
    units: Sequence[str],
    id_rows: Mapping[str, int],
    needs: frozenset[str] = frozenset(),
    encode: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> Catalogue:
    """Products in the contract's columns (optional ones may be missing or null) as a `Catalogue` without a graph.

    Args:
        id_rows: product id -> row of the id table; a product that is not in it gets row 0.
        needs: which of `TOKEN_GROUPS`, "location" and "scalars" to compute.
        encode: n titles -> float32 [n, w], a pretrained encoder.

    Raises:
        BadInput: a product without id or title.
    """
    count = products.num_rows
    product_ids, titles = _required(products, "product_id"), _required(products, "title")
    ids = np.fromiter((id_rows.get(product_id, 0) for product_id in product_ids), np.int64, count=count)
    columns = field_values(products, vocabulary.price_levels)
    codes = np.array([[vocabulary.code(name, v) for v in columns[name]] for name in CODE_FIELDS], np.int64)
    fields = {}
    for name in TOKEN_GROUPS:
        if name in needs:
            tokens = group_tokens(products, name, settings.word_unit, settings.max_title_tokens)
            fields[name] = vocabulary.encode_tokens(tokens)
    return Catalogue(
        product_ids=np.array(product_ids, dtype=object),
        ids=torch.from_numpy(ids),
        codes=torch.from_numpy(np.ascontiguousarray(codes.reshape(len(CODE_FIELDS), count).T)),
        text=vocabulary.encode_all(titles, units, settings.max_title_tokens, distinct=not settings.title_repeats),
        token_weights=torch.from_numpy(vocabulary.idf() ** settings.idf_power),
        code_text={name: _code_text(vocabulary, name, settings) for name in ("leaf", "top", "brand")},
        fields=fields,
        location=_location(products, vocabulary) if "location" in needs else None,
        scalars=_scalars(products) if "scalars" in needs else None,
        text_vectors=None if encode is None else torch.from_numpy(encode(titles)),
    )


def _required(products: pa.Table, name: str) -> list[str]:
    values = strings(products, name)
    if None in values:
        raise BadInput(f"products: column {name} is empty in row {values.index(None)}; every product needs one.")
    return [value for value in values if value is not None]


def _code_text(vocabulary: Vocabulary, name: str, settings: TowerSettings) -> Ragged:
    """Tokens of the words of each value; of a category path those of its last level."""
    words = ["", *(value.split(" > ")[-1] for value in vocabulary.codes.get(name, []))]
    return vocabulary.encode_all(words, (settings.word_unit,), settings.max_query_tokens)[settings.word_unit]


def _location(products: pa.Table, vocabulary: Vocabulary) -> Location:
    country = [vocabulary.code("country", value) for value in strings(products, "country")]
    return Location(
        torch.from_numpy(floats(products, "latitude")),
        torch.from_numpy(floats(products, "longitude")),
        torch.tensor(country, dtype=torch.int64),
    )


def _scalars(products: pa.Table) -> Tensor:
    return torch.from_numpy(np.stack([floats(products, name) for name in ITEM_SCALARS], axis=1))
