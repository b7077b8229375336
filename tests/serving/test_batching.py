"""Requests that arrive together are answered together; too many are refused at once."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from components.common.errors import NotFound
from components.serving.batching import Batcher
from components.serving.errors import Overloaded
from components.serving.flows import Done
from components.serving.metrics import Metrics
from components.serving.settings import ServingSettings


def on_threads(answer: Callable[[Sequence[int]], list[Any]]) -> Callable[[Sequence[int], Done], None]:
    """`answer` as a batcher starts it: on a thread of its own, done when it returned or raised."""

    def start(items: Sequence[int], done: Done) -> None:
        def work() -> None:
            try:
                answers = answer(items)
            except KeyError as error:
                done(None, error)
            else:
                done(answers, None)

        threading.Thread(target=work, daemon=True).start()

    return start


def test_what_queues_during_a_batch_forms_the_next_one(metrics: Metrics) -> None:
    """One request is taken at once; those behind it share a call, none larger than max_batch."""
    sizes: list[int] = []
    first_taken, go_on = threading.Event(), threading.Event()

    def answer(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        first_taken.set()
        assert go_on.wait(20)
        return [item * 10 for item in items]

    async def main() -> list[int]:
        batcher = Batcher(on_threads(answer), ServingSettings(parallel_batches=1, max_batch=4), metrics)
        first = asyncio.create_task(batcher.submit([0]))
        await asyncio.get_running_loop().run_in_executor(None, first_taken.wait)
        rest = [asyncio.create_task(batcher.submit([number])) for number in range(1, 7)]
        await asyncio.sleep(0)
        go_on.set()
        return [(await task)[0] for task in (first, *rest)]

    assert asyncio.run(main()) == [0, 10, 20, 30, 40, 50, 60]
    assert sizes == [1, 4, 2]


def test_past_capacity_a_request_is_refused_at_once_and_later_ones_are_taken_again(metrics: Metrics) -> None:
    go_on = threading.Event()

    def answer(items: Sequence[int]) -> list[int]:
        assert go_on.wait(20)
        return list(items)

    async def main() -> list[int]:
        batcher = Batcher(on_threads(answer), ServingSettings(capacity=2, retry_after_seconds=3), metrics)
        waiting = asyncio.create_task(batcher.submit([1, 2]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="capacity of 2") as caught:
            await batcher.submit([3])
        assert caught.value.retry_after == 3
        go_on.set()
        await waiting
        return await batcher.submit([4])

    assert asyncio.run(main()) == [4]


def test_a_request_of_several_searches_is_refused_when_not_all_of_them_fit(metrics: Metrics) -> None:
    async def main() -> list[int]:
        batcher = Batcher(on_threads(list), ServingSettings(capacity=2), metrics)
        with pytest.raises(Overloaded):
            await batcher.submit([1, 2, 3])
        return await batcher.submit([1, 2])

    assert asyncio.run(main()) == [1, 2]


def test_nobody_works_for_a_client_that_is_gone(metrics: Metrics) -> None:
    taken: list[int] = []
    first_taken, go_on = threading.Event(), threading.Event()

    def answer(items: Sequence[int]) -> list[int]:
        taken.extend(items)
        first_taken.set()
        assert go_on.wait(20)
        return list(items)

    async def main() -> None:
        batcher = Batcher(on_threads(answer), ServingSettings(parallel_batches=1), metrics)
        first = asyncio.create_task(batcher.submit([0]))
        await asyncio.get_running_loop().run_in_executor(None, first_taken.wait)
        gone, last = (asyncio.create_task(batcher.submit([number])) for number in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        go_on.set()
        await asyncio.gather(first, last)

    asyncio.run(main())
    assert taken == [0, 2]


def test_one_failing_item_does_not_fail_the_others(metrics: Metrics) -> None:
    def answer(items: Sequence[int]) -> list[int | NotFound]:
        return [NotFound("not here") if item == 1 else item for item in items]

    async def main() -> list[object]:
        batcher = Batcher(on_threads(answer), ServingSettings(), metrics)
        return await asyncio.gather(*(batcher.submit([n]) for n in range(3)), return_exceptions=True)

    good, bad, also_good = asyncio.run(main())
    assert (good, also_good) == ([0], [2])
    assert isinstance(bad, NotFound)


def test_a_crash_of_the_worker_reaches_every_waiting_client_and_the_next_request_is_answered(metrics: Metrics) -> None:
    def answer(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise KeyError("crash")
        return list(items)

    async def main() -> list[int]:
        batcher = Batcher(on_threads(answer), ServingSettings(), metrics)
        with pytest.raises(KeyError):
            await batcher.submit([12, 13])
        assert metrics.waiting.collect()[0].samples[0].value == 0
        return await batcher.submit([14])

    assert asyncio.run(main()) == [14]


def test_a_request_that_waited_past_its_budget_is_refused(metrics: Metrics) -> None:
    """Its client has given up; answering it would only delay the others."""
    go_on = threading.Event()

    def answer(items: Sequence[int]) -> list[int]:
        assert go_on.wait(20)
        return list(items)

    async def main() -> None:
        now = 0.0
        batcher = Batcher(
            on_threads(answer), ServingSettings(parallel_batches=1, queue_budget_ms=500), metrics, lambda: now
        )
        tasks = [asyncio.create_task(batcher.submit([number])) for number in (1, 2)]
        await asyncio.sleep(0)
        late = asyncio.create_task(batcher.submit([3]))
        await asyncio.sleep(0)
        now = 0.6
        go_on.set()
        assert [(await task)[0] for task in tasks] == [1, 2]
        with pytest.raises(Overloaded, match=r"waited 0\.6 s"):
            await late

    asyncio.run(main())
