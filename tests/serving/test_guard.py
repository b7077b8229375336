"""A dependency answers within its budget, or the caller hears at once that it did not."""

import threading
import time

import pytest

from components.common.errors import BadInput
from components.serving.errors import DependencyDown
from components.serving.guard import Guard


class Clock:
    """A clock that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail() -> None:
    raise RuntimeError("no")


def test_an_answer_passes_through() -> None:
    assert Guard("store", 5.0).call(lambda x: x + 1, 1) == 2


def test_a_slow_answer_is_not_waited_for() -> None:
    """The caller is back after the budget, not after the dependency."""
    release = threading.Event()
    guard, begun = Guard("store", 0.05), time.monotonic()
    with pytest.raises(DependencyDown, match="no answer in 50 ms"):
        guard.call(release.wait, 20)
    assert time.monotonic() - begun < 10
    release.set()


def test_hanging_calls_cannot_take_more_than_their_threads() -> None:
    """With every thread hanging the next call fails without waiting for the budget."""
    release = threading.Event()
    guard = Guard("store", 0.02, threads=2, failures=100)
    for _ in range(2):
        with pytest.raises(DependencyDown, match="no answer"):
            guard.call(release.wait, 20)
    with pytest.raises(DependencyDown, match="under way"):
        guard.call(release.wait, 20)
    release.set()


def test_a_dependency_that_fails_again_and_again_is_left_alone_then_tried_once() -> None:
    """Closed after `failures` failures, one trial after the pause, open again after a success."""
    clock, asked = Clock(), []
    guard = Guard("store", 5.0, failures=2, pause_s=10.0, clock=clock)

    def ask(works: bool) -> str:
        asked.append(works)
        if not works:
            fail()
        return "answer"

    for _ in range(4):
        with pytest.raises(DependencyDown):
            guard.call(ask, False)
    assert len(asked) == 2
    assert guard.down
    clock.now = 11.0
    assert not guard.down
    assert guard.call(ask, True) == "answer"
    assert guard.call(ask, True) == "answer"


def test_a_failed_trial_closes_the_circuit_again() -> None:
    clock = Clock()
    guard = Guard("store", 5.0, failures=1, pause_s=10.0, clock=clock)
    for moment in (0.0, 11.0):
        clock.now = moment
        with pytest.raises(DependencyDown, match="RuntimeError"):
            guard.call(fail)
        with pytest.raises(DependencyDown, match="left alone"):
            guard.call(lambda: "fine")


def test_a_wrong_request_is_no_failure_of_the_dependency() -> None:
    """A BadInput reaches the caller as it is and never closes the circuit."""
    guard = Guard("store", 5.0, failures=1)

    def refuse() -> None:
        raise BadInput("the request is wrong")

    for _ in range(3):
        with pytest.raises(BadInput, match="the request is wrong"):
            guard.call(refuse)
    assert guard.call(lambda: 1) == 1
