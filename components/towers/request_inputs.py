"""A server's searches as the named inputs of an exported query tower, in numpy alone.

What a search is made of has one definition each, shared with training: its windows (`cut_windows`), its tokens
(`Vocabulary.encode`), the fields of a product (`Catalogue.behaviour_fields`). Only how rows are gathered and padded is
written a second time here, because torch takes several times as long for a handful of them. A test holds both ways
together, number by number, over random searches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from components.features.sequence import offsets_of, ragged_indices
from components.features.windows import cut_windows
from components.towers.batches import CLICKED_TITLES
from components.towers.modelfiles import ModelFiles

if TYPE_CHECKING:
    from components.towers.encoder import Request

Inputs = dict[str, np.ndarray]


class Bags(NamedTuple):
    """Row r owns the next `lengths[r]` values: values int64 [N] or [N, F], lengths int64 [R]."""

    values: np.ndarray
    lengths: np.ndarray

    @staticmethod
    def of(rows: Sequence[Sequence[int]]) -> Bags:
        """One row per list of numbers."""
        lengths = np.fromiter(map(len, rows), np.int64, count=len(rows))
        return Bags(np.array([value for row in rows for value in row], np.int64), lengths)

    def last(self, count: int) -> Bags:
        """At most the last `count` values of each row."""
        kept = np.minimum(self.lengths, count)
        places, _ = ragged_indices(np.cumsum(self.lengths) - kept, kept)
        return Bags(self.values[places], kept)

    def known(self) -> Bags:
        """Without the values below 0."""
        keep = self.values >= 0
        if keep.all():
            return self
        return Bags(self.values[keep], np.diff(offsets_of(keep)[offsets_of(self.lengths)]))

    def padded(self, name: str) -> Inputs:
        """`name.values` [R, T] or [R, T, F], zeros behind the end, and `name.mask` bool [R, T]; T is at least 1."""
        width = max(1, int(self.lengths.max(initial=0)))
        mask = np.arange(width) < self.lengths[:, None]
        values = np.zeros((*mask.shape, *self.values.shape[1:]), np.int64)
        values[mask] = self.values
        return {f"{name}.values": values, f"{name}.mask": mask}


class RequestInputs:
    """Inputs of a model folder's query tower: what `tower_inputs` makes of the requests' `QueryBatch`, by name.

    Args:
        rows: product id -> catalogue row. names: the inputs that the exported tower takes; only they are computed.
    """

    def __init__(self, files: ModelFiles, rows: Mapping[str, int], names: Collection[str]) -> None:
        self.files, self.rows, self._names = files, rows, frozenset(names)
        self._groups = {name.split(".")[0] for name in names}
        catalogue = files.catalogue
        self.fields = catalogue.behaviour_fields(torch.arange(len(catalogue))).numpy()  # [P, 6]
        self.titles = {unit: (text.values.numpy(), text.offsets.numpy()) for unit, text in catalogue.text.items()}

    def __call__(self, requests: Sequence[Request]) -> Inputs:
        """The inputs of B requests: int64, bool and float32 arrays."""
        batch = _Batch(self, requests)
        found: Inputs = {}
        for group in self._groups:
            found |= getattr(batch, group)()
        return {name: values for name, values in found.items() if name in self._names}

    def units(self, group: str) -> list[str]:
        """The text units of a group that the tower takes."""
        return [unit for unit in self.files.settings.units if f"{group}.{unit}.values" in self._names]


class _Batch:
    """One batch; a method for each field of `QueryBatch`, under its name, and what several of them need made once."""

    def __init__(self, tables: RequestInputs, requests: Sequence[Request]) -> None:
        self._tables, self._files, self._requests = tables, tables.files, requests
        self._histories = [request.history.before(request.now) for request in requests]

    def text(self) -> Inputs:
        """Tokens of the queries."""
        return self._texts("text", [request.query for request in self._requests])

    def past(self) -> Inputs:
        """Rows of `past_text`."""
        rows, lengths = self._past_queries[1]
        return Bags(rows + 1, lengths).padded("past")

    def past_text(self) -> Inputs:
        """Tokens of the distinct past queries, behind an empty one."""
        return self._texts("past_text", ["", *self._past_queries[0]])

    def behaviour(self) -> Inputs:
        """The windows, their distinct products and the titles of these."""
        fields, windows = self._tables.fields, [self._windows[name] for name in ("real_time", "short_term")]
        distinct, place = np.unique(np.concatenate([window.values for window in windows]), return_inverse=True)
        products = np.concatenate([np.zeros((1, fields.shape[1]), np.int64), fields[distinct]])  # row 0 stands for none
        found = {"behaviour.products": products}
        start = 0
        for name, window in zip(("real_time", "short_term"), windows, strict=True):
            rows = place[start : start + len(window.values)] + 1
            start += len(window.values)
            values = np.concatenate([products[rows], rows[:, None]], axis=1)  # [n, 7]
            found |= Bags(values, window.lengths).padded(f"behaviour.{name}")
        for name, window in self._windows.items():
            if name.startswith("long_term"):
                found |= Bags(fields[window.values], window.lengths).padded(f"behaviour.{name}")
        for unit in self._tables.units("behaviour.titles"):
            tokens, lengths = self._title_tokens(unit, distinct)
            found |= Bags(tokens, np.append(0, lengths)).padded(f"behaviour.titles.{unit}")
        return found

    def clicked_titles(self) -> Inputs:
        """Title tokens of the latest clicks."""
        return self._titles_in_one_bag("clicked_titles", self._windows["real_time"].last(CLICKED_TITLES))

    def bought_titles(self) -> Inputs:
        """Title tokens of what was bought."""
        return self._titles_in_one_bag("bought_titles", self._bought)

    def location(self) -> Inputs:
        """Where the shoppers are."""
        code, requests = self._files.vocabulary.code, self._requests
        return {
            "location.latitude": _degrees(request.latitude for request in requests),
            "location.longitude": _degrees(request.longitude for request in requests),
            "location.country": np.array([code("country", request.country) for request in requests], np.int64),
        }

    def text_vectors(self) -> Inputs:
        """The queries as the pretrained encoder sees them."""
        encode = self._files.text_encoder
        assert encode is not None  # the tower takes these vectors, so the folder holds their encoder
        return {"text_vectors": encode(self._right([request.query for request in self._requests]))}

    def scalars(self) -> Inputs:
        """The columns `QUERY_SCALARS`."""
        tokens = self._tokens([request.query for request in self._requests], self._files.settings.units[0])
        clicks = self._windows["real_time"].lengths + self._windows["short_term"].lengths
        columns = (tokens.lengths, clicks, self._bought.lengths, self._past_queries[1].lengths)
        return {"scalars": np.stack(columns, axis=1).astype(np.float32)}

    @cached_property
    def _windows(self) -> dict[str, Bags]:
        """Catalogue rows of each window."""
        histories = self._histories
        rows = self._rows_of([history.product_ids for history in histories])
        cut = cut_windows(
            offsets_of(rows.lengths),
            np.concatenate([history.actions for history in histories]),
            np.concatenate([history.timestamps for history in histories]),
            np.array([request.now for request in self._requests], np.int64),
            self._files.windows,
        )
        windows = {"real_time": cut.real_time, "short_term": cut.short_term}
        windows |= {f"long_term.{action}": window for action, window in cut.long_term.items()}
        return {name: Bags(rows.values[window.indices], window.lengths()).known() for name, window in windows.items()}

    @cached_property
    def _bought(self) -> Bags:
        return self._rows_of([history.bought_product_ids for history in self._histories]).known()

    @cached_property
    def _past_queries(self) -> tuple[list[str], Bags]:
        """The distinct past queries that are looked at, and each request's as places among them, oldest first."""
        numbers = {request.query: None for request in self._requests}
        for history in self._histories:
            numbers |= dict.fromkeys(history.queries)
        order = {query: number for number, query in enumerate(numbers)}
        limit = self._files.settings.past_queries
        past = Bags.of([[order[query] for query in history.queries] for history in self._histories]).last(limit)
        distinct, place = np.unique(past.values, return_inverse=True)
        queries = list(order)
        return [queries[number] for number in distinct], Bags(place, past.lengths)

    def _rows_of(self, products: Iterable[Sequence[str]]) -> Bags:
        """Catalogue rows, -1 for a product that was not in the training's catalogue."""
        row = self._tables.rows.get
        return Bags.of([[row(product_id, -1) for product_id in ids] for ids in products])

    def _tokens(self, texts: Sequence[str], unit: str) -> Bags:
        encode, limit = self._files.vocabulary.encode, self._files.settings.max_query_tokens
        return Bags.of([encode(text, unit, limit) for text in self._right(texts)])

    def _right(self, texts: Sequence[str]) -> Sequence[str]:
        """The queries as they are read: put right where the towers were trained so."""
        return texts if self._files.spelling is None else self._files.spelling.all(texts)

    def _texts(self, group: str, texts: Sequence[str]) -> Inputs:
        found: Inputs = {}
        for unit in self._tables.units(group):
            found |= self._tokens(texts, unit).padded(f"{group}.{unit}")
        return found

    def _title_tokens(self, unit: str, rows: np.ndarray) -> Bags:
        values, offsets = self._tables.titles[unit]
        lengths = offsets[rows + 1] - offsets[rows]
        return Bags(values[ragged_indices(offsets[rows], lengths)[0]], lengths)

    def _titles_in_one_bag(self, group: str, products: Bags) -> Inputs:
        found: Inputs = {}
        for unit in self._tables.units(group):
            tokens, lengths = self._title_tokens(unit, products.values)
            bounds = offsets_of(lengths)[offsets_of(products.lengths)]
            found |= Bags(tokens, np.diff(bounds)).padded(f"{group}.{unit}")
        return found


def _degrees(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float32)
