"""Opening a release for serving: its files verified, its query tower on ONNX Runtime, its index, its catalogue."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.common.errors import BadInput
from components.common.files import read_json
from components.common.manifest import Release, read_release, verify_files
from components.common.settings import from_overrides
from components.index.settings import IndexSettings
from components.serving.clock import clock_of
from components.serving.loaded_release import Encoder, Found, Kept, LoadedRelease
from components.serving.requests import SearchRequest
from components.serving.server import Backends
from components.serving.settings import ServingSettings
from components.serving.structured_logs import log

if TYPE_CHECKING:
    from components.serving.online_store import OnlineStore


def open_backends(workdir: Path, settings: ServingSettings, release_id: str) -> Backends:
    """The real backends of a server that begins with a release; its feature store is open and warm when this returns.

    A later release that was made with another feature store is served with the first one's, and the log says so.
    """
    from components.serving.metrics import keep_metrics_in_memory

    keep_metrics_in_memory()
    compute_on_one_thread()
    store = online_store(read_release(workdir, release_id), workdir, settings)
    store.warm()

    def opener(directory: Path, release_id: str) -> LoadedRelease:
        made_with = read_release(directory, release_id).environment
        if settings.environment == "auto" and made_with != store.environment:
            sentence = "the release was made with another feature store; restart the server to read that one"
            log(logging.WARNING, sentence, release=release_id, made_with=made_with, read=store.environment)
        return open_release(directory, release_id, settings)

    return Backends(opener, store, store.shoppers)


def online_store(release: Release, workdir: Path, settings: ServingSettings) -> "OnlineStore":
    """The feature store of the settings, or with `auto` the one that the release was made with."""
    from components.serving.online_store import OnlineStore

    automatic = settings.environment == "auto"
    return OnlineStore(workdir, release.environment if automatic else settings.environment)


def compute_on_one_thread() -> None:
    """One thread for each call of torch: the small tensors of a request gain nothing from more.

    On a busy machine the threads of one call wait for each other: with two, a request took ten times as long.
    """
    import torch

    torch.set_num_threads(1)


def open_release(workdir: Path, release_id: str, settings: ServingSettings) -> LoadedRelease:
    """A release in memory. Raises NotFound or BadInput for one that is incomplete or was changed after it was made."""
    from components.index.filters import Filter
    from components.index.search import open_search
    from components.serving.lexical import LexicalIndex
    from components.towers.encoder import QueryEncoder, Request

    release = read_release(workdir, release_id)
    verify_files(release)
    encoder: Encoder
    if settings.role == "transformer":
        from components.serving.remote_tower import RemoteTower

        encoder = RemoteTower(settings.predictor_url, release_id, settings.tower_budget_ms / 1000)
    else:
        encoder = QueryEncoder(release.path("towers"), engine="onnx")
    searcher = open_search(release, index_settings(release))
    if isinstance(encoder, QueryEncoder) and encoder.dimension != searcher.dimension:
        raise BadInput(
            f"release {release_id}: its query tower gives {encoder.dimension} numbers and its index holds vectors of "
            f"{searcher.dimension}; rebuild it."
        )

    def make_request(request: SearchRequest, history: Any, now_us: int) -> Request:
        return Request(request.query, history, now_us, request.latitude, request.longitude, request.country)

    return LoadedRelease(
        release_id,
        encoder,
        None if settings.role == "predictor" else ReleaseIndex(searcher),
        searcher.dimension,
        make_request,
        products=searcher.products,
        vectors=searcher.vectors_of,
        boosts=searcher.boosts_of,
        knows=lambda name, value: not searcher.notes(Filter.from_mapping({name: value})),
        absent=searcher.products.absent,
        simulated=release.simulated,
        model=release.model,
        lexical=LexicalIndex(lambda: _titles(release.path("index", "products.parquet"))).search,
        now_us=clock_of(settings.clock, release.simulated, release.log, release.created_at),
        close=searcher.close,
    )


def _titles(path: Path) -> tuple[list[str], list[str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["product_id", "title"])
    return table.column("product_id").to_pylist(), [title or "" for title in table.column("title").to_pylist()]


def index_settings(release: Release) -> IndexSettings:
    """The settings of the index that the release was made with: it is searched as it was evaluated."""
    return from_overrides(IndexSettings, read_json(release.path("index", "search.json"))["settings"])


class ReleaseIndex:
    """The index room's searcher and its relevance control behind the `Index` of a loaded release."""

    def __init__(self, searcher: Any) -> None:
        from components.index.filters import Filter

        self._searcher, self._control, self._filter = searcher, searcher.relevance, Filter

    def find(
        self, vectors: np.ndarray, requests: Sequence[SearchRequest], control: bool
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows and scores of each query, best first; one search for all, as deep as the deepest needs."""
        controlled = [control and request.relevance for request in requests]
        depths = [
            self._control.fetch(request.query, request.k) if wanted else request.k
            for request, wanted in zip(requests, controlled, strict=True)
        ]
        filters = [self._filter(**dict(request.filter)) if request.filter else None for request in requests]
        within = None
        if self._control.mode == "inside" and any(controlled):
            within = [
                self._control.limit(request.query)[0] if wanted else None
                for request, wanted in zip(requests, controlled, strict=True)
            ]
        return self._searcher.find(vectors, max(depths), filters, within)

    def keep(self, request: SearchRequest, result: tuple[np.ndarray, np.ndarray], control: bool) -> Kept:
        """The best k after relevance control, as product ids and scores."""
        rows, scores = result
        removed = 0
        fetched = len(rows)
        if control and request.relevance and self._control.mode == "after":
            kept = self._control.apply(request.query, result, request.k)
            rows, scores, removed = kept.rows, kept.scores, kept.removed
        ids = self._searcher.products.ids
        best = rows[: request.k].tolist()
        return Kept(Found(tuple(ids[row] for row in best), tuple(scores[: request.k].tolist())), fetched, removed)

    def terms(self, query: str, product_id: str) -> tuple[tuple[str, str], ...]:
        """The key terms of the query that a product carries, as (kind, value)."""
        row = self._searcher.products.row_of.get(product_id)
        if row is None:
            return ()
        return tuple((term.kind, term.value) for term in self._control.carried(query, row))
