"""What samplers, losses and models of this room hand to each other. Shapes and meanings are fixed here.

B examples a batch, M shared negatives, d the width of both towers, "row" a row of the catalogue table.

A **loss** is an `nn.Module` with `forward(query_vectors [B, d], positive_vectors [B, d], negatives, positive_index [B],
extra_positives [B, E], positive_log_q [B], weights [B], ...) -> scalar`. It multiplies vectors as they come: those of a
cosine model are already unit length.

A **sampler** turns a `SamplingContext` and a `torch.Generator` into catalogue rows (`Sampled`). It draws for the batch
of all processes together, so that every process of a data-parallel run draws the same rows.

A **model** is an `nn.Module` with `query`, `item` and `loss`; see `TwoTowerModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from components.towers.ragged import Bags, Padded, Ragged

if TYPE_CHECKING:
    from components.towers.catalogue import Catalogue
    from components.towers.examples import Examples
    from components.towers.settings import TowerSettings

UNIFORM, IN_BATCH, DYNAMIC_HARD = 0, 1, 2
"""Values of `Negatives.source`."""

LEAF, TOP, BRAND, SHOP, PRICE_LEVEL = 0, 1, 2, 3, 4
"""Columns of the side-information codes of a product: leaf category, first-level category, brand, shop (MGDSPR), and
the quantile of its price within its category, which is ours."""

CODE_FIELDS: tuple[str, ...] = ("leaf", "top", "brand", "shop", "price_level")
LONG_TERM_ACTIONS: tuple[str, ...] = ("click", "favourite", "cart", "order")
"""Action streams of the long-term window. MGDSPR has click, buy and collect; the cart is ours."""


@dataclass(frozen=True)
class Negatives:
    """Negatives shared by the whole batch.

    vectors [M, d]; item_index int64 [M] catalogue rows; log_q float [M], logarithm of the expected number of times the
    sampler draws the row in one batch, or None; source int8 [M], UNIFORM / IN_BATCH / DYNAMIC_HARD, or None (all are
    uniform).
    """

    vectors: Tensor
    item_index: Tensor
    log_q: Tensor | None = None
    source: Tensor | None = None


@dataclass(frozen=True)
class Sampled:
    """What a sampler draws: rows int64 [M], log_q float [M] or None, source int8 [M] (see `Negatives`)."""

    rows: Tensor
    log_q: Tensor | None = None
    source: Tensor | None = None


@dataclass(frozen=True)
class SamplingContext:
    """What a sampler may look at.

    catalogue_size: rows of the catalogue; positive_rows int64 [B_global]: positives of the whole global batch (all
    processes); counts int64 [catalogue_size]: how often each row is a training positive; step, total_steps: where
    training stands; queries: query vectors [B, d] of this process without gradient, or None when the model has none at
    hand; item_vectors: rows [n] -> vectors [n, d], computed without gradient, for dynamic hard negatives.
    """

    catalogue_size: int
    positive_rows: Tensor
    counts: Tensor
    step: int
    total_steps: int
    queries: Tensor | None = None
    item_vectors: Callable[[Tensor], Tensor] | None = None

    @property
    def progress(self) -> float:
        """Share of the training done, 0 to 1: what schedules are linear in."""
        return min(1.0, self.step / max(1, self.total_steps))


class Sampler(Protocol):
    """Draws catalogue rows for one batch; all randomness comes from `generator` (a CPU generator)."""

    def __call__(self, context: SamplingContext, generator: torch.Generator) -> Sampled: ...


@dataclass(frozen=True)
class Location:
    """latitude, longitude: float32 [R], NaN where unknown; country: int64 [R], 0 where unknown."""

    latitude: Tensor
    longitude: Tensor
    country: Tensor


@dataclass(frozen=True)
class Behaviour:
    """The three windows of the past, oldest first, right-padded; every event lies before the search.

    real_time, short_term: values int64 [B, T, 7] = (item id, then `CODE_FIELDS`, then product); product is a row of
    `products`. long_term: per action of `LONG_TERM_ACTIONS` a bag whose values are int64 [N, 6], without product. 0 is
    "none/unknown" in every field.
    products: int64 [U, 6], the first six fields of each distinct product of the two windows, row 0 all zero; what is
    computed of a product is computed once a batch. titles: unit name -> bag of title tokens of `products`, filled if
    "behaviour_titles" is needed.
    """

    real_time: Padded
    short_term: Padded
    long_term: Mapping[str, Bags]
    products: Tensor
    titles: Mapping[str, Bags] | None = None


@dataclass(frozen=True)
class QueryBatch:
    """The query side of B requests.

    text: unit name -> bag of token ids of the query, B rows. Units are those of the settings ("words",
        "word_bigrams", "character_3grams", ...).
    past: int64 [B, k] rows of `past_text` (recent searches, oldest first, padded); None without history.
    past_text: unit name -> bag of token ids of the distinct past queries of the batch.
    behaviour: None for logs without shoppers.
    clicked_titles, bought_titles: unit name -> bag of title tokens of recently clicked / ever bought products, B rows.
    location: None for logs without locations.
    scalars: float32 [B, s], NaN where unknown; columns as `Schema.query_scalars`.
    text_vectors: float32 [B, w], the query's vectors of a pretrained encoder, zero where it made none.
    Optional fields are filled only if the model lists them in `needs`.
    """

    text: Mapping[str, Bags]
    past: Padded | None = None
    past_text: Mapping[str, Bags] | None = None
    behaviour: Behaviour | None = None
    clicked_titles: Mapping[str, Bags] | None = None
    bought_titles: Mapping[str, Bags] | None = None
    location: Location | None = None
    scalars: Tensor | None = None
    text_vectors: Tensor | None = None


@dataclass(frozen=True)
class ItemBatch:
    """M products.

    ids: int64 [M] rows of the item id table, 0 for a product without one (never seen in training).
    codes: int64 [M, 5], columns LEAF, TOP, BRAND, SHOP, PRICE_LEVEL.
    text: unit name -> bag of title tokens, M rows.
    fields: other token groups by name, M rows each: "category" (one token a level), "attributes" (key and value),
        "description" (keywords), "brand"; those the model lists in `needs`.
    location, scalars: as in `QueryBatch`, scalar columns as `Schema.item_scalars`.
    graph: int64 bag [M rows] of rows of `graph_text`, the sampled neighbour queries of each product.
    graph_text: unit name -> bag of token ids of the distinct neighbour queries of the batch.
    text_vectors: float32 [M, w], the titles' vectors of a pretrained encoder.
    rows: int64 [M] catalogue rows, or None outside the training catalogue; never an input of the exported tower.
    """

    ids: Tensor
    codes: Tensor
    text: Mapping[str, Bags]
    fields: Mapping[str, Bags] = field(default_factory=dict)
    location: Location | None = None
    scalars: Tensor | None = None
    graph: Bags | None = None
    graph_text: Mapping[str, Bags] | None = None
    text_vectors: Tensor | None = None
    rows: Tensor | None = None


@dataclass(frozen=True)
class TrainingBatch:
    """One batch of this process: B examples, each a search with one of the products it engaged.

    query: the searches, B of them; in the unit "grouped" each search once, R <= B of them. request: int64 [B], row of
    `query` that each example belongs to. positive_rows: int64 [B] catalogue rows. stages: int8 [B], 1 clicked to 4
    ordered. weights: float32 [B].
    extra_positives: int64 [B, E], -1 padded: all rows the request engaged (with the positive).
    listed: bag [B rows] of all rows of the request (shown or engaged); listed_stages: int8, aligned with its values.
    query_index: int64 [B], row of the request's query among `Catalogue.graph_queries`, -1 where the graph lacks it.
    example: int64 [B], row of the example table, so that a bad batch can be named.
    global_positive_rows: int64 [B_global], positives of all processes; `rank_slice` is where this process's lie in it.
    share: this process's part of the weight of the global batch; 1 in a single process.
    """

    query: QueryBatch
    request: Tensor
    positive_rows: Tensor
    stages: Tensor
    weights: Tensor
    extra_positives: Tensor
    listed: Ragged
    listed_stages: Tensor
    query_index: Tensor
    example: Tensor
    global_positive_rows: Tensor
    rank_slice: slice
    share: float = 1.0


@dataclass(frozen=True)
class StepContext:
    """What a model's `loss` may use beside the batch.

    items: (rows int64 [n], exclude_queries int64 [n] or None) -> `ItemBatch` on the model's device. Neighbour queries
        of the graph are sampled anew each step; `exclude_queries[i]` is left out for product i (-1: nothing).
    generator: CPU generator, equal in all processes, seeded by (seed, step). device_generator: on the model's device,
        another in each process, seeded by (seed, step, process).
    counts: int64 [catalogue], positives per product. world: number of processes.
    """

    items: Callable[..., ItemBatch]
    catalogue_size: int
    counts: Tensor
    generator: torch.Generator
    device_generator: torch.Generator
    step: int
    total_steps: int
    world: int = 1


@dataclass(frozen=True)
class StepLoss:
    """total: scalar with gradient, a mean over this process's examples. parts: detached scalars for the log."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Schema:
    """Sizes a model is built for; written to model.json, so it holds plain values only.

    tokens: rows of the token table, hash buckets included (row 0: nothing). items: rows of the item id table (row 0:
    unseen). codes: size of each code table, by `CODE_FIELDS` and "country" (row 0: unknown). units: text units that are
    tokenised. item_scalars, query_scalars: names of the scalar columns. has: what the data has ("users", "times",
    "locations", "impressions", "graph", ...): parts for what is missing are not built.
    """

    tokens: int
    items: int
    codes: dict[str, int]
    units: tuple[str, ...]
    item_scalars: tuple[str, ...] = ()
    query_scalars: tuple[str, ...] = ()
    has: dict[str, bool] = field(default_factory=dict)


@runtime_checkable
class TwoTowerModel(Protocol):
    """A model: two towers and the loss that trains them. Implementations are `nn.Module`s.

    Class attributes: `name`; `Settings`, a `TowerSettings` (sub)class whose defaults suit the model; `needs`, the
    optional batch fields it may read (`Settings.unread` are those its settings switch off), out of {"past",
    "behaviour", "behaviour_titles", "clicked_titles", "bought_titles", "location", "scalars", "graph",
    "text_vectors", "category", "attributes", "description", "brand"}; `unit`: "positive", an example per engaged
    product; "grouped", the same with the examples of a search side by side, so that its query is encoded once;
    "request", an example per search, its positive the most engaged product.
    `score` is "inner_product" or "cosine"; `query` and `item` of a cosine model return unit vectors.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[TowerSettings]]
    needs: ClassVar[frozenset[str]]
    unit: ClassVar[str]
    score: str

    def __init__(self, settings: Any, schema: Schema) -> None: ...

    def prepare(self, catalogue: Catalogue, examples: Examples) -> None:
        """Fits what is not trained (token weights, quantiles, cells) into buffers, once, before the first step."""

    def query(self, batch: QueryBatch) -> Tensor:
        """Vectors [B, d]."""

    def item(self, batch: ItemBatch) -> Tensor:
        """Vectors [M, d]."""

    def loss(self, batch: TrainingBatch, context: StepContext) -> StepLoss:
        """The loss of one step."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups `{"params": [...], "lr_scale": 1.0}`; every trained parameter in exactly one."""
