"""The gateway settles every grant, whatever becomes of the request."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.config.connections import CustomConfig
from aiq.config.endpoint import Config, Price, RateLimit, Settings
from aiq.errors import ConfigError, PolicyError, RequestFailed
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger

Open = Callable[..., Gateway]
BODY = {"messages": [{"role": "user", "content": "x" * 39}], "max_tokens": 90}
TOKENS = RateLimit(100, unit="tokens")
PRICES = {"gpt-4o-mini": Price(1.0, 10.0)}


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


@pytest.fixture
def gateway(make: Any, time: Any, tmp_path: Path) -> Iterator[Open]:
    """`gateway([limit], reply, ...)`: an open endpoint with these limits."""
    ledger = Ledger.open(tmp_path / "home")

    def build(limits: Any, *replies: Any, entities: Any = (), **settings: Any) -> Gateway:
        endpoint = make.endpoint(*entities, aiq_rate_limits=tuple(limits))
        own = Settings(**{"limits_store": "memory", "retries": 0, "prices": PRICES, **settings})
        config = Config("conf", own, {endpoint.name: endpoint})
        built = Gateway(
            config,
            ledger,
            transport=make.transport(*replies),
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(1),
        )
        built.open_endpoint(endpoint.name)
        return built

    yield build
    ledger.close()


def room(gateway: Gateway, time: Any, make: Any) -> int:
    """What is left of the limit, at this moment."""
    limiter = gateway.routes["chat"].limiter
    plan = limiter._plan(make.request().caller)
    return plan.clauses[0].buckets[0].room(round(time.now * 1e6))


async def cut(work: Any, time: Any) -> None:
    task = asyncio.ensure_future(work)
    await time.settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        (lambda make: make.chat_answer(), 85),  # 15 tokens were used
        (lambda make: make.failure(400), 100),
        (lambda make: make.failure(503), 100),
        (lambda make: make.error("network"), 100),
        (lambda make: make.error("timeout"), 0),
        (lambda make: make.response(b"<html>"), 0),
    ],
)
def test_what_an_end_leaves_of_a_token_limit(make: Any, time: Any, gateway: Open, reply: Any, left: int) -> None:
    built = gateway([TOKENS], reply(make))

    async def work() -> None:
        try:
            await built.answer(make.request(body=BODY))
        except RequestFailed:
            return

    time.run(work())
    assert room(built, time, make) == left


def test_a_request_that_is_cancelled_in_flight_keeps_its_reservation(make: Any, time: Any, gateway: Open) -> None:
    async def never(request: Any) -> None:
        await asyncio.Event().wait()

    built = gateway([TOKENS], lambda request: never(request))
    time.run(cut(built.answer(make.request(body=BODY)), time))
    assert room(built, time, make) == 0


def test_a_request_that_is_cancelled_before_its_call_gives_everything_back(make: Any, time: Any, gateway: Open) -> None:
    async def never(request: Any) -> None:
        await asyncio.Event().wait()

    built = gateway([RateLimit(5)], lambda request: never(request), concurrency=1)

    async def work() -> None:
        first = asyncio.ensure_future(built.answer(make.request()))
        await time.settle()
        await cut(built.answer(make.request()), time)
        assert room(built, time, make) == 4
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    time.run(work())


def test_a_place_in_flight_comes_back_however_a_request_ends(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(
        [RateLimit(1, unit="concurrency", period_s=0)],
        make.failure(400),
        make.error("timeout"),
        make.error("timeout"),
        make.chat_answer(),
    )

    async def work() -> list[Any]:
        return await asyncio.gather(*(built.answer(make.request()) for _ in range(3)), return_exceptions=True)

    ends = time.run(work())
    assert sum(isinstance(end, RequestFailed) for end in ends) == 2
    assert room(built, time, make) == 1


def test_an_attempt_nobody_knows_of_keeps_the_reservation_of_an_answer(make: Any, time: Any, gateway: Open) -> None:
    built = gateway([TOKENS], make.error("timeout"), make.chat_answer(), retries=1)
    time.run(built.answer(make.request(body=BODY)))
    assert room(built, time, make) == 0


def test_dollars_are_settled_with_what_the_call_cost(make: Any, time: Any, gateway: Open) -> None:
    built = gateway([RateLimit(1, unit="cost_usd", period_s=86400)], make.chat_answer())
    answer = time.run(built.answer(make.request(body=BODY)))
    assert answer.cost_usd == pytest.approx(10 * 1e-6 + 5 * 10e-6)
    assert room(built, time, make) == 10**9 - 60_000


def test_a_thousand_requests_at_once_do_not_overshoot_a_limit_in_dollars(make: Any, time: Any, gateway: Open) -> None:
    async def slow(request: Any) -> Any:
        await time.sleep(1)
        return make.chat_answer(usage={"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100})

    limit = RateLimit(0.1, unit="cost_usd", period_s=86400)
    built = gateway([limit], lambda request: slow(request), concurrency=2000)

    async def work() -> list[Any]:
        asked = [make.request(body=BODY, deadline_s=time.now + 60) for _ in range(1024)]
        return await asyncio.gather(*map(built.answer, asked), return_exceptions=True)

    costs = [end.cost_usd for end in time.run(work()) if not isinstance(end, BaseException)]
    assert 0.098 < sum(costs) <= 0.1


def test_a_limit_in_dollars_needs_a_price(make: Any, gateway: Open) -> None:
    entity = make.entity(provider="custom", model="own", config=CustomConfig("http://own.test"))
    with pytest.raises(ConfigError, match="Set it under prices"):
        gateway([RateLimit(1, unit="cost_usd")], make.chat_answer(), entities=[entity])


def test_somebody_who_waits_in_person_gets_a_429(make: Any, time: Any, gateway: Open) -> None:
    built = gateway([RateLimit(1)], make.chat_answer())

    async def work() -> None:
        await built.answer(make.request())
        await built.answer(make.request(interactive=True))

    with pytest.raises(PolicyError) as caught:
        time.run(work())
    assert (caught.value.status, caught.value.retry_after_s) == (429, 60.0)


def test_two_gateways_of_one_home_share_their_limits(make: Any, time: Any, gateway: Open) -> None:
    one, other = (gateway([RateLimit(1)], make.chat_answer(), limits_store="file") for _ in range(2))
    time.run(one.answer(make.request()))
    with pytest.raises(PolicyError):
        time.run(other.answer(make.request(interactive=True)))
