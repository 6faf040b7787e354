"""The pipeline over a scripted transport and a real ledger: every request ends once, whatever happens to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.config.endpoint import Config, Permission, RateLimit, Settings
from aiq.errors import ConfigError, PolicyError, ProviderError, StatementError
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.request import Request

Open = Callable[..., Gateway]
Rows = list[dict[str, Any]]


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


@pytest.fixture
def gateway(make: Any, time: Any, ledger: Ledger) -> Open:
    """`gateway(endpoint, reply, ...)`: the endpoint is open, the replies come in turn."""

    def build(endpoint: Any, *replies: Any, **settings: Any) -> Gateway:
        built = Gateway(
            Config("conf", Settings(**settings), {endpoint.name: endpoint}),
            ledger,
            transport=make.transport(*replies),
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(1),
        )
        built.open_endpoint(endpoint.name)
        return built

    return build


def ends(rows: Rows) -> list[tuple[Any, ...]]:
    return [(row["attempt"], row["served_entity_name"], row["status"], row["final"]) for row in rows]


def two(make: Any) -> Any:
    return make.endpoint(make.entity("a"), make.entity("b", 0), fallback=True)


def test_an_answer_leaves_one_final_row(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    answer = time.run(gateway(make.endpoint(), make.chat_answer()).answer(make.request()))
    rows = calls()
    assert ends(rows) == [(1, "main", "ok", True)]
    assert rows[0]["cost_usd"] == answer.cost_usd > 0
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"], rows[0]["requester"]) == (10, 5, "ann")


def test_attempts_are_numbered_over_all_entities(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    replies = [make.failure(503), make.failure(503), make.failure(503), make.chat_answer()]
    time.run(gateway(two(make), *replies).answer(make.request()))
    rows = calls()
    assert ends(rows) == [
        (1, "a", "error", False),
        (2, "a", "error", False),
        (3, "a", "error", False),
        (4, "b", "ok", True),
    ]
    assert [row["fallback_from"] for row in rows] == [None, None, None, "a"]


def test_the_last_failure_is_the_final_one(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        time.run(gateway(two(make), make.failure(401)).answer(make.request()))
    assert ends(calls()) == [(1, "a", "error", False), (2, "b", "error", True)]
    assert (caught.value.endpoint, caught.value.entity, caught.value.attempts) == ("chat", "b", 2)


def test_a_content_filter_is_neither_retried_nor_routed_around(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    with pytest.raises(ProviderError):
        time.run(gateway(two(make), make.failure(400, "content_policy_violation")).answer(make.request()))
    assert ends(calls()) == [(1, "a", "error", True)]


def test_a_server_error_once_is_retried_at_the_same_entity(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    time.run(gateway(two(make), make.failure(500), make.chat_answer()).answer(make.request()))
    assert ends(calls()) == [(1, "a", "error", False), (2, "a", "ok", True)]


def test_a_hint_is_waited_for(make: Any, time: Any, gateway: Open) -> None:
    replies = [make.failure(429, retry_after="2"), make.chat_answer()]
    time.run(gateway(make.endpoint(), *replies).answer(make.request()))
    assert 1002.0 <= time.now <= 1002.3


def test_an_endless_rate_limit_makes_few_attempts_and_falls_back(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    def by_host(request: Any) -> Any:
        return make.failure(429) if "a.test" in request.url else make.chat_answer()

    time.run(gateway(two(make), by_host).answer(make.request()))
    assert ends(calls())[-1] == (4, "b", "ok", True)
    assert time.now < 1003


def test_a_silent_entity_is_not_asked_twice_where_another_one_is(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    time.run(gateway(two(make), make.error("timeout", 504), make.chat_answer()).answer(make.request()))
    assert ends(calls()) == [(1, "a", "error", False), (2, "b", "ok", True)]


def test_an_entity_that_asked_for_an_hour_is_passed_over(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    def by_host(request: Any) -> Any:
        return make.failure(429, retry_after="3600") if "a.test" in request.url else make.chat_answer()

    built = gateway(two(make), by_host)

    async def work() -> None:
        for _ in range(3):
            await built.answer(make.request())

    time.run(work())
    assert time.now == 1000.0
    assert sum(row["served_entity_name"] == "a" for row in calls()) == 1
    assert {row["fallback_from"] for row in calls() if row["status"] == "ok"} == {"a"}


def test_every_request_that_taught_max_tokens_is_answered(make: Any, time: Any, gateway: Open) -> None:
    error = {"error": {"code": "unsupported_parameter", "param": "max_tokens"}}

    def model(request: Any) -> Any:
        return make.chat_answer() if b"max_completion_tokens" in request.body else make.response(error, 400)

    built = gateway(make.endpoint(), model)
    asked = [make.request(body={"messages": [], "max_tokens": 5}) for _ in range(20)]

    async def work() -> int:
        return len(await asyncio.gather(*map(built.answer, asked)))

    assert time.run(work()) == 20


def test_a_wait_for_a_limit_is_recorded(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.endpoint(limits=[RateLimit(1)]), make.chat_answer())

    async def work() -> None:
        await asyncio.gather(built.answer(make.request()), built.answer(make.request()))

    time.run(work())
    waits = sorted(row["limit_wait_ms"] for row in calls())
    assert waits == [0.0, 60_002.0]  # a minute, and the 2 ms for which a shared store counts what it lends
    assert [row["queue_ms"] for row in calls()] == [0.0, 0.0]
    assert built.waiting_for_limits == 0


def test_a_blocked_user_leaves_a_refused_row_and_no_call(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.endpoint(limits=[RateLimit(0)]), make.chat_answer())
    with pytest.raises(PolicyError):
        time.run(built.answer(make.request()))
    assert ends(calls()) == [(0, None, "refused", True)]
    assert built.routes.transport.sent == []  # type: ignore[union-attr]


def test_without_can_query_a_request_is_refused(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    endpoint = make.endpoint(permissions=(Permission("CAN_VIEW", "ann"), Permission("CAN_QUERY", group_name="staff")))
    with pytest.raises(PolicyError, match="CAN_QUERY") as caught:
        time.run(gateway(endpoint, make.chat_answer()).answer(make.request("ann")))
    assert (caught.value.status, ends(calls())) == (403, [(0, None, "refused", True)])


async def cancelled(work: Any, time: Any, ready: Callable[[], bool] = lambda: True) -> None:
    task = asyncio.ensure_future(work)
    await time.settle()
    assert ready()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_call_cancelled_in_flight_ends_once(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.endpoint(), lambda _: time.sleep(100))
    time.run(cancelled(built.answer(make.request()), time, lambda: bool(built.routes.transport.sent)))  # type: ignore[union-attr]
    assert ends(calls()) == [(1, "main", "cancelled", True)]
    assert built.routes["chat"].targets["main"].gate.in_flight == 0


def test_a_request_cancelled_between_two_attempts_ends_once(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.endpoint(), make.failure(429, retry_after="50"))
    time.run(cancelled(built.answer(make.request()), time))
    assert ends(calls()) == [(1, "main", "error", False), (2, None, "cancelled", True)]


def test_a_request_cancelled_while_it_waits_for_a_slot_ends_once(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    built = gateway(make.endpoint(), lambda _: time.sleep(100), concurrency=1)

    async def work() -> None:
        first = asyncio.ensure_future(built.answer(make.request()))
        await time.settle()
        await cancelled(built.answer(make.request()), time)
        await cancelled(first, time)

    time.run(work())
    assert sorted(ends(calls())) == [(0, None, "cancelled", True), (1, "main", "cancelled", True)]


def test_a_fault_of_our_own_ends_the_request_and_frees_its_slot(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    built = gateway(make.endpoint(), RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        time.run(built.answer(make.request()))
    assert ends(calls()) == [(1, "main", "error", True)]
    assert built.routes["chat"].targets["main"].gate.in_flight == 0


def test_an_unanswered_but_billed_call_is_recorded_with_its_cost(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    refusal = make.chat_answer(choices=[{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}])
    with pytest.raises(ProviderError):
        time.run(gateway(make.endpoint(), refusal).answer(make.request()))
    assert calls()[0]["cost_usd"] > 0


def test_each_of_many_mixed_requests_ends_exactly_once(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    rng = random.Random(5)
    replies = [make.chat_answer(), make.failure(503), make.failure(429, retry_after="1"), make.failure(400)]
    replies += [make.error("network"), make.response(b"<html>"), make.error("timeout", 504)]

    async def slow(reply: Any) -> Any:
        await time.sleep(rng.random())
        return reply

    built = gateway(two(make), lambda _: slow(rng.choice(replies)), concurrency=8)

    async def work() -> None:
        tasks = [asyncio.ensure_future(built.answer(make.request())) for _ in range(120)]
        await time.sleep(0.5)
        for task in rng.sample(tasks, 30):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    time.run(work())
    rows = calls()
    finals = [row["request_id"] for row in rows if row["final"]]
    assert len(finals) == len(set(finals)) == 120
    assert len({(row["request_id"], row["attempt"]) for row in rows}) == len(rows)
    assert all(target.gate.in_flight == 0 for target in built.routes["chat"].targets.values())


def test_an_unknown_endpoint_names_the_nearest(make: Any, gateway: Open) -> None:
    with pytest.raises(StatementError, match="chat"):
        gateway(make.endpoint(), make.chat_answer()).open_endpoint("chta")


@pytest.mark.parametrize("transport", ["pyreqwest", "httpx"])
def test_an_unusable_ca_file_is_found_before_any_call(
    make: Any, ledger: Ledger, tmp_path: Path, transport: Any
) -> None:
    settings = Settings(transport=transport, ca_file=str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match="ca_file"):
        Gateway(Config("conf", settings, {"chat": make.endpoint()}), ledger).open_endpoint("chat")


@pytest.mark.parametrize(("reply", "told"), [("unavailable", 0.0), ("cut", None)])
def test_what_a_failed_attempt_cost_is_told_before_the_next_one(
    make: Any, time: Any, gateway: Open, reply: str, told: float | None
) -> None:
    failed = make.failure(503) if reply == "unavailable" else make.response(b'{"choices": [')
    opened = gateway(make.endpoint(), failed, make.chat_answer())
    costs: list[float | None] = []

    async def next_attempt(cost_usd: float | None, asked: Request) -> None:
        costs.append(cost_usd)

    time.run(opened.answer(make.request(), next_attempt))
    assert costs == [told]
