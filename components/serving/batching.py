"""Concurrent requests share calls of the tower and the index; past its capacity the server refuses at once."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from components.common.errors import TowerlineError
from components.serving.errors import Overloaded
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
    """Collects what arrives while the last batch runs, and answers it together on a worker thread.

    `answer(items)` is called with at most `max_batch` items and returns one answer or error per item, in order. With
    no load a request is taken at once: batches form only when requests wait anyway (`batch_window_ms` can force a
    wait). `submit` must be called from one event loop.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | TowerlineError]],
        settings: ServingSettings,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._answer, self._settings, self._metrics = answer, settings, metrics
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(settings.parallel_batches, thread_name_prefix="batch")

    @property
    def in_flight(self) -> int:
        """Items waiting or in work."""
        return self._in_flight

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
        self._start_worker()
        try:
            return list(await asyncio.gather(*(entry.answer for entry in waiting)))
        finally:
            self._in_flight -= len(items)
            self._metrics.waiting.set(self._in_flight)

    def _start_worker(self) -> None:
        if len(self._tasks) < self._settings.parallel_batches:
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            if self._settings.batch_window_ms and len(self._queue) < self._settings.max_batch:
                await asyncio.sleep(self._settings.batch_window_ms / 1000)
            batch = self._take()
            if not batch:
                continue
            self._metrics.batch_size.observe(len(batch))
            try:
                answers = await loop.run_in_executor(self._threads, self._answer, [entry.item for entry in batch])
            except Exception as error:  # noqa: BLE001 - every waiting client must hear of it
                answers = [error] * len(batch)  # type: ignore[list-item]
            for entry, answer in zip(batch, answers, strict=True):
                if entry.answer.done():
                    continue
                if isinstance(answer, BaseException):
                    entry.answer.set_exception(answer)
                else:
                    entry.answer.set_result(answer)

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
