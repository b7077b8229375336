"""A shopper's searches join the history that the next one is answered with; written behind the answers, never before.

A push takes a millisecond or two of a core and, with SQLite, a flush of the disk: longer than an answer. So one thread
writes, for at most a share of its time; what comes faster than that is dropped and counted. A shop with more traffic
sends its searches to the online store from its event stream, and switches this off.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from components.serving.cache import BoundedCache
from components.serving.events import Event
from components.serving.metrics import Metrics
from components.serving.requests import SearchRequest
from components.serving.settings import ServingSettings
from components.serving.structured_logs import log

_REMEMBERED = 10_000
_STOP_SECONDS = 2.0


class SearchRecorder:
    """Writes answered searches with `push(events)` on a thread of its own, which starts with the first search."""

    def __init__(
        self,
        push: Callable[[Sequence[Event]], None],
        settings: ServingSettings,
        metrics: Metrics,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._push, self._share, self._metrics = push, settings.record_share, metrics
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._waiting: queue.Queue[Event] = queue.Queue(settings.record_waiting)
        self._seen: BoundedCache[bool] = BoundedCache(_REMEMBERED, settings.record_again_seconds)
        self._thread: threading.Thread | None = None
        self._on = settings.record_searches
        self._failing = False

    def add(self, request: SearchRequest, moment_us: int) -> None:
        """Takes a search that was answered at a moment (microseconds since the epoch); never blocks, never raises.

        Left out: nobody's searches, those whose caller asks for it, those with a history or a moment of their own
        (replays), and the same query of the same shopper again (paging).
        """
        if (
            not self._on
            or not request.record
            or request.user_id is None
            or request.history is not None
            or request.now is not None
        ):
            return
        key = (request.user_id, request.query)
        if self._seen.get(key):
            return self._count("repeated")
        try:
            self._waiting.put_nowait(Event(request.user_id, "search", moment_us, query=request.query))
        except queue.Full:
            return self._count("dropped")
        self._seen.put(key, True)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="searches", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the write under way; what still waits is counted as dropped."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        while not self._waiting.empty():
            self._waiting.get_nowait()
            self._count("dropped")

    def _write(self) -> None:
        while not self._stopping.is_set():
            try:
                event = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            begun = time.perf_counter()
            try:
                self._push([event])
            except Exception as error:  # noqa: BLE001 - whatever the store raises, searches are answered
                if not self._failing:
                    log(logging.WARNING, "searches are not recorded", reason=str(error))
                self._failing = True
                self._count("failed")
            else:
                self._failing = False
                self._count("written")
            self._sleep((time.perf_counter() - begun) * (1 / self._share - 1))

    def _count(self, outcome: str) -> None:
        self._metrics.recorded.labels(outcome).inc()
