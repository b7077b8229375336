"""A time budget around a dependency: an answer within it, or an error at once; never a request that hangs."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from typing import Any, TypeVar

from components.common.errors import BadInput
from components.serving.errors import DependencyDown
from components.serving.structured_logs import log

T = TypeVar("T")


class Guard:
    """Calls one dependency on its own daemon threads, waits at most the budget, and stops asking one that is down.

    After `failures` failures in a row the dependency is left alone for `pause_s` seconds: calls fail at once. Then one
    call tries it again; its success closes the circuit. A call that hangs keeps one thread; when all are taken, further
    calls fail at once too, so neither memory nor latency grows with the outage.
    """

    def __init__(
        self,
        name: str,
        budget_s: float,
        threads: int = 4,
        failures: int = 5,
        pause_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.budget_s, self.threads = name, budget_s, threads
        self._failures_allowed, self._pause_s, self._clock = failures, pause_s, clock
        self._failed_in_row = 0
        self._closed_until = 0.0
        self._trial = False
        self._busy = 0
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        self._started = 0

    @property
    def down(self) -> bool:
        """True while the dependency is left alone after repeated failures."""
        return self._failed_in_row >= self._failures_allowed and self._clock() < self._closed_until

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """The function's answer. Raises DependencyDown when it fails, takes longer than the budget, or is left alone.

        A BadInput passes through unchanged and is no failure of the dependency: the request was wrong.
        """
        future = self._submit(function, arguments)
        try:
            answer = future.result(self.budget_s)
        except BadInput:
            self._settle(None)
            raise
        except TimeoutError as error:
            late = f"no answer in {self.budget_s * 1000:.0f} ms"
            self._settle(late)
            raise DependencyDown(f"{self.name}: {late}") from error
        except Exception as error:
            self._settle(f"{type(error).__name__}: {error}")
            raise DependencyDown(f"{self.name}: failed ({type(error).__name__})", raised=True) from error
        self._settle(None)
        return answer

    def _submit(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> "Future[T]":
        with self._lock:
            if self._failed_in_row >= self._failures_allowed:
                if self._clock() < self._closed_until or self._trial:
                    raise DependencyDown(f"{self.name}: left alone after repeated failures")
                self._trial = True
            if self._busy >= self.threads:
                self._trial = False
                raise DependencyDown(f"{self.name}: all {self.threads} calls under way hang or are slow")
            self._busy += 1
            if self._started < min(self.threads, self._busy):
                self._started += 1
                threading.Thread(target=self._loop, name=f"{self.name}-{self._started}", daemon=True).start()
        future: Future[T] = Future()
        self._work.put((future, function, arguments))
        return future

    def _settle(self, failure: str | None) -> None:
        """Counts an outcome. What failed goes to the log, at the first failure in a row: clients are told less."""
        with self._lock:
            before, self._trial = self._failed_in_row, False
            self._failed_in_row = before + 1 if failure is not None else 0
            if self._failed_in_row >= self._failures_allowed:
                self._closed_until = self._clock() + self._pause_s
        if failure is not None and before == 0:
            log(logging.WARNING, "a dependency failed", dependency=self.name, reason=failure[:500])
        elif failure is None and before >= self._failures_allowed:
            log(logging.INFO, "a dependency answers again", dependency=self.name, failures=before)

    def _loop(self) -> None:
        while True:
            future, function, arguments = self._work.get()
            try:
                answer, error = function(*arguments), None
            except Exception as failure:  # noqa: BLE001 - handed to the caller through the future
                answer, error = None, failure
            with self._lock:
                self._busy -= 1
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)
