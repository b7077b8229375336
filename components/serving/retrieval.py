"""The request path: features, query tower, search, relevance control; and what happens when one of them fails.

| what fails | what the shopper gets | `degraded` says |
| --- | --- | --- |
| feature store: an error, or past its budget | the anonymous tower's answer | features: ... |
| query tower, on this shopper's history only | the anonymous tower's answer | tower: ... |
| query tower or index | the last good result of the same query and filter | tower: ... / search: ... |
| the same, and there is no last good result | 503 | |
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from components.common.errors import BadInput, TowerlineError, Unavailable
from components.serving.errors import DependencyDown
from components.serving.flows import Call, Done, Flow, Flows
from components.serving.guard import Guard
from components.serving.loaded_release import Found, LoadedRelease
from components.serving.metrics import Metrics
from components.serving.replies import Replies, Reply
from components.serving.requests import SearchRequest
from components.serving.rollout import ReleaseTable
from components.serving.settings import ServingSettings
from components.serving.tower import TowerInput, embed
from components.serving.under_way import Embedding, Features, Search


class Retriever:
    """Answers batches of searches. Thread-safe; `start_answers` and `start_embeddings` return at once, the rest blocks.

    `table` gives the loaded releases, `record(release, failed, seconds)` hears of every outcome.
    """

    def __init__(
        self,
        table: Callable[[], ReleaseTable],
        features: Features,
        settings: ServingSettings,
        metrics: Metrics,
        record: Callable[[str, bool, float], None] = lambda release, failed, seconds: None,
    ) -> None:
        self._table, self._features, self._settings, self._metrics = table, features, settings, metrics
        self._record = record
        self.replies = Replies(settings, metrics)
        self._batches = Flows("batch", settings.parallel_batches)
        self._aside = Flows("aside", 1)

        def guard(name: str, budget_ms: float) -> Guard:
            failures, pause = settings.breaker_failures, settings.breaker_seconds
            return Guard(name, budget_ms / 1000, settings.dependency_threads, failures, pause)

        self.guards = {
            "features": guard("features", settings.feature_budget_ms),
            "tower": guard("tower", settings.tower_budget_ms),
            "search": guard("search", settings.search_budget_ms),
        }

    def cached(self, request: SearchRequest) -> Reply | None:
        """The reply under the session key, or None: no look-up and no tower, so the event loop may call it."""
        if request.session_id is None:
            return None
        reply = self.replies.of_session(self._table().choose(request).release_id, request)
        if reply is not None:
            self._metrics.requests.labels("retrieval", "ok").inc()
        return reply

    def answer(self, requests: Sequence[SearchRequest]) -> list[Reply | TowerlineError]:
        """One reply or error per request, in order. What is wrong with one request never touches the others."""
        return self._aside.run(self._run("retrieval", requests, self._retrieve))

    def embed(self, requests: Sequence[SearchRequest]) -> list[Embedding | TowerlineError]:
        """One embedding or error per request, in order."""
        return self._aside.run(self._run("query-tower", requests, self._embed_only))

    def start_answers(self, requests: Sequence[SearchRequest], done: Done) -> None:
        """As `answer`, for a batch of the server: `done` gets the replies, on another thread."""
        self._batches.start(self._run("retrieval", requests, self._retrieve), done)

    def start_embeddings(self, requests: Sequence[SearchRequest], done: Done) -> None:
        """As `embed`, for a batch of the server: `done` gets the embeddings, on another thread."""
        self._batches.start(self._run("query-tower", requests, self._embed_only), done)

    def _run(
        self, model: str, requests: Sequence[SearchRequest], stages: Callable[..., Flow[list[Any]]]
    ) -> Flow[list[Any]]:
        begun = time.perf_counter()
        table = self._table()
        answers: list[Any] = [None] * len(requests)
        groups: dict[LoadedRelease, list[int]] = {}
        moments: dict[int, int] = {}
        for number, request in enumerate(requests):
            try:
                release = table.choose(request)
                release.check_filter(request)
                groups.setdefault(release, []).append(number)
                moments[number] = release.now_us()
            except TowerlineError as error:
                answers[number] = error
        searches = yield from self._look_up([(requests[number], moment) for number, moment in moments.items()])
        waiting = dict(zip(moments, searches, strict=True))
        for release, numbers in groups.items():
            with release.lease() as open_:
                retired = Unavailable(f"release {release.release_id} was retired a moment ago; try again.")
                done: list[Any] = [retired] * len(numbers)
                if open_:
                    done = yield from stages(release, [waiting[n] for n in numbers])
            for number, answer in zip(numbers, done, strict=True):
                answers[number] = answer
                self._account(model, release.release_id, answer, time.perf_counter() - begun)
        return answers

    def history(self, user_id: str) -> Any:
        """A shopper's history, within the budget of the store. Raises DependencyDown."""

        def read() -> Flow[Any]:
            found = yield Call(self.guards["features"], self._features.histories, ([user_id],))
            return found[0]

        return self._aside.run(read())

    def look_up(self, requests: Sequence[tuple[SearchRequest, int]]) -> list[Search]:
        """Each request, at its moment, with its history; a store that is down makes every shopper anonymous."""
        return self._aside.run(self._look_up(requests))

    def _look_up(self, requests: Sequence[tuple[SearchRequest, int]]) -> Flow[list[Search]]:
        empty = self._features.empty()
        searches = []
        for request, now_us in requests:
            history = empty if request.history is None else self._features.given(request.history)
            moment = now_us if request.now is None else request.now
            searches.append(Search(request, history, moment, self.replies.epochs.of(request.user_id)))
        known = [search for search in searches if search.request.user_id and search.request.history is None]
        if known:
            users = sorted({str(search.request.user_id) for search in known})
            begun = time.perf_counter()
            try:
                found = yield Call(self.guards["features"], self._features.histories, (users,))
                histories = dict(zip(users, found, strict=True))
                for search in known:
                    search.history = histories[str(search.request.user_id)]
            except DependencyDown as error:
                for search in known:
                    search.degraded.append(f"{error}; searched as anonymous")
            self._observe("features", begun)
        return searches

    def _retrieve(self, release: LoadedRelease, searches: list[Search]) -> Flow[list[Reply | TowerlineError]]:
        for search in searches:
            if not search.degraded:
                search.reply = self.replies.of_features(
                    release.release_id, search.request, search.history, search.now_us
                )
        yield from self._towers(release, [search for search in searches if search.reply is None])
        ready = [search for search in searches if search.vector is not None]
        if ready:
            yield from self._search(release, ready)
        return [self._reply(release, search) for search in searches]

    def _embed_only(self, release: LoadedRelease, searches: list[Search]) -> Flow[list[Embedding | TowerlineError]]:
        yield from self._towers(release, searches)
        made: list[Embedding | TowerlineError] = []
        for search in searches:
            if search.vector is None:
                made.append(search.error or Unavailable("tower: no vector"))
            else:
                made.append(Embedding(search.vector, release.release_id, tuple(search.degraded)))
        return made

    def _towers(self, release: LoadedRelease, searches: list[Search]) -> Flow[None]:
        if not searches:
            return
        begun = time.perf_counter()
        inputs = [TowerInput(search.request, search.history, search.now_us) for search in searches]
        embedded = yield from embed(self.guards["tower"], release, inputs, self._features.empty())
        for search, made in zip(searches, embedded, strict=True):
            search.vector, search.error = made.vector, made.error
            if made.degraded:
                search.degraded.append(made.degraded)
        self._observe("tower", begun)

    def _search(self, release: LoadedRelease, searches: list[Search]) -> Flow[None]:
        try:
            results = yield Call(self.guards["search"], self._search_and_control, (release, searches))
        except (DependencyDown, BadInput) as error:
            for search in searches:
                search.error = error
            return
        for search, found in zip(searches, results, strict=True):
            search.found = found

    def _search_and_control(self, release: LoadedRelease, searches: list[Search]) -> list[Found]:
        if release.index is None:
            raise BadInput("this server embeds queries only; ask a server of the role all or transformer.")
        control = self._settings.relevance
        vectors = np.stack([search.vector for search in searches if search.vector is not None])  # [n, d]
        begun = time.perf_counter()
        results = release.index.find(vectors, [search.request for search in searches], control)
        self._observe("search", begun)
        begun = time.perf_counter()
        kept = [
            release.index.keep(search.request, result, control)
            for search, result in zip(searches, results, strict=True)
        ]
        self._observe("control", begun)
        for item in kept:
            self._metrics.controlled_share.observe(item.removed / max(1, item.fetched))
        return [item.found for item in kept]

    def _reply(self, release: LoadedRelease, search: Search) -> Reply | TowerlineError:
        if search.reply is not None:
            return search.reply
        if search.found is not None:
            reply = Reply(search.found, release.release_id, tuple(search.degraded))
            self.replies.keep(reply, search.request, search.epoch, search.history, search.now_us)
            return reply
        error = search.error or Unavailable("search: no result")
        kept = None if isinstance(error, BadInput) else self.replies.last_good(search.request)
        if kept is None:
            return error
        why = f"{error}; this is the last good result of the query"
        return replace(kept, degraded=(*search.degraded, why))

    def _account(self, model: str, release: str, answer: Any, seconds: float) -> None:
        if isinstance(answer, BadInput):
            self._metrics.requests.labels(model, "bad").inc()
            return
        failed = isinstance(answer, TowerlineError)
        degraded = () if failed else answer.degraded
        self._metrics.requests.labels(model, "failed" if failed else "degraded" if degraded else "ok").inc()
        for reason in degraded:
            self._metrics.degraded.labels(reason.split(":", 1)[0]).inc()
        broken = failed or any(not reason.startswith("features") for reason in degraded)
        self._record(release, broken, seconds)

    def _observe(self, stage: str, begun: float) -> None:
        self._metrics.stage_seconds.labels(stage).observe(time.perf_counter() - begun)
