"""One timer for many waits, on a loop whose clock the test moves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from aiq.transport.watchdog import Watchdog


class HandMovedLoop(asyncio.SelectorEventLoop):
    """Its time passes when a test says so."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def loop() -> Any:
    made = HandMovedLoop()
    yield made
    made.close()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def waiting(loop: HandMovedLoop, watchdog: Watchdog, wait_s: float) -> tuple[asyncio.Future[str], asyncio.Task[str]]:
    """A wait that has begun, and what it waits for."""
    answer: asyncio.Future[str] = loop.create_future()
    return answer, loop.create_task(watchdog.wait(answer, wait_s))


def test_a_wait_ends_when_it_is_too_long_and_not_before(loop: HandMovedLoop) -> None:
    async def work() -> None:
        answer, wait = waiting(loop, Watchdog(), 10)
        await turns()
        loop.now = 9.9
        await turns()
        assert not wait.done()
        loop.now = 10.1
        with pytest.raises(TimeoutError):
            await wait
        assert answer.cancelled()

    loop.run_until_complete(work())


@pytest.mark.parametrize(("first_s", "second_s"), [(10.0, 30.0), (30.0, 10.0)])
def test_each_wait_has_its_own_bound(loop: HandMovedLoop, first_s: float, second_s: float) -> None:
    async def work() -> None:
        watchdog = Watchdog()
        answer, wait = waiting(loop, watchdog, first_s)
        await turns()
        answer.set_result("first")
        assert await wait == "first"
        loop.now = 5.0
        answer, wait = waiting(loop, watchdog, second_s)
        await turns()
        loop.now = 5.0 + second_s - 0.1  # the timer of the first may have rung
        await turns()
        assert not wait.done()
        loop.now = 5.1 + second_s
        with pytest.raises(TimeoutError):
            await wait

    loop.run_until_complete(work())


def test_a_task_that_is_cancelled_by_others_is_cancelled(loop: HandMovedLoop) -> None:
    async def work() -> None:
        _, wait = waiting(loop, Watchdog(), 10)
        await turns()
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait

    loop.run_until_complete(work())


def test_a_task_that_is_cancelled_as_it_is_too_late_is_cancelled(loop: HandMovedLoop) -> None:
    async def work() -> None:
        _, wait = waiting(loop, Watchdog(), 10)
        await turns()
        loop.now = 10.1
        wait.cancel()  # in the turn in which the timer rings
        with pytest.raises(asyncio.CancelledError):
            await wait

    loop.run_until_complete(work())


def test_a_wait_that_was_too_long_leaves_its_task_as_it_was(loop: HandMovedLoop) -> None:
    async def work() -> None:
        watchdog = Watchdog()

        async def twice() -> int:
            with pytest.raises(TimeoutError):
                await watchdog.wait(loop.create_future(), 10)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        task = loop.create_task(twice())
        await turns()
        loop.now = 11.0
        assert await task == 0

    loop.run_until_complete(work())


def test_a_wait_of_no_time_is_too_long_and_the_next_has_its_own_time_on_uvloop() -> None:
    async def work() -> str:
        watchdog = Watchdog()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await watchdog.wait(asyncio.get_running_loop().create_future(), 0)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(answer.set_result, "done")
        waits = watchdog.wait(answer, 0)  # set again, though its timer tells no time
        with suppress(TimeoutError):
            await waits
        return await watchdog.wait(asyncio.sleep(0, "done"), 60)

    assert uvloop.run(work()) == "done"


def test_no_timer_is_left_after_the_stop(loop: HandMovedLoop) -> None:
    async def work() -> None:
        watchdog = Watchdog()
        answer, wait = waiting(loop, watchdog, 10)
        await turns()
        answer.set_result("done")
        assert await wait == "done"
        watchdog.stop()

    loop.run_until_complete(work())
    assert all(timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]
