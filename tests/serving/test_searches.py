"""A shopper's searches reach the online store behind the answers, and nothing about that can hold an answer up."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from components.common.errors import Unavailable
from components.serving.events import Event
from components.serving.metrics import Metrics
from components.serving.requests import SearchRequest
from components.serving.searches import SearchRecorder
from components.serving.settings import ServingSettings
from tests.serving.fakes import wait_until

LAMP = SearchRequest("lamp", user_id="u1")


class Store:
    """Remembers what is pushed; holds each push up until `free` is set, or fails."""

    def __init__(self) -> None:
        self.pushed: list[Event] = []
        self.begun, self.free = threading.Event(), threading.Event()
        self.free.set()
        self.error: Exception | None = None

    def push(self, events: Sequence[Event]) -> None:
        self.begun.set()
        self.free.wait(30)
        if self.error is not None:
            raise self.error
        self.pushed += events


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def recorder(store: Store, metrics: Metrics) -> Iterator[Any]:
    made = SearchRecorder(store.push, ServingSettings(record_waiting=2), metrics, sleep=lambda seconds: None)
    yield made
    store.free.set()
    made.stop()


def counted(metrics: Metrics, outcome: str) -> float:
    return metrics.recorded.labels(outcome)._value.get()


def test_a_shoppers_search_is_written_with_its_moment(recorder: SearchRecorder, store: Store, metrics: Metrics) -> None:
    recorder.add(LAMP, 17)
    wait_until(lambda: counted(metrics, "written") == 1, 10)
    assert store.pushed == [Event("u1", "search", 17, query="lamp")]


@pytest.mark.parametrize(
    "request_",
    [SearchRequest("lamp"), SearchRequest("lamp", user_id="u1", now=5),
     SearchRequest("lamp", user_id="u1", history={"product_ids": []}),
     SearchRequest("lam", user_id="u1", record=False)],
    ids=["nobody", "a replay", "a history brought along", "a half-typed query"],
)  # fmt: skip
def test_what_is_nobodys_next_history_is_left_out(recorder: SearchRecorder, store: Store, request_: Any) -> None:
    recorder.add(request_, 1)
    recorder.add(LAMP, 2)
    wait_until(lambda: bool(store.pushed), 10)
    assert [event.timestamp for event in store.pushed] == [2]


def test_paging_is_one_search(recorder: SearchRecorder, store: Store, metrics: Metrics) -> None:
    for moment in range(3):
        recorder.add(LAMP, moment)
    recorder.add(SearchRequest("lamp", user_id="u2"), 9)
    wait_until(lambda: len(store.pushed) == 2, 10)
    assert counted(metrics, "repeated") == 2


def test_a_store_that_hangs_holds_nobody_up_and_what_is_too_much_is_counted(
    recorder: SearchRecorder, store: Store, metrics: Metrics
) -> None:
    store.free.clear()
    recorder.add(LAMP, 0)
    assert store.begun.wait(10)
    for number in range(5):
        recorder.add(SearchRequest(f"lamp {number}", user_id="u1"), number)
    assert counted(metrics, "dropped") == 3
    store.free.set()
    wait_until(lambda: len(store.pushed) == 3, 10)


def test_a_store_that_fails_is_tried_with_the_next_search(
    recorder: SearchRecorder, store: Store, metrics: Metrics
) -> None:
    store.error = Unavailable("the store is gone.")
    recorder.add(LAMP, 0)
    wait_until(lambda: counted(metrics, "failed") == 1, 10)
    store.error = None
    recorder.add(SearchRequest("sofa", user_id="u1"), 1)
    wait_until(lambda: counted(metrics, "written") == 1, 10)


def test_writing_takes_its_share_of_the_time_and_no_more(store: Store, metrics: Metrics) -> None:
    """With a share of a quarter the thread rests three times as long as it wrote."""
    rests: list[float] = []
    recorder = SearchRecorder(store.push, ServingSettings(record_share=0.25), metrics, sleep=rests.append)
    store.free.clear()
    recorder.add(LAMP, 0)
    assert store.begun.wait(10)
    threading.Event().wait(0.1)
    store.free.set()
    wait_until(lambda: bool(rests), 10)
    recorder.stop()
    assert rests[0] >= 0.25


def test_it_can_be_switched_off(store: Store, metrics: Metrics) -> None:
    recorder = SearchRecorder(store.push, ServingSettings(record_searches=False), metrics)
    recorder.add(LAMP, 0)
    recorder.stop()
    assert not store.begun.is_set()
