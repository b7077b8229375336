"""A dependency answers within its budget, or the flow that asked hears at once that it did not."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from components.common.errors import BadInput
from components.serving.errors import DependencyDown
from components.serving.flows import Call, Flow, Flows
from components.serving.guard import Guard

FLOWS = Flows("test", 2)


def call(guard: Guard, function: Callable[..., Any], *arguments: Any) -> Any:
    """One guarded call as a flow of its own."""

    def flow() -> Flow[Any]:
        return (yield Call(guard, function, arguments))

    return FLOWS.run(flow())


class Clock:
    """A clock that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail() -> None:
    raise RuntimeError("no")


def test_an_answer_passes_through() -> None:
    assert call(Guard("store", 5.0), lambda x: x + 1, 1) == 2


def test_a_slow_answer_is_not_waited_for() -> None:
    """The caller is back after the budget, not after the dependency."""
    release = threading.Event()
    guard, begun = Guard("store", 0.05), time.monotonic()
    with pytest.raises(DependencyDown, match="no answer in 50 ms"):
        call(guard, release.wait, 20)
    assert time.monotonic() - begun < 10
    release.set()


def test_hanging_calls_cannot_take_more_than_their_threads() -> None:
    """With every thread hanging the next call fails without waiting for the budget."""
    release = threading.Event()
    guard = Guard("store", 0.02, threads=2, failures=100)
    for _ in range(2):
        with pytest.raises(DependencyDown, match="no answer"):
            call(guard, release.wait, 20)
    with pytest.raises(DependencyDown, match="under way"):
        call(guard, release.wait, 20)
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
            call(guard, ask, False)
    assert len(asked) == 2
    assert guard.down
    clock.now = 11.0
    assert not guard.down
    assert call(guard, ask, True) == "answer"
    assert call(guard, ask, True) == "answer"


def test_a_failed_trial_closes_the_circuit_again() -> None:
    clock = Clock()
    guard = Guard("store", 5.0, failures=1, pause_s=10.0, clock=clock)
    for moment in (0.0, 11.0):
        clock.now = moment
        with pytest.raises(DependencyDown, match="RuntimeError"):
            call(guard, fail)
        with pytest.raises(DependencyDown, match="left alone"):
            call(guard, lambda: "fine")


def test_while_one_call_tries_the_others_still_fail_at_once() -> None:
    clock = Clock()
    guard = Guard("store", 5.0, failures=1, pause_s=10.0, clock=clock)
    with pytest.raises(DependencyDown):
        call(guard, fail)
    clock.now = 11.0
    guard.enter()
    with pytest.raises(DependencyDown, match="left alone"):
        guard.enter()
    guard.leave()
    guard.answered()
    assert call(guard, lambda: "fine") == "fine"


def test_a_trial_that_finds_every_thread_hanging_is_made_again_when_one_comes_back() -> None:
    clock = Clock()
    guard = Guard("store", 5.0, threads=1, failures=1, pause_s=10.0, clock=clock)
    guard.enter()
    guard.late()
    clock.now = 11.0
    with pytest.raises(DependencyDown, match="under way"):
        guard.enter()
    guard.leave()
    assert call(guard, lambda: "fine") == "fine"


def test_a_wrong_request_is_no_failure_of_the_dependency() -> None:
    """A BadInput reaches the caller as it is and never closes the circuit."""
    guard = Guard("store", 5.0, failures=1)

    def refuse() -> None:
        raise BadInput("the request is wrong")

    for _ in range(3):
        with pytest.raises(BadInput, match="the request is wrong"):
            call(guard, refuse)
    assert call(guard, lambda: 1) == 1


def test_a_flow_stays_on_its_thread_while_answers_are_in_time_and_moves_when_one_is_late() -> None:
    """What the flow is told is the same either way; the late call's own answer is never seen."""
    free, seen = threading.Event(), {}
    guard = Guard("store", 0.05)

    def note(answer: str) -> str:
        seen[answer] = threading.current_thread().name
        return answer

    def hang() -> str:
        free.wait(20)
        return note("late")

    def flow() -> Flow[list[str]]:
        told = [(yield Call(guard, note, ("first",))), (yield Call(guard, note, ("second",)))]
        try:
            told.append((yield Call(guard, hang)))
        except DependencyDown:
            told.append("gone on")
        free.set()
        told.append((yield Call(guard, note, ("third",))))
        return told

    assert FLOWS.run(flow()) == ["first", "second", "gone on", "third"]
    assert seen["first"] == seen["second"] != seen["third"]


def test_hanging_calls_do_not_take_the_threads_of_others() -> None:
    """As many flows as before run beside those that hang."""
    free = threading.Event()
    hanging, quick = Guard("store", 0.02, threads=2, failures=100), Guard("index", 5.0)
    for _ in range(2):
        with pytest.raises(DependencyDown, match="no answer"):
            call(hanging, free.wait, 20)
    both = threading.Barrier(2, timeout=10)
    ends: list[Any] = []

    def meet() -> Flow[int]:
        return (yield Call(quick, both.wait))

    done = threading.Semaphore(0)
    for _ in range(2):
        FLOWS.start(meet(), lambda result, error: (ends.append((result, error)), done.release()))  # type: ignore[func-returns-value]
    assert all(done.acquire(timeout=20) for _ in range(2))
    assert sorted(result for result, _ in ends) == [0, 1]
    free.set()


def test_more_flows_than_threads_wait_their_turn() -> None:
    flows, guard = Flows("narrow", 1), Guard("store", 5.0)
    ends: list[int] = []
    done = threading.Semaphore(0)

    def number(value: int) -> Flow[int]:
        return (yield Call(guard, lambda: value))

    def note(result: Any, error: Exception | None) -> None:
        ends.append(result)
        done.release()

    for value in range(20):
        flows.start(number(value), note)
    assert all(done.acquire(timeout=20) for _ in range(20))
    assert ends == list(range(20))


def test_an_error_of_the_flow_itself_reaches_whoever_waits() -> None:
    def broken() -> Flow[None]:
        yield Call(Guard("store", 5.0), lambda: None)
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        FLOWS.run(broken())
