"""What a dependency may cost: how long a call may take, how many may hang, when it is left alone."""

import logging
import threading
import time
from collections.abc import Callable

from components.common.errors import BadInput
from components.serving.errors import DependencyDown
from components.serving.structured_logs import log


class Guard:
    """The budget and the circuit of one dependency. Calls under it are made by `flows.Flows`. Thread-safe.

    After `failures` failures in a row the dependency is left alone for `pause_s` seconds: calls fail at once. Then one
    call tries it again; its success closes the circuit. A call that hangs keeps one thread; when `threads` of them
    hang, further calls fail at once too, so neither memory nor latency grows with the outage.
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

    @property
    def down(self) -> bool:
        """True while the dependency is left alone after repeated failures."""
        return self._failed_in_row >= self._failures_allowed and self._clock() < self._closed_until

    def enter(self) -> None:
        """Before a call. Raises DependencyDown when there is to be none; otherwise `leave` follows when it returned."""
        with self._lock:
            if self._failed_in_row >= self._failures_allowed:
                if self._clock() < self._closed_until or self._trial:
                    raise DependencyDown(f"{self.name}: left alone after repeated failures")
                self._trial = True
            if self._busy >= self.threads:
                self._trial = False
                raise DependencyDown(f"{self.name}: all {self.threads} calls under way hang or are slow")
            self._busy += 1

    def leave(self) -> None:
        """After a call that `enter` let through, in time or not."""
        with self._lock:
            self._busy -= 1

    def answered(self) -> None:
        """Counts a call that answered in time."""
        self._settle(None)

    def raised(self, error: Exception) -> Exception:
        """Counts a call that raised in time; returns what its caller gets.

        A BadInput stays as it is and is no failure of the dependency: the request was wrong.
        """
        if isinstance(error, BadInput):
            self._settle(None)
            return error
        self._settle(f"{type(error).__name__}: {error}")
        down = DependencyDown(f"{self.name}: failed ({type(error).__name__})", raised=True)
        down.__cause__ = error
        return down

    def late(self) -> DependencyDown:
        """Counts a call that is past its budget; returns what its caller gets."""
        sentence = f"no answer in {self.budget_s * 1000:.0f} ms"
        self._settle(sentence)
        return DependencyDown(f"{self.name}: {sentence}")

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
