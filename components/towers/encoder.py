"""Trained towers at work: requests to query vectors, products to item vectors, by the same functions as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from components.common.errors import BadSetting
from components.features.history import History
from components.towers.batches import query_batch
from components.towers.catalogue import build_catalogue
from components.towers.data import with_graph
from components.towers.examples import Examples, Histories, make_examples
from components.towers.export import OnnxTower
from components.towers.interfaces import ItemBatch, Location, QueryBatch
from components.towers.modelfiles import ModelFiles
from components.towers.request_inputs import RequestInputs

ENGINES = ("torch", "onnx")
_REQUESTS, _PRODUCTS = 256, 2_048


@dataclass(frozen=True)
class Request:
    """One search to encode.

    history: everything known of the shopper; what is not before `now` (microseconds since the epoch) is not looked at.
    """

    query: str
    history: History
    now: int
    latitude: float | None = None
    longitude: float | None = None
    country: str | None = None


class _Encoder:
    """One tower of a model folder in one of `ENGINES`."""

    def __init__(self, model_dir: str | Path, engine: str, side: str) -> None:
        if engine not in ENGINES:
            raise BadSetting(f"there is no engine {engine!r}; known engines: {', '.join(ENGINES)}.")
        self.files = ModelFiles(Path(model_dir))
        self.dimension = int(self.files.description["dimension"])
        self._side = side
        self._model: Any = None
        self._onnx = OnnxTower(Path(model_dir) / f"{side}_tower.onnx") if engine == "onnx" else None
        if engine == "torch":
            self._trained()

    def _trained(self) -> Any:
        if self._model is None:
            self._model = self.files.model()
        return self._model

    def _encode(self, batch: QueryBatch | ItemBatch) -> np.ndarray:
        if self._onnx is not None:
            return self._onnx.encode(batch)
        with torch.inference_mode():
            model = self._trained()
            return (model.query(batch) if self._side == "query" else model.item(batch)).float().numpy()


class QueryEncoder(_Encoder):
    """Query tower: `encode` gives float32 [n, d], unit length if the model's score is cosine.

    Behaviours on products that were not in the training's catalogue are left out. The engine "onnx" puts its inputs
    together without torch (see `request_inputs`).

    Raises:
        NotFound: the folder holds no towers. BadSetting: unknown engine.
    """

    def __init__(self, model_dir: str | Path, engine: str = "onnx") -> None:
        super().__init__(model_dir, engine, "query")
        self._rows = {product_id: row for row, product_id in enumerate(self.files.catalogue.product_ids.tolist())}
        self._inputs = RequestInputs(self.files, self._rows, self._onnx.names) if self._onnx is not None else None

    def encode(self, requests: Sequence[Request]) -> np.ndarray:
        """Vectors float32 [n, d] of n requests."""
        parts = [self._vectors(requests[start : start + _REQUESTS]) for start in range(0, len(requests), _REQUESTS)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)

    def _vectors(self, requests: Sequence[Request]) -> np.ndarray:
        if self._onnx is not None and self._inputs is not None:
            return self._onnx.run(self._inputs(requests))
        return self._encode(self._batch(requests)[0])

    def attention(self, request: Request) -> list[tuple[str, float]]:
        """Which clicks mattered: (product id, weight), largest first, each product once.

        The weight is the attention the query rows pay to a click of the real-time or short-term window (mean over the
        rows, MGDSPR Eqs. 11 and 12), halved because there are two windows. It is approximate: what the fusion makes of
        the rows, and the long-term window, are not in it. Empty for a model or shopper without behaviours.
        """
        model = self._trained()
        batch, examples = self._batch([request])
        if not hasattr(model, "attention"):
            return []
        with torch.inference_mode():
            weights = model.attention(batch)
        if weights is None:
            return []
        total: dict[str, float] = {}
        for window, share in zip((examples.real_time, examples.short_term), weights, strict=True):
            for row, weight in zip(window.values.tolist(), share[0].tolist(), strict=False):
                product_id = str(self.files.catalogue.product_ids[row])
                total[product_id] = total.get(product_id, 0.0) + weight / 2
        return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))

    def _batch(self, requests: Sequence[Request]) -> tuple[QueryBatch, Examples]:
        files = self.files
        histories = [request.history.before(request.now) for request in requests]
        queries = {request.query: None for request in requests}
        for history in histories:
            queries.update(dict.fromkeys(history.queries))
        numbers = {query: number for number, query in enumerate(queries)}
        examples = make_examples(
            queries=list(queries),
            query=np.array([numbers[request.query] for request in requests], np.int64),
            now=np.array([request.now for request in requests], np.int64),
            histories=Histories(
                offsets=_offsets([len(history) for history in histories]),
                rows=self._known([product for history in histories for product in history.product_ids]),
                actions=np.concatenate([history.actions for history in histories]),
                timestamps=np.concatenate([history.timestamps for history in histories]),
                past_offsets=_offsets([len(history.queries) for history in histories]),
                past=np.array([numbers[query] for history in histories for query in history.queries], np.int64),
                bought_offsets=_offsets([len(history.bought_product_ids) for history in histories]),
                bought=self._known([product for history in histories for product in history.bought_product_ids]),
            ),
            location=self._location(requests),
            vocabulary=files.vocabulary,
            settings=files.settings,
            windows=files.windows,
            units=files.settings.units,
            encode=files.text_encoder,
            spelling=files.spelling,
        )
        return query_batch(examples, files.catalogue, torch.arange(len(requests)), files.needs), examples

    def _known(self, product_ids: list[str]) -> np.ndarray:
        return np.fromiter((self._rows.get(name, -1) for name in product_ids), np.int64, count=len(product_ids))

    def _location(self, requests: Sequence[Request]) -> Location:
        def degrees(values: list[float | None]) -> Tensor:
            return torch.tensor([float("nan") if value is None else value for value in values])

        code = self.files.vocabulary.code
        return Location(
            degrees([request.latitude for request in requests]),
            degrees([request.longitude for request in requests]),
            torch.tensor([code("country", request.country) for request in requests], dtype=torch.int64),
        )


class ItemEncoder(_Encoder):
    """Item tower: `encode` gives float32 [n, d] for products in the contract's columns, new products included.

    A product of the training is found by its id and keeps its id vector and neighbour queries; another is encoded from
    its text and fields alone.
    """

    def __init__(self, model_dir: str | Path, engine: str = "torch") -> None:
        super().__init__(model_dir, engine, "item")
        catalogue = self.files.catalogue
        self._id_rows = dict(zip(catalogue.product_ids.tolist(), catalogue.ids.tolist(), strict=True))
        self._graph = self.files.neighbour_queries()

    def encode(self, products: pa.Table) -> np.ndarray:
        """Vectors float32 [n, d], row by row. Raises BadInput for a product without id or title."""
        parts = [
            self._encode(self._batch(products.slice(start, _PRODUCTS)))
            for start in range(0, products.num_rows, _PRODUCTS)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)

    def _batch(self, products: pa.Table) -> ItemBatch:
        files = self.files
        catalogue = build_catalogue(
            products, files.vocabulary, files.settings, files.settings.units, self._id_rows, files.needs,
            files.title_vectors,
        )  # fmt: skip
        if self._graph is not None:
            catalogue = with_graph(catalogue, self._graph, files.vocabulary, files.settings)
        neighbours = files.settings.graph_neighbours if self._graph is not None else 0
        return catalogue.batch(torch.arange(len(catalogue)), neighbours)


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
