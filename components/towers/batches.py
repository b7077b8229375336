"""From arrays to batches: each is a pure function of (data, settings, epoch, step, rank), without Python loops."""

from __future__ import annotations

import torch
from torch import Tensor

from components.common.errors import BadInput
from components.towers.catalogue import Catalogue
from components.towers.examples import Examples
from components.towers.interfaces import LONG_TERM_ACTIONS, Behaviour, Location, QueryBatch, TrainingBatch
from components.towers.ragged import Ragged
from components.towers.settings import TowerSettings

CLICKED_TITLES = 10
"""Most recent clicks whose title words a model with "clicked_titles" in its needs reads; UEPPR names no number."""


def query_batch(examples: Examples, catalogue: Catalogue, rows: Tensor, needs: frozenset[str]) -> QueryBatch:
    """The query side of the searches `rows` int64 [B], with the optional fields named in `needs`."""
    text = {unit: bags.take(examples.query[rows]) for unit, bags in examples.query_text.items()}
    past = past_text = None
    if "past" in needs:
        asked = examples.past.take(rows)
        distinct, index = torch.unique(asked.values, return_inverse=True)
        # Row 0 of past_text is an empty query: padding points at it.
        past = Ragged(index + 1, asked.offsets).pad()
        past_text = {unit: _with_empty_row(bags.take(distinct)) for unit, bags in examples.query_text.items()}
    return QueryBatch(
        text=text,
        past=past,
        past_text=past_text,
        behaviour=_behaviour(examples, catalogue, rows, "behaviour_titles" in needs) if "behaviour" in needs else None,
        clicked_titles=_titles(examples.real_time.take(rows).last(CLICKED_TITLES), catalogue)
        if "clicked_titles" in needs
        else None,
        bought_titles=_titles(examples.bought.take(rows), catalogue) if "bought_titles" in needs else None,
        location=Location(
            examples.location.latitude[rows], examples.location.longitude[rows], examples.location.country[rows]
        )
        if "location" in needs
        else None,
        scalars=query_scalars(examples, rows) if "scalars" in needs else None,
        text_vectors=None if examples.text_vectors is None else examples.text_vectors[examples.query[rows]],
    )


QUERY_SCALARS: tuple[str, ...] = ("query_tokens", "clicks", "bought", "past_queries")
"""Scalar columns of a search, in the order of `QueryBatch.scalars`: how long the query is, how much is known."""


def query_scalars(examples: Examples, rows: Tensor) -> Tensor:
    """float32 [B, 4], columns QUERY_SCALARS."""
    first = next(iter(examples.query_text.values()))
    columns = (
        first.lengths[examples.query[rows]],
        examples.real_time.lengths[rows] + examples.short_term.lengths[rows],
        examples.bought.lengths[rows],
        examples.past.lengths[rows],
    )
    return torch.stack(columns, dim=1).float()


def _behaviour(examples: Examples, catalogue: Catalogue, rows: Tensor, titles: bool) -> Behaviour:
    windows = [examples.real_time.take(rows), examples.short_term.take(rows)]
    distinct, index = torch.unique(torch.cat([window.values for window in windows]), return_inverse=True)
    fields = catalogue.behaviour_fields(distinct)  # [U, 6]
    products = torch.cat([fields.new_zeros(1, fields.shape[1]), fields])  # row 0 stands for none
    padded = []
    for window, product in zip(windows, index.split([len(window.values) for window in windows]), strict=True):
        values = torch.cat([products[product + 1], product.unsqueeze(1) + 1], dim=1)  # [n, 7]
        padded.append(Ragged(values, window.offsets).pad())
    long_term = {}
    for action in LONG_TERM_ACTIONS:
        taken = examples.long_term[action].take(rows)
        long_term[action] = Ragged(catalogue.behaviour_fields(taken.values), taken.offsets)
    text = None
    if titles:
        text = {unit: _with_empty_row(bags.take(distinct)) for unit, bags in catalogue.text.items()}
    return Behaviour(padded[0], padded[1], long_term, products, text)


def _titles(products: Ragged, catalogue: Catalogue) -> dict[str, Ragged]:
    """Title tokens of all products of each bag, in one bag."""
    bags = {}
    for unit, titles in catalogue.text.items():
        tokens = titles.take(products.values)
        bags[unit] = Ragged(tokens.values, tokens.offsets[products.offsets])
    return bags


def _with_empty_row(bags: Ragged) -> Ragged:
    return Ragged(bags.values, torch.cat([bags.offsets.new_zeros(1), bags.offsets]))


class Batches:
    """Training batches in the order of the seed.

    Args:
        unit: "positive", an example per engaged product; "grouped", the same, those of a search side by side;
            "request", an example per search whose positive is drawn each epoch among its most engaged products.
        rank, world: this process and their number; each takes its contiguous part of every global batch.

    An epoch leaves out the examples that don't fill a global batch (others each epoch). Raises BadInput when there is
    no example at all.
    """

    def __init__(
        self,
        examples: Examples,
        catalogue: Catalogue,
        needs: frozenset[str],
        unit: str,
        settings: TowerSettings,
        query_index: Tensor,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.examples, self.catalogue, self.needs = examples, catalogue, needs
        self.settings, self.query_index = settings, query_index
        self.rank, self.world, self.unit = rank, world, unit
        engaged = examples.stages > 0
        owner = examples.listed.row_of_value[engaged]
        self.pair_example, self.pair_row = owner, examples.listed.values[engaged].long()
        self.pair_stage = examples.stages[engaged]
        lengths = torch.bincount(owner, minlength=len(examples))
        self.engaged = Ragged(self.pair_row, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
        self.requests = torch.nonzero(lengths).squeeze(1)
        count = self.requests.shape[0] if unit == "request" else self.pair_row.shape[0]
        if count == 0:
            raise BadInput("the training examples hold no click, cart, favourite or order; training needs some.")
        self.count = count
        self.size = max(world, min(settings.batch_size, count) // world * world)
        if self.size > count:
            raise BadInput(f"{count} training examples are too few for {world} processes; use fewer processes.")
        self._epoch, self._pairs = -1, torch.zeros(0, dtype=torch.int64)

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return self.count // self.size

    def batch(self, epoch: int, step: int) -> TrainingBatch:
        """The part of this process of global batch `step` of an epoch."""
        everyone = self._order(epoch)[step * self.size : (step + 1) * self.size]  # pairs of the global batch
        part = self.size // self.world
        mine = slice(self.rank * part, (self.rank + 1) * part)
        pairs = everyone[mine]
        rows = self.pair_example[pairs]
        if self.unit == "grouped":
            searches, request = torch.unique(rows, return_inverse=True)
        else:
            searches, request = rows, torch.arange(part)
        weights = self._weights(self.pair_stage[everyone])
        listed = self.examples.listed.places(rows)
        return TrainingBatch(
            query=query_batch(self.examples, self.catalogue, searches, self.needs),
            request=request,
            positive_rows=self.pair_row[pairs],
            stages=self.pair_stage[pairs],
            weights=weights[mine],
            extra_positives=self._extra(rows),
            listed=Ragged(self.examples.listed.values.index_select(0, listed.values).long(), listed.offsets),
            listed_stages=self.examples.stages.index_select(0, listed.values),
            query_index=self.query_index[self.examples.query[rows]],
            example=rows,
            global_positive_rows=self.pair_row[everyone],
            rank_slice=mine,
            share=float(weights[mine].sum() / weights.sum()),
        )

    def _extra(self, rows: Tensor) -> Tensor:
        padded = self.engaged.take(rows).pad()
        return padded.values.masked_fill(~padded.mask, -1)  # [B, E]

    def _weights(self, stages: Tensor) -> Tensor:
        """1 for a click, `order_weight` for an order, linear between."""
        return 1.0 + (self.settings.order_weight - 1.0) * (stages.float() - 1.0) / 3.0

    def _order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
            if self.unit == "request":
                self._pairs = self._one_pair_a_request(generator)
            elif self.unit == "grouped":
                shuffled = self.requests[torch.randperm(self.requests.shape[0], generator=generator)]
                self._pairs = self.engaged.places(shuffled).values
            else:
                self._pairs = torch.randperm(self.count, generator=generator)
            self._epoch = epoch
        return self._pairs

    def _one_pair_a_request(self, generator: torch.Generator) -> Tensor:
        # Highest stage first, ties in random order; then the first pair of every request.
        key = self.pair_stage.double() + torch.rand(self.pair_stage.shape[0], generator=generator).double()
        order = torch.argsort(key, descending=True)
        order = order[torch.argsort(self.pair_example[order], stable=True)]
        first = self.engaged.offsets[self.requests]
        return order[first][torch.randperm(self.count, generator=generator)]
