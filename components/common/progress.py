"""Progress of long work: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import IO, TypeVar

T = TypeVar("T")
_BAR_WIDTH = 28
_BAR_SECONDS = 0.1
_LINE_SECONDS = 5.0


class Progress:
    """Counts work done and shows it. Use as a context manager and call `advance(n)`.

    A pipeline task runs in a process of its own whose output is captured, so the place to show progress is passed down
    in `TOWERLINE_PROGRESS`: a terminal's device, or a file that the run's own process follows. Without it, standard
    error is used.
    """

    def __init__(self, total: int | None, label: str, unit: str = "rows") -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = 0
        self._note = ""
        self._start = self._shown = time.monotonic()
        self._out, self._terminal = _output()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(finished=kind is None)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Adds `count` units of work done; `note` (a loss, say) is shown behind the rate."""
        self.done += count
        self._note = note or self._note
        now = time.monotonic()
        if now - self._shown >= (_BAR_SECONDS if self._terminal else _LINE_SECONDS):
            self._shown = now
            self._show(now)

    def close(self, finished: bool = True) -> None:
        """Shows the final state; on a terminal the bar is cleared so that only plain results stay on screen."""
        now = time.monotonic()
        if self._terminal:
            self._out.write("\r\033[K")
            self._out.flush()
        elif finished and now - self._start >= _LINE_SECONDS:
            self._show(now)
        if self._out is not sys.stderr:
            self._out.close()

    def _show(self, now: float) -> None:
        seconds = max(now - self._start, 1e-9)
        rate = self.done / seconds
        text = f"{self.label}: {self.done:,}"
        if self.total:
            share = min(self.done / self.total, 1.0)
            left = (self.total - self.done) / rate if rate else 0.0
            bar = "█" * int(share * _BAR_WIDTH) + "░" * (_BAR_WIDTH - int(share * _BAR_WIDTH))
            text = f"{self.label} {bar} " if self._terminal else f"{self.label}: "
            text += f"{share:4.0%} {self.done:,}/{self.total:,} {self.unit}, {_per_second(rate)}, {_clock(left)} left"
        else:
            text += f" {self.unit}, {_per_second(rate)}"
        if self._note:
            text += f", {self._note}"
        self._out.write(f"\r\033[K{text}" if self._terminal else f"{text}\n")
        self._out.flush()


def track(iterable: Iterable[T], total: int | None = None, label: str = "", unit: str = "rows") -> Iterator[T]:
    """Yields the items of `iterable` and shows progress while they are worked on."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(total, label, unit) as progress:
        for item in iterable:
            yield item
            progress.advance()


def _output() -> tuple[IO[str], bool]:
    path = os.environ.get("TOWERLINE_PROGRESS")
    if not path:
        return sys.stderr, sys.stderr.isatty()
    try:
        out = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by Progress.close
    except OSError:
        return sys.stderr, sys.stderr.isatty()
    return out, out.isatty()


def _per_second(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"
