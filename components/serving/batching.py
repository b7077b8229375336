"""Concurrent requests share calls of the tower and the index; past its capacity the server refuses at once."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from components.serving.errors import Overloaded
from components.serving.flows import Done
from components.serving.metrics import Metrics
from components.serving.settings import ServingSettings

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass
class _Waiting(Generic[Q, A]):
    item: Q
    answer: "asyncio.Future[A]"
    since: float


class Batcher(Generic[Q, A]):
    """Collects what arrives while the last batch runs, and has it answered together.

    `start(items, done)` is called with at most `max_batch` items and returns at once; `done` takes one answer or error
    per item, in order, on any thread. With no load a request is taken at once: batches form only when requests wait
    anyway (`batch_window_ms` can force a wait). `submit` must be called from one event loop.
    """

    def __init__(
        self,
        start: Callable[[Sequence[Q], Done], None],
        settings: ServingSettings,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._start, self._settings, self._metrics = start, settings, metrics
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._in_flight = 0
        self._running = 0

    async def submit(self, items: Sequence[Q]) -> list[A]:
        """The answers to `items`, in order. Raises Overloaded at once past capacity, else the first item's error."""
        wait = self._settings.retry_after_seconds
        if self._in_flight + len(items) > self._settings.capacity:
            raise Overloaded(
                f"the server is at its capacity of {self._settings.capacity} searches; retry in {wait} s.", wait
            )
        loop = asyncio.get_running_loop()
        waiting: list[_Waiting[Q, A]] = [_Waiting(item, loop.create_future(), self._clock()) for item in items]
        self._in_flight += len(items)
        self._metrics.waiting.set(self._in_flight)
        self._queue.extend(waiting)
        loop.call_soon(self._begin_batches, loop)  # what arrives in the same turn of the loop goes together
        try:
            if len(waiting) == 1:
                return [await waiting[0].answer]
            return list(await asyncio.gather(*(entry.answer for entry in waiting)))
        finally:
            self._in_flight -= len(items)
            self._metrics.waiting.set(self._in_flight)

    def _begin_batches(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._queue and self._running < self._settings.parallel_batches:
            self._running += 1
            if self._settings.batch_window_ms and len(self._queue) < self._settings.max_batch:
                loop.call_later(self._settings.batch_window_ms / 1000, self._begin, loop)
                return
            self._begin(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        if not batch:
            self._running -= 1
            return
        self._metrics.batch_size.observe(len(batch))

        def done(answers: Sequence[A | Exception] | None, error: Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver, batch, answers, error, loop)

        self._start([entry.item for entry in batch], done)

    def _deliver(
        self,
        batch: list[_Waiting[Q, A]],
        answers: Sequence[A | Exception] | None,
        error: Exception | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._running -= 1
        self._begin_batches(loop)
        outcomes: Sequence[A | Exception | None] = [error] * len(batch) if answers is None else answers
        for entry, outcome in zip(batch, outcomes, strict=True):
            if entry.answer.done():
                continue
            if isinstance(outcome, Exception):
                entry.answer.set_exception(outcome)
            else:
                entry.answer.set_result(outcome)  # type: ignore[arg-type]

    def _take(self) -> list[_Waiting[Q, A]]:
        batch: list[_Waiting[Q, A]] = []
        now = self._clock()
        queue_stage = self._metrics.stage_seconds.labels("queue")
        while self._queue and len(batch) < self._settings.max_batch:
            entry = self._queue.popleft()
            if entry.answer.done():
                continue
            waited = now - entry.since
            queue_stage.observe(waited)
            if waited * 1000 > self._settings.queue_budget_ms:
                late = f"the search waited {waited:.1f} s for its turn; the server is overloaded."
                entry.answer.set_exception(Overloaded(late, self._settings.retry_after_seconds))
                continue
            batch.append(entry)
        return batch
