"""Everything one server holds, and what its endpoints call: search, embed, add behaviours, explain."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from components.common.errors import BadInput, NotFound, TowerlineError, Unavailable
from components.serving.batching import Batcher
from components.serving.errors import Overloaded
from components.serving.events import Event
from components.serving.explain import explain
from components.serving.flows import Call, Flow, Flows
from components.serving.guard import Guard
from components.serving.loaded_release import LoadedRelease
from components.serving.metrics import Metrics
from components.serving.release_loader import Opener, ReleaseLoader
from components.serving.replies import Reply
from components.serving.requests import SearchRequest
from components.serving.retrieval import Retriever
from components.serving.rollout import ReleaseTable
from components.serving.searches import SearchRecorder
from components.serving.settings import ServingSettings
from components.serving.under_way import Embedding, Features


class OnlineFeatures(Features, Protocol):
    """The online store as the server uses it: histories out, behaviours in."""

    def push(self, events: Sequence[Event]) -> None: ...


class Service:
    """One serving process. `start` loads the release (and raises when it cannot); then `search` and the rest answer."""

    def __init__(
        self,
        workdir: Path,
        settings: ServingSettings,
        metrics: Metrics,
        open_release: Opener,
        features: OnlineFeatures,
        pinned: str | None = None,
    ) -> None:
        self.workdir, self.settings, self.metrics, self.features = Path(workdir), settings, metrics, features
        self.draining = False

        def open_and_probe(directory: Path, release_id: str) -> LoadedRelease:
            try:
                release = open_release(directory, release_id)
                probe(release, features)
            except TowerlineError:
                raise
            except Exception as error:
                first = str(error).splitlines()[0][:200] if str(error) else "no reason given"
                raise BadInput(f"release {release_id} cannot be served ({type(error).__name__}: {first}).") from error
            return release

        self.loader = ReleaseLoader(self.workdir, open_and_probe, settings, metrics, pinned, self._forget)
        self.retriever = Retriever(lambda: self.loader.table, features, settings, metrics, self.loader.record)
        self._searches: Batcher[SearchRequest, Reply] = Batcher(self.retriever.start_answers, settings, metrics)
        self._embeddings: Batcher[SearchRequest, Embedding] = Batcher(
            self.retriever.start_embeddings, settings, metrics
        )
        self._recorder = SearchRecorder(features.push, settings, metrics)
        budget = settings.event_budget_ms / 1000
        self._events = Guard("features", budget, 1, settings.breaker_failures, settings.breaker_seconds)
        self._pushes = Flows("events", 1)

    def start(self) -> None:
        """Loads the release to serve. Raises NotFound, BadInput or what opening it raises."""
        self.loader.start()

    def stop(self) -> None:
        """Ends what runs beside the answers and retires the releases."""
        self._recorder.stop()
        self.loader.stop()

    @property
    def table(self) -> ReleaseTable:
        """The releases loaded now."""
        return self.loader.table

    @property
    def ready(self) -> bool:
        """Can answer a new query: a release is loaded and probed, tower and index respond, no shutdown has begun."""
        guards = self.retriever.guards
        return self.loader.loaded and not self.draining and not guards["tower"].down and not guards["search"].down

    async def search(self, requests: Sequence[SearchRequest]) -> list[Reply]:
        """One reply per request. Raises Overloaded past capacity, or the first request's error."""
        begun = time.perf_counter()
        replies = [self.retriever.cached(request) for request in requests]
        missing = [number for number, reply in enumerate(replies) if reply is None]
        if missing:
            answered = await self._submit(self._searches, "retrieval", [requests[number] for number in missing])
            for number, reply in zip(missing, answered, strict=True):
                replies[number] = reply
        self.metrics.stage_seconds.labels("request").observe(time.perf_counter() - begun)
        moment = self.table.stable.now_us()
        for request in requests:
            self._recorder.add(request, moment)
        return [reply for reply in replies if reply is not None]

    async def embed(self, requests: Sequence[SearchRequest]) -> list[Embedding]:
        """One embedding per request. Raises as `search`."""
        return await self._submit(self._embeddings, "query-tower", requests)

    async def add_events(self, events: Sequence[Event]) -> None:
        """Writes behaviours to the online store. Raises DependencyDown when it does not take them."""

        def push() -> Flow[None]:
            yield Call(self._events, self.features.push, (events,))

        await asyncio.get_running_loop().run_in_executor(None, self._pushes.run, push())
        for event in events:
            self.retriever.replies.epochs.advance(event.user_id)
            self.metrics.events.labels(event.action).inc()

    async def explain(self, request: SearchRequest) -> dict[str, Any]:
        """Why the products of a search are there; see `explain.explain`."""
        loop = asyncio.get_running_loop()
        (reply,) = await self.search([request])
        release = self._release_named(reply.release)

        def reasons() -> dict[str, Any]:
            with release.lease() as open_:
                if not open_:
                    raise Unavailable(f"release {reply.release} was retired a moment ago; ask again.")
                return explain(release, self.retriever, request, reply)

        return await loop.run_in_executor(None, reasons)

    async def _submit(self, batcher: Batcher[Any, Any], model: str, requests: Sequence[SearchRequest]) -> list[Any]:
        try:
            return await batcher.submit(requests)
        except Overloaded:
            self.metrics.requests.labels(model, "overloaded").inc(len(requests))
            raise

    def _release_named(self, release_id: str) -> LoadedRelease:
        for release in self.table.roles().values():
            if release.release_id == release_id:
                return release
        raise NotFound(f"release {release_id} was retired a moment ago; ask again.")

    def _forget(self, table: ReleaseTable) -> None:
        self.retriever.replies.forget_other_releases(table)


def probe(release: LoadedRelease, features: Features) -> None:
    """Raises unless a freshly opened release embeds a query and finds a product: no broken one may be swapped in."""
    asked = SearchRequest("probe", k=1)
    vectors = release.encoder.encode([release.make_request(asked, features.empty(), release.now_us())])
    if tuple(vectors.shape) != (1, release.dimension):
        raise TowerlineError(f"release {release.release_id}: its query tower gives vectors of shape {vectors.shape}.")
    if release.index is None:
        return
    (result,) = release.index.find(vectors, [asked], control=False)
    if not release.index.keep(asked, result, control=False).found.product_ids:
        raise TowerlineError(f"release {release.release_id}: its index finds nothing.")
