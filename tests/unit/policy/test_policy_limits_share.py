"""While somebody asks in person, batches leave a share of each limit free: in one process, and over several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.config.endpoint import RateLimit
from aiq.errors import PolicyError
from aiq.policy.limits import Grant, RateLimiter
from aiq.policy.limits.book import Change, LimitStore, Want
from aiq.policy.limits.file_store import FileStore
from aiq.policy.limits.leases import LeasedBook
from aiq.policy.limits.redis_store import RedisStore
from tests.processes import RedisServer

PERIOD_S = 10.0
MINUTE_US = 60_000_000
BATCH, PERSON = "etl@example.com", "ann@example.com"

Pair = tuple[RateLimiter, RateLimiter]
Open = Callable[..., Pair]


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


@pytest.fixture(params=["memory", "file", "two processes"])
def opened(request: pytest.FixtureRequest, make: Any, time: Any, tmp_path: Path) -> Open:
    """The limiter of who asks in person, and of the batch: the same one, or two that share a file."""

    def build(*limits: RateLimit) -> Pair:
        endpoint, store = make.endpoint(aiq_rate_limits=limits), FileStore(tmp_path, clock=time.clock)

        def limiter() -> RateLimiter:
            book = None if request.param == "memory" else LeasedBook(store, time.clock, time.sleep)
            return RateLimiter(endpoint, time.clock, time.sleep, book=book)

        first = limiter()
        return first, limiter() if request.param == "two processes" else first

    return build


class Day:
    """A batch of thousands of rows, and somebody who asks beside it; who was granted, and when."""

    def __init__(self, make: Any, time: Any, pair: Pair) -> None:
        self._make, self._time = make, time
        self._persons, self._batch = pair
        self.log: list[tuple[float, str]] = []
        self._rows: list[asyncio.Task[None]] = []

    async def start(self, rows: int, **body: Any) -> None:
        self._rows = [asyncio.create_task(self._row(body)) for _ in range(rows)]
        await self._time.settle()

    def stop(self) -> None:
        for row in self._rows:
            row.cancel()

    async def ask(self, user: str = PERSON, **changes: Any) -> float:
        """Seconds after which the same would be granted; 0 where it was."""
        try:
            grant = await self._persons.acquire(self._make.request(user, interactive=True, **changes))
        except PolicyError as error:
            assert error.status == 429 and error.retry_after_s
            return error.retry_after_s
        self._granted(grant, "person")
        return 0.0

    async def come_again(self, **changes: Any) -> float:
        """As a client does: asks, waits as long as it was told, asks again."""
        if wait_s := await self.ask(**changes):
            await self._time.sleep(wait_s)
            return await self.ask(**changes)
        return 0.0

    async def _row(self, body: dict[str, Any]) -> None:
        grant = await self._batch.acquire(self._make.request(BATCH, **body))
        self._granted(grant, "batch")

    def _granted(self, grant: Grant, whose: str) -> None:
        self.log.append((self._time.now, whose))

    def most_in_a_period(self) -> int:
        return max(sum(start <= at < start + PERIOD_S - 1e-6 for at, _ in self.log) for start, _ in self.log)


@pytest.mark.parametrize("limit", [RateLimit(20, period_s=PERIOD_S), RateLimit(20, "user", BATCH, period_s=PERIOD_S)])
def test_who_comes_again_as_told_is_granted_before_the_batch_goes_on(
    make: Any, time: Any, opened: Open, limit: RateLimit
) -> None:
    day = Day(make, time, opened(limit))
    user = PERSON if limit.key == "endpoint" else BATCH

    async def work() -> None:
        await day.start(1000)
        await time.sleep(1)
        assert await day.ask(user) > PERIOD_S - 2  # the batch has all of it
        assert await day.come_again(user=user) == 0.0
        for _ in range(10):  # and from then on at once, as long as it is no more than a share
            await time.sleep(0.7 * PERIOD_S)
            assert await day.ask(user) == 0.0
        day.stop()

    time.run(work())
    assert day.most_in_a_period() <= 20
    assert sum(who == "batch" for _, who in day.log) > 100


def test_a_batch_has_the_whole_limit_when_nobody_has_asked_for_a_while(make: Any, time: Any, opened: Open) -> None:
    day = Day(make, time, opened(RateLimit(20, period_s=PERIOD_S)))

    async def work() -> None:
        await day.start(1000)
        await day.come_again()
        await time.sleep(130)
        day.stop()

    time.run(work())
    end = time.now
    assert sum(at > end - 55 for at, _ in day.log) >= 95  # five periods and a half, of which a moment each is lost
    assert sum(at < end - 70 for at, _ in day.log) <= 140


def test_who_asks_in_person_for_all_there_is_does_not_starve_a_batch(make: Any, time: Any, opened: Open) -> None:
    day = Day(make, time, opened(RateLimit(20, period_s=PERIOD_S)))

    async def work() -> None:
        await day.start(400)
        for _ in range(1000):
            await day.ask()
            await time.sleep(0.1)
        day.stop()

    time.run(work())
    assert day.most_in_a_period() <= 20
    granted = [who for at, who in day.log if at > 1000 + 2 * PERIOD_S]
    assert granted.count("person") >= 10 and granted.count("batch") >= 40, granted.count("person")


def test_a_limit_of_tokens_leaves_its_share_of_tokens(make: Any, time: Any, opened: Open) -> None:
    day = Day(make, time, opened(RateLimit(1000, unit="tokens", period_s=PERIOD_S)))
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 30}

    async def work() -> None:
        await day.start(500, body=body)
        await time.sleep(1)
        assert await day.come_again(body=body) == 0.0
        for _ in range(10):
            await time.sleep(0.8 * PERIOD_S)
            assert await day.ask(body=body) == 0.0
        day.stop()

    time.run(work())


def test_a_batch_that_needs_a_whole_limit_gets_it_all_the_same(make: Any, time: Any, opened: Open) -> None:
    day = Day(make, time, opened(RateLimit(1000, unit="tokens", period_s=PERIOD_S)))
    large = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5000}

    async def work() -> None:
        await day.ask(body={**large, "max_tokens": 10})
        await day.start(1, body=large)
        await time.sleep(12)

    time.run(work())
    assert [who for _, who in day.log] == ["person", "batch"]


@pytest.mark.parametrize("amount", [1, 2, 3, 9])
def test_small_limits_keep_one_at_the_most_and_go_on(make: Any, time: Any, opened: Open, amount: int) -> None:
    day = Day(make, time, opened(RateLimit(amount, period_s=PERIOD_S)))

    async def work() -> None:
        await day.ask()
        await day.start(100)
        for _ in range(10):
            await time.sleep(11)
            await day.come_again()
        day.stop()

    time.run(work())
    assert day.most_in_a_period() <= amount
    assert sum(who == "batch" for _, who in day.log) >= 4
    if amount > 1:
        assert sum(who == "person" for _, who in day.log) >= 10


def test_a_place_in_flight_is_left(make: Any, time: Any, opened: Open) -> None:
    persons, batch = opened(RateLimit(4, unit="concurrency", period_s=0))

    async def work() -> None:
        held = [await batch.acquire(make.request(BATCH)) for _ in range(4)]
        waiting = [asyncio.create_task(batch.acquire(make.request(BATCH))) for _ in range(50)]
        with pytest.raises(PolicyError):
            await persons.acquire(make.request(PERSON, interactive=True))
        await time.sleep(1)
        batch.settle(held.pop(), None, None)
        await time.sleep(1)
        persons.settle(await persons.acquire(make.request(PERSON, interactive=True)), None, None)
        await time.sleep(1)  # for so long a process may use a place again that got free in it
        batch.settle(held.pop(), None, None)
        await time.sleep(1)
        assert sum(task.done() for task in waiting) == 1
        for task in waiting:
            task.cancel()

    time.run(work())


def _said(store: LimitStore, changes: list[Change], *wants: Want) -> tuple[list[int] | None, int]:
    """What is leased, else None and the wait in whole seconds."""
    answer = asyncio.run(_asked(store, changes, wants))
    leased = None if answer.leases is None else [amount for _, amount in answer.leases]
    return leased, round(answer.wait_us / 1e6)


async def _asked(store: LimitStore, changes: list[Change], wants: tuple[Want, ...]) -> Any:
    try:
        return await store.exchange(changes, [[want] for want in wants])
    finally:
        if isinstance(store, RedisStore):
            await store.close()  # a client belongs to one event loop


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_both_stores_keep_a_share(kind: str, tmp_path: Path) -> None:
    if kind == "redis":
        with RedisServer(tmp_path) as server:
            _check_share(RedisStore(server.url))
    else:
        _check_share(FileStore(tmp_path))


def _check_share(store: LimitStore) -> None:
    def batch(need: int = 1, surplus: int = 0, limit: int = 100) -> Want:
        return Want("w", limit, MINUTE_US, 0, 1_000_000, 0, need, surplus, max(0, min(10, limit - need)))

    person = batch()._replace(share=0)
    asks = Change(batch().asked, 0, 0, 2 * MINUTE_US)
    used = Change(batch().asked, 0, 4, 3 * MINUTE_US)
    assert _said(store, [], batch(50, 10)) == ([60], 0)
    assert _said(store, [], batch(30, 10)) == ([40], 0)  # nobody asks: all of it
    assert _said(store, [Change("w", 0, 0, MINUTE_US)], person) == (None, 61)
    store_2 = [Change("v", 0, 80, MINUTE_US), asks._replace(name="v|asked")]

    def other(need: int, surplus: int = 0, share: int = 10) -> Want:
        return batch(need, surplus)._replace(name="v", share=share)

    assert _said(store, store_2, other(11)) == (None, 60)
    assert _said(store, [], other(2, 20)) == ([10], 0)  # and no surplus of the share
    assert _said(store, [], other(1)) == (None, 60)
    assert _said(store, [used._replace(name="v|asked")], other(3, 9)) == ([4], 0)  # what was used of it counts
    assert _said(store, [], other(1)) == (None, 60)
    assert _said(store, [], other(1, 20, share=0)) == ([6], 0)
    assert _said(store, [], other(100, share=0)) == (None, 61)
