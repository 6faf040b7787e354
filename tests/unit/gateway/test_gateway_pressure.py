"""A batch before a provider that fails a lot, lets little through, or says nothing: in a virtual time, counted.

Many rows at once, as a statement sends them. What a real simulator shows of the same is in docs/speed.md.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiq.config.endpoint import Config, Settings
from aiq.errors import ProviderError
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger

AT_ONCE = 64
LATENCY_S = 0.1


class Provider:
    """A transport: `reply(host)` says what an attempt gets, after a tenth of a second; None is silence."""

    def __init__(self, time: Any, reply: Callable[[str], Any]) -> None:
        self._time, self._reply = time, reply
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.in_flight = 0

    async def send(self, request: Any, timeout_s: float) -> Any:
        host = request.url.split("/")[2].removesuffix(".test")
        self.asked[host] += 1
        reply = self._reply(host)
        self.in_flight += 1
        try:
            if reply is None:
                await self._time.sleep(timeout_s)
                raise ProviderError("no answer", kind="timeout", status=504)
            await self._time.sleep(LATENCY_S)
        finally:
            self.in_flight -= 1
        self.answered[host] += reply.status == 200
        return reply

    async def close(self) -> None:
        pass


class Bucket:
    """One request each `every_s` seconds, of which `most` may come together; others are refused with a hint."""

    def __init__(self, time: Any, make: Any, every_s: float, hint_s: float, most: int = 1) -> None:
        self._time, self._make, self._every_s, self._hint_s, self._most = time, make, every_s, hint_s, most
        self._left, self._at = float(most), time.clock()

    def __call__(self, host: str) -> Any:
        now = self._time.clock()
        self._left = min(self._most, self._left + (now - self._at) / self._every_s)
        self._at = now
        if host != "a":
            return self._make.chat_answer()
        if self._left < 1 - 1e-9:
            return self._make.failure(429, retry_after=str(self._hint_s))
        self._left -= 1
        return self._make.chat_answer()


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


class Batch:
    """What became of a batch: rows lost, seconds, errors."""

    def __init__(self, provider: Provider, seconds: float, errors: list[ProviderError]) -> None:
        self.provider, self.seconds, self.errors = provider, seconds, errors


@pytest.fixture
def batch(make: Any, time: Any, ledger: Ledger) -> Callable[..., Batch]:
    """`batch(reply, rows)`: so many rows, 64 at once, to `a`; with `fallback` also to `b`."""

    def run(reply: Any, rows: int, *, fallback: bool = False, interactive: bool = False, **settings: Any) -> Batch:
        provider = Provider(time, reply)
        entities = (make.entity("a"), make.entity("b", 0)) if fallback else (make.entity("a"),)
        endpoint = make.endpoint(*entities, fallback=fallback)
        built = Gateway(
            Config("conf", Settings(limits_store="memory", **settings), {"chat": endpoint}),
            ledger,
            transport=provider,  # type: ignore[arg-type]
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(7),
        )
        built.open_endpoint("chat")
        errors: list[ProviderError] = []

        async def work(waiting: Iterator[int]) -> None:
            for _ in waiting:
                try:
                    await built.answer(make.request()._replace(interactive=interactive))
                except ProviderError as error:
                    errors.append(error)

        async def whole() -> float:
            started = time.clock()
            waiting = iter(range(rows))
            await asyncio.gather(*(work(waiting) for _ in range(AT_ONCE)))
            return float(time.clock() - started)

        seconds = time.run(whole())
        assert built.routes["chat"].targets["a"].gate.in_flight == 0
        return Batch(provider, seconds, errors)

    return run


@pytest.mark.parametrize("share", [0.25, 0.4, 0.6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_many_requests_fail_no_row_is_lost_and_few_attempts_are_made(
    make: Any, batch: Callable[..., Batch], share: float, seed: int
) -> None:
    drawn = random.Random(seed)
    done = batch(lambda _: make.failure(503) if drawn.random() < share else make.chat_answer(), 1500)
    assert done.errors == []
    assert done.provider.asked["a"] <= 1.3 * 1500 / (1 - share)


@pytest.mark.parametrize("most", [1, 20])
def test_a_provider_that_grants_one_request_a_second_is_asked_for_about_one_a_second(
    make: Any, time: Any, batch: Callable[..., Batch], most: int
) -> None:
    done = batch(Bucket(time, make, every_s=1.0, hint_s=2.0, most=most), 200)
    assert done.errors == []
    assert done.seconds <= 1.25 * (200 - most)
    assert done.provider.asked["a"] - 200 <= AT_ONCE + 60


def test_a_provider_that_grants_ten_a_second_is_used_nearly_whole(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    done = batch(Bucket(time, make, every_s=0.1, hint_s=1.0), 1000)
    assert done.errors == []
    assert done.seconds <= 130
    assert done.provider.asked["a"] <= 1300


def test_where_a_fallback_is_idle_most_rows_go_there(make: Any, time: Any, batch: Callable[..., Batch]) -> None:
    done = batch(Bucket(time, make, every_s=1.0, hint_s=2.0), 100, fallback=True)
    assert done.errors == []
    assert done.provider.answered["b"] >= 80
    assert done.seconds <= 15


def test_a_silent_provider_is_probed_and_then_given_up(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda _: None, 1000, timeout_s=60.0)
    assert len(done.errors) == 1000
    assert done.provider.asked["a"] <= AT_ONCE + 5
    assert done.seconds <= 5 * 60
    assert "answers nobody" in str(done.errors[-1])
    assert "no answer" in str(done.errors[-1])


def test_a_provider_that_was_silent_for_a_while_is_used_again(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    started = time.clock()
    done = batch(lambda _: None if time.clock() < started + 12 else make.chat_answer(), 1500, timeout_s=10.0)
    assert done.errors == []
    assert done.seconds <= 60
    assert done.provider.asked["a"] <= 1500 + AT_ONCE + 5


def test_an_outage_of_a_minute_costs_a_batch_no_row_and_few_requests(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    started = time.clock()
    down = range(5, 65)
    done = batch(lambda _: make.failure(503) if int(time.clock() - started) in down else make.chat_answer(), 6000)
    assert done.errors == []
    assert done.provider.asked["a"] <= 6000 + 2 * AT_ONCE


def test_a_provider_that_is_down_for_good_is_given_up_after_its_retries(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda _: make.failure(503), 1000, retries=4)
    assert len(done.errors) == 1000
    assert done.provider.asked["a"] <= AT_ONCE + 20


def test_without_retries_nobody_is_held_back(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda _: make.failure(503), 300, retries=0)
    assert (len(done.errors), done.provider.asked["a"]) == (300, 300)


def test_a_row_that_always_fails_ends_though_others_are_answered(
    make: Any, time: Any, batch: Callable[..., Batch]
) -> None:
    turn = 0

    def reply(_: str) -> Any:
        nonlocal turn
        turn += 1
        return make.failure(500) if turn % 2 else make.chat_answer()

    done = batch(reply, 3, retries=2)
    assert done.provider.asked["a"] <= 3 * (1 + 2 + 4)


def test_money_that_is_spent_is_asked_for_once_a_row(make: Any, batch: Callable[..., Batch]) -> None:
    done = batch(lambda _: make.failure(429, message="Insufficient Balance"), 10)
    assert done.provider.asked["a"] == 10
    assert done.seconds < 1
    assert {error.kind for error in done.errors} == {"quota_exhausted"}


def test_a_spent_quota_of_retries_is_named_to_who_waits_in_person(make: Any, batch: Callable[..., Batch]) -> None:
    drawn = random.Random(1)
    done = batch(lambda _: make.failure(503) if drawn.random() < 0.6 else make.chat_answer(), 1000, interactive=True)
    assert any("quota of retries is spent" in str(error) for error in done.errors)
