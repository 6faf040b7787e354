"""Answers of the wrong form in the pipeline: put right once, counted as attempts, told to a person after that."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from aiq.config.endpoint import Config, FailoverConfig, Guardrails, Price, RateLimit, Settings, SideGuardrails
from aiq.errors import BudgetExceeded, ProviderError, StreamBroken
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.providers.base import Chunk
from aiq.request import Request

Open = Callable[..., Gateway]
Rows = list[dict[str, Any]]

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
GOOD, BAD, PROSE = '{"n": 3}', '{"n": "3"}', "It is three."


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


class Streaming:
    """The scripted transport, whose answers also come as streams."""

    def __init__(self, scripted: Any) -> None:
        self._scripted = scripted
        self.sent = scripted.sent

    async def send(self, request: Any, timeout_s: float) -> Any:
        return await self._scripted.send(request, timeout_s)

    async def stream(self, request: Any, timeout_s: float, wait_s: float) -> Any:
        return Streamed(await self._scripted.send(request, timeout_s))

    async def close(self) -> None:
        pass


class Streamed:
    """A whole answer as a stream of two pieces of text."""

    def __init__(self, response: Any) -> None:
        self.status, self.header = response.status, {"content-type": "text/event-stream"}.get
        data = orjson.loads(response.body)
        if response.status != 200:
            self.header, self._pieces = (lambda name: "application/json"), [response.body]
            return
        (choice,) = data["choices"]
        text = choice["message"]["content"] or ""
        deltas = [{"content": part} for part in (text[:4], text[4:]) if part]
        self._pieces = [self._event(delta, None) for delta in deltas]
        self._pieces += [self._event({}, choice["finish_reason"]), b"data: [DONE]\n\n"]

    @staticmethod
    def _event(delta: dict[str, Any], finish: str | None) -> bytes:
        usage = {"prompt_tokens": 10, "completion_tokens": 5} if finish else None
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + orjson.dumps({"model": "m", "choices": [choice], "usage": usage}) + b"\n\n"

    async def read(self, wait_s: float) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def close(self) -> None:
        pass


@pytest.fixture
def gateway(make: Any, time: Any, ledger: Ledger) -> Open:
    """`gateway(reply, ...)`: an endpoint of `a`, with the fallback `b`, that answers with these in turn."""

    def build(*replies: Any, settings: Any = None, **changes: Any) -> Gateway:
        endpoint = make.endpoint(make.entity("a"), make.entity("b", 0), fallback=True, **changes)
        built = Gateway(
            Config("conf", Settings(limits_store="memory", **(settings or {})), {endpoint.name: endpoint}),
            ledger,
            transport=Streaming(make.transport(*replies)),
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(1),
        )
        built.open_endpoint(endpoint.name)
        return built

    return build


def asked(make: Any, **changes: Any) -> Request:
    body = {"messages": [{"role": "user", "content": "How many?"}], "response_format": FORMAT}
    request: Request = make.request(body=body, **changes)
    return request


def cut(make: Any, text: str = '{"n": ') -> Any:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    return make.chat_answer(choices=[choice])


def ends(rows: Rows) -> list[tuple[Any, ...]]:
    return [(row["served_entity_name"], row["route"], row["status"], row["error_class"], row["final"]) for row in rows]


def test_an_answer_of_the_right_form_is_asked_for_once(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    assert time.run(gateway(make.chat_answer(GOOD)).answer(asked(make))).value == GOOD
    assert ends(calls()) == [("a", "traffic", "ok", None, True)]


@pytest.mark.parametrize("wrong", [BAD, PROSE, None])
def test_a_wrong_answer_is_put_right_in_an_attempt_of_its_own(
    make: Any, time: Any, gateway: Open, calls: Any, wrong: str | None
) -> None:
    answer = time.run(gateway(make.chat_answer(wrong), make.chat_answer(GOOD)).answer(asked(make)))
    rows = calls()
    assert answer.value == GOOD and time.slept in ([], [0.0])
    assert ends(rows) == [("a", "traffic", "error", "bad_schema", False), ("a", "repair", "ok", None, True)]
    assert [row["attempt"] for row in rows] == [1, 2]
    assert [row["input_tokens"] for row in rows] == [10, 10]
    assert all(row["cost_usd"] > 0 for row in rows)


def test_a_repair_tells_the_model_what_it_said_and_what_is_wrong(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(make.chat_answer(BAD), make.chat_answer(GOOD))
    time.run(built.answer(asked(make)))
    first, second = (orjson.loads(sent.body) for sent in built.routes.transport.sent)  # type: ignore[union-attr]
    assert second["messages"][:1] == first["messages"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == BAD and "$.n" in second["messages"][2]["content"]
    assert second["response_format"] == first["response_format"]


def test_what_is_wrong_twice_is_an_error_that_nobody_else_is_asked_about(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    with pytest.raises(ProviderError) as caught:
        time.run(gateway(make.chat_answer(BAD)).answer(asked(make)))
    assert caught.value.kind == "bad_schema" and caught.value.attempts == 2
    assert '$.n: "3" is not of type "integer"' in str(caught.value)
    assert ends(calls()) == [
        ("a", "traffic", "error", "bad_schema", False),
        ("a", "repair", "error", "bad_schema", True),
    ]


def test_an_answer_that_was_cut_is_an_error_at_once(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    with pytest.raises(ProviderError, match="max_tokens"):
        time.run(gateway(cut(make)).answer(asked(make)))
    (row,) = calls()
    assert (row["error_class"], row["output_tokens"], row["final"]) == ("bad_schema", 5, True)


def test_a_cut_answer_to_a_request_for_text_stays_one(make: Any, time: Any, gateway: Open) -> None:
    assert time.run(gateway(cut(make)).answer(make.request())).value == '{"n": '


def test_a_repair_that_finds_the_provider_down_is_retried_like_any_request(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    replies = [make.chat_answer(BAD), make.failure(503), make.chat_answer(GOOD)]
    assert time.run(gateway(*replies).answer(asked(make))).value == GOOD
    assert [row["route"] for row in calls()] == ["traffic", "repair", "repair"]


def test_a_fallback_starts_from_the_request_itself(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.chat_answer(BAD), make.failure(401), make.chat_answer(GOOD))
    assert time.run(built.answer(asked(make))).value == GOOD
    assert ends(calls()) == [
        ("a", "traffic", "error", "bad_schema", False),
        ("a", "repair", "error", "auth", False),
        ("b", "fallback", "ok", None, True),
    ]
    assert len(orjson.loads(built.routes.transport.sent[-1].body)["messages"]) == 1  # type: ignore[union-attr]


def test_a_wrong_form_is_no_failure_of_the_provider(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.chat_answer(BAD))

    async def work() -> None:
        for _ in range(6):
            with pytest.raises(ProviderError):
                await built.answer(asked(make))
        target = built.routes["chat"].targets["a"]
        assert not target.health.ejected and target.gate.limit == 64

    time.run(work())
    assert {row["served_entity_name"] for row in calls()} == {"a"}


def test_after_its_deadline_nothing_is_put_right(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    def late(request: Any) -> Any:
        time.now += 10.0
        return make.chat_answer(BAD)

    with pytest.raises(ProviderError):
        time.run(gateway(late).answer(asked(make, deadline_s=time.now + 5.0)))
    assert ends(calls()) == [("a", "traffic", "error", "bad_schema", True)]


def test_what_the_first_answer_cost_and_what_the_repair_may_cost_is_told_before_it(
    make: Any, time: Any, gateway: Open
) -> None:
    built = gateway(make.chat_answer(BAD), make.chat_answer(GOOD))
    told: list[tuple[float | None, float]] = []

    async def next_attempt(cost_usd: float | None, following: Request) -> None:
        told.append((cost_usd, built.most_it_costs(following)))

    request = asked(make)
    answer = time.run(built.answer(request, next_attempt))
    ((cost, most),) = told
    assert cost == answer.cost_usd and most > built.most_it_costs(request)


def test_without_money_for_it_there_is_no_repair(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.chat_answer(BAD), make.chat_answer(GOOD))

    async def spent(cost_usd: float | None, following: Request) -> None:
        raise BudgetExceeded("no")

    with pytest.raises(BudgetExceeded):
        time.run(built.answer(asked(make), spent))
    assert len(calls()) == 1


def test_the_tokens_of_both_answers_count_against_a_limit(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(make.chat_answer(BAD), make.chat_answer(GOOD), limits=[RateLimit(20, unit="tokens")])
    time.run(built.answer(asked(make)))
    time.run(built.answer(asked(make)))
    (wait,) = {row["limit_wait_ms"] for row in calls() if row["limit_wait_ms"]}
    assert wait > 30_000


def test_a_fence_is_taken_off_in_one_attempt(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    answer = time.run(gateway(make.chat_answer(f"```json\n{GOOD}\n```")).answer(asked(make)))
    assert answer.value == GOOD and len(calls()) == 1


def test_words_that_no_guardrail_has_seen_are_not_in_the_error(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    guards = Guardrails(output=SideGuardrails(invalid_keywords=("secretword",)))
    with pytest.raises(ProviderError) as caught:
        time.run(gateway(make.chat_answer('{"n": "secretword"}'), guardrails=guards).answer(asked(make)))
    assert caught.value.kind == "bad_schema"
    assert "secretword" not in str(caught.value) + str(caught.value.body) + str(calls())


@pytest.mark.parametrize("failover", [FailoverConfig(idle_timeout_s=5.0), FailoverConfig(hedging=True)])
def test_whole_answers_that_are_asked_for_as_streams_are_put_right_too(
    make: Any, time: Any, gateway: Open, calls: Any, failover: FailoverConfig
) -> None:
    built = gateway(make.chat_answer(BAD), make.chat_answer(GOOD), failover=failover)
    assert time.run(built.answer(asked(make))).value == GOOD
    assert [row["route"] for row in calls()] == ["traffic", "repair"]


async def read(built: Gateway, request: Request) -> list[Chunk]:
    return [chunk async for chunk in built.stream(request)]


def test_a_stream_of_the_right_form_is_let_through(make: Any, time: Any, gateway: Open) -> None:
    chunks = time.run(read(gateway(make.chat_answer(GOOD)), asked(make)))
    assert "".join(chunk.text for chunk in chunks) == GOOD and chunks[-1].usage is not None


@pytest.mark.parametrize("reply", [BAD, "cut"])
def test_a_stream_of_the_wrong_form_ends_with_an_error(
    make: Any, time: Any, gateway: Open, calls: Any, reply: str
) -> None:
    built = gateway(cut(make) if reply == "cut" else make.chat_answer(reply))
    with pytest.raises(ProviderError) as caught:
        time.run(read(built, asked(make)))
    assert caught.value.kind == "bad_schema" and not isinstance(caught.value, StreamBroken)
    (row,) = calls()
    assert (row["error_class"], row["input_tokens"], row["final"]) == ("bad_schema", 10, True)


def test_a_guarded_stream_comes_whole_and_is_put_right(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    guards = Guardrails(output=SideGuardrails(invalid_keywords=("secretword",)))
    built = gateway(make.chat_answer(BAD), make.chat_answer(GOOD), guardrails=guards)
    chunks = time.run(read(built, asked(make)))
    assert "".join(chunk.text for chunk in chunks) == GOOD and len(calls()) == 2


def test_a_price_of_both_attempts_is_in_the_ledger(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    settings = {"prices": {"gpt-4o-mini": Price(1.0, 2.0)}}
    time.run(gateway(make.chat_answer(BAD), make.chat_answer(GOOD), settings=settings).answer(asked(make)))
    assert sum(row["cost_usd"] for row in calls()) == pytest.approx(2 * (10 * 1.0 + 5 * 2.0) / 1e6)
