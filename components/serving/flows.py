"""Runs work that calls dependencies within time budgets, without a change of thread where they answer in time.

A flow is a generator. Where it needs a dependency it yields a `Call` and gets the answer back, or DependencyDown. Its
thread makes the call itself; when the call is past its budget, another thread goes on with the flow from that yield,
and the first one, once its call returns, finds itself replaced and ends. A handover between threads costs more than a
search in memory does, and on a busy machine a time slice; so only what is late pays for it.
"""

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from components.serving.errors import DependencyDown
from components.serving.guard import Guard

T = TypeVar("T")
_TICK_SECONDS = 0.01
"""How often budgets are looked at; they are ten times that and more."""


@dataclass(frozen=True)
class Call:
    """One call of a dependency: `function(*arguments)` within the budget of `guard`."""

    guard: Guard
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


Flow = Generator[Call, Any, T]
Done = Callable[[Any, Exception | None], None]
"""Takes a flow's result, or the error it ended with; called on the thread that ended it."""


@dataclass
class _Job:
    """A flow, whom to tell, and what the flow is to be told next (an Exception is thrown into it)."""

    flow: Flow[Any]
    done: Done
    told: Any = None


@dataclass
class _Worker:
    inbox: "queue.SimpleQueue[_Job]" = field(default_factory=queue.SimpleQueue)


class Flows:
    """At most `threads` flows at a time, beside those that hang; more wait in order. Threads are daemons.

    The thread that worked last is taken first: its data are still in the processor's caches.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._limit = name, threads
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._waiting: deque[_Job] = deque()
        self._started = 0
        self._numbers = itertools.count()
        self._under_way: dict[int, tuple[float, Call, _Job]] = {}
        self._watching = False

    def run(self, flow: Flow[T]) -> T:
        """The flow's result; blocks. Raises what the flow raises."""
        future: Future[T] = Future()

        def done(result: Any, error: Exception | None) -> None:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.start(flow, done)
        return future.result()

    def start(self, flow: Flow[Any], done: Done) -> None:
        """Begins a flow and returns; `done` is called when it ends."""
        job = _Job(flow, done)
        with self._lock:
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name=f"{self._name}-budgets", daemon=True).start()
            if not self._idle and self._started >= self._limit:
                self._waiting.append(job)
                return
            worker = self._idle.pop() if self._idle else None
            self._started += worker is None
        if worker is None:
            self._start_worker(job)
        else:
            worker.inbox.put(job)

    def _start_worker(self, job: _Job) -> None:
        name = f"{self._name}-{next(self._numbers)}"
        threading.Thread(target=self._work, args=(_Worker(), job), name=name, daemon=True).start()

    def _work(self, worker: _Worker, job: _Job | None) -> None:
        while True:
            if not self._drive(job or worker.inbox.get()):
                return
            with self._lock:
                job = self._waiting.popleft() if self._waiting else None
                if job is None:
                    self._idle.append(worker)

    def _drive(self, job: _Job) -> bool:
        """Takes a flow to its end; False when another thread has taken it over."""
        while True:
            try:
                told, job.told = job.told, None
                call = job.flow.throw(told) if isinstance(told, Exception) else job.flow.send(told)
            except StopIteration as end:
                job.done(end.value, None)
                return True
            except Exception as error:  # noqa: BLE001 - whoever waits for the flow must hear of it
                job.done(None, error)
                return True
            try:
                call.guard.enter()
            except DependencyDown as down:
                job.told = down
                continue
            if not self._make(call, job):
                return False

    def _make(self, call: Call, job: _Job) -> bool:
        """Makes a call and notes its outcome in the job; False when that came too late."""
        number = next(self._numbers)
        self._under_way[number] = (time.monotonic() + call.guard.budget_s, call, job)
        answer, error = None, None
        try:
            answer = call.function(*call.arguments)
        except Exception as raised:  # noqa: BLE001 - the flow is told
            error = raised
        call.guard.leave()
        if self._under_way.pop(number, None) is None:  # whoever removes it goes on with the flow
            return False
        if error is None:
            call.guard.answered()
            job.told = answer
        else:
            job.told = call.guard.raised(error)
        return True

    def _watch(self) -> None:
        while True:
            time.sleep(_TICK_SECONDS)
            now = time.monotonic()
            for number, (deadline, call, job) in list(self._under_way.items()):
                if now > deadline and self._under_way.pop(number, None) is not None:
                    job.told = call.guard.late()
                    self._start_worker(job)
