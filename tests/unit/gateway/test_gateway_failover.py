"""Who is asked when an answer fails, is late or not wanted any more: over a scripted transport, in a virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from aiq.config.connections import ModelServerConfig
from aiq.config.endpoint import Config, FailoverConfig, RateLimit, Settings
from aiq.errors import PolicyError, ProviderError, StreamBroken
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables
from aiq.policy.hedging import FEWEST
from aiq.providers.base import Chunk

Open = Callable[..., Gateway]
Rows = list[dict[str, Any]]


class ScriptedStream:
    """A response that comes in steps: bytes, seconds of silence, or an error."""

    def __init__(self, time: Any, status: int, header: Any, steps: list[Any]) -> None:
        self._time, self.status, self.header, self._steps = time, status, header, list(steps)
        self.closed = False

    async def read(self, wait_s: float) -> bytes:
        while self._steps:
            step = self._steps[0]
            if isinstance(step, float):
                await self._time.sleep(min(step, wait_s))
                if step > wait_s:
                    self._steps[0] = step - wait_s
                    raise TimeoutError
            self._steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, bytes):
                return step
        return b""

    async def close(self) -> None:
        self.closed = True


class StreamingTransport:
    """`script(request)` says what comes: a list of steps is a stream, a response is one in a single step."""

    def __init__(self, time: Any, script: Callable[[Any], Any]) -> None:
        self._time, self._script = time, script
        self.hosts: list[str] = []
        self.streams: list[ScriptedStream] = []

    def _reply(self, request: Any) -> Any:
        self.hosts.append(request.url.split("/")[2].removesuffix(".test"))
        return self._script(request)

    async def send(self, request: Any, timeout_s: float) -> Any:
        reply = self._reply(request)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def stream(self, request: Any, timeout_s: float, wait_s: float) -> ScriptedStream:
        reply = self._reply(request)
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, list):
            made = ScriptedStream(self._time, 200, {"content-type": "text/event-stream"}.get, reply)
        else:
            made = ScriptedStream(self._time, reply.status, lambda name: "application/json", [bytes(reply.body)])
        self.streams.append(made)
        return made

    async def close(self) -> None:
        pass


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps({"model": "m", "choices": [choice], **more}) + b"\n\n"


def said(text: str = "Hello.", *, after_s: float = 0.0) -> list[Any]:
    """A stream that says this, its first token after a while."""
    counts = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    usage = b"data: " + orjson.dumps({"model": "m", "choices": [], "usage": counts}) + b"\n\n"
    return [
        event({"role": "assistant"}),
        after_s,
        event({"content": text}),
        event({}, "stop"),
        usage,
        b"data: [DONE]\n\n",
    ]


@pytest.fixture
def time(make: Any) -> Any:
    return make.time()


@pytest.fixture
def gateway(make: Any, time: Any, ledger: Ledger) -> Open:
    """`gateway(script, failover, entities=..., ...)`: an endpoint of `a` with fallback `b` unless said."""

    def build(
        script: Any,
        failover: FailoverConfig | None = None,
        *,
        entities: Any = None,
        settings: Any = None,
        **changes: Any,
    ) -> Gateway:
        served = entities or (make.entity("a"), make.entity("b", 0))
        endpoint = make.endpoint(*served, **{"fallback": True, "failover": failover or FailoverConfig(), **changes})
        built = Gateway(
            Config("conf", Settings(limits_store="memory", **(settings or {})), {"chat": endpoint}),
            ledger,
            transport=StreamingTransport(time, script),
            clock=time.clock,
            sleep=time.sleep,
            rng=random.Random(1),
        )
        built.open_endpoint("chat")
        return built

    return build


@pytest.fixture
def calls(ledger: Ledger) -> Callable[[], Rows]:
    def read() -> Rows:
        ledger.commit()
        rows: Rows = Tables(ledger.home).to_arrow("system.aiq.calls").to_pylist()
        return sorted(rows, key=lambda row: (row["request_id"], row["attempt"]))

    return read


def hosts(gateway: Gateway) -> list[str]:
    found: list[str] = gateway.routes.transport.hosts  # type: ignore[union-attr]
    return found


def slots(gateway: Gateway) -> int:
    return sum(target.gate.in_flight for target in gateway.routes["chat"].targets.values())


def by_host(**replies: Any) -> Callable[[Any], Any]:
    """A script by host name; a list of replies there is taken in turn."""

    def script(request: Any) -> Any:
        reply = replies[request.url.split("/")[2].removesuffix(".test")]
        return reply(request) if callable(reply) and not hasattr(reply, "status") else reply

    return script


# ejection


@pytest.mark.parametrize(("status", "code"), [(401, None), (402, None), (429, "insufficient_quota"), (404, None)])
def test_what_does_not_pass_by_itself_costs_one_call_and_not_one_a_row(
    make: Any, time: Any, gateway: Open, status: int, code: str | None
) -> None:
    built = gateway(by_host(a=make.failure(status, code), b=make.chat_answer()))

    async def work() -> None:
        for _ in range(50):
            await built.answer(make.request())

    time.run(work())
    assert Counter(hosts(built)) == {"a": 1, "b": 50}


def test_a_request_for_one_entity_gets_its_answer_or_its_error(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(by_host(a=make.chat_answer(), b=make.failure(401)), limits=[RateLimit(2, period_s=60)])

    async def work() -> None:
        await built.answer(make.request(entity="a"))
        with pytest.raises(ProviderError):
            await built.answer(make.request(entity="b"))  # `a` would have answered
        with pytest.raises(PolicyError, match="'a', 'b'") as unknown:
            await built.answer(make.request(entity="c"))
        assert unknown.value.status == 404
        with pytest.raises(PolicyError) as limited:
            await built.answer(make.request(entity="a", interactive=True))
        assert limited.value.status == 429

    time.run(work())
    assert hosts(built) == ["a", "b"]
    assert [(row["served_entity_name"], row["status"], row["status_code"]) for row in calls()] == [
        ("a", "ok", 200),
        ("b", "error", 401),
        (None, "refused", 404),
        (None, "refused", 429),
    ]


def test_a_row_that_passes_an_ejected_entity_over_says_so(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(by_host(a=make.failure(401), b=make.chat_answer()))

    async def work() -> None:
        for _ in range(2):
            await built.answer(make.request())

    time.run(work())
    assert [(row["served_entity_name"], row["fallback_from"]) for row in calls()] == [
        ("a", None),
        ("b", "a"),
        ("b", "a"),
    ]


def test_an_entity_that_is_well_again_is_asked_again(make: Any, time: Any, gateway: Open) -> None:
    well = False
    built = gateway(by_host(a=lambda _: make.chat_answer() if well else make.failure(503), b=make.chat_answer()))

    async def work() -> list[str]:
        nonlocal well
        for _ in range(4):
            await built.answer(make.request())
        well = True
        await time.sleep(30)
        before = len(hosts(built))
        for _ in range(3):
            await built.answer(make.request())
        return hosts(built)[before:]

    assert time.run(work()) == ["a", "a", "a"]


def test_of_many_at_once_one_makes_the_probe(make: Any, time: Any, gateway: Open) -> None:
    async def slow(reply: Any) -> Any:
        await time.sleep(1)
        return reply

    class Slow(StreamingTransport):
        async def send(self, request: Any, timeout_s: float) -> Any:
            return await slow(await super().send(request, timeout_s))

    built = gateway(by_host(a=make.failure(401), b=make.chat_answer()))
    slow_transport = Slow(time, by_host(a=make.failure(401), b=make.chat_answer()))
    built.routes["chat"].connections.transport = slow_transport

    async def work() -> Counter[str]:
        await built.answer(make.request())
        await time.sleep(60)
        before = len(built.routes["chat"].connections.transport.hosts)  # type: ignore[attr-defined]
        await asyncio.gather(*(built.answer(make.request()) for _ in range(20)))
        return Counter(built.routes["chat"].connections.transport.hosts[before:])  # type: ignore[attr-defined]

    assert time.run(work()) == {"a": 1, "b": 20}


def test_without_another_entity_an_ejected_one_is_asked(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(by_host(a=make.failure(401)), entities=(make.entity("a"),))

    async def work() -> None:
        for _ in range(3):
            with pytest.raises(ProviderError):
                await built.answer(make.request())

    time.run(work())
    assert hosts(built) == ["a"] * 3


# context


def test_a_prompt_that_is_too_long_for_everybody_fails_at_once(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(by_host(a=make.failure(400, "context_length_exceeded")))
    with pytest.raises(ProviderError, match="no"):
        time.run(built.answer(make.request()))
    assert hosts(built) == ["a"]


def test_a_prompt_that_is_too_long_goes_where_there_is_more_context(make: Any, time: Any, gateway: Open) -> None:
    entities = (make.entity("a", model="gpt-4"), make.entity("b", 0, model="gpt-4o"))
    built = gateway(by_host(a=make.failure(400, "context_length_exceeded"), b=make.chat_answer()), entities=entities)
    time.run(built.answer(make.request()))
    assert hosts(built) == ["a", "b"]


# patience


def test_a_retry_that_would_come_after_the_deadline_is_not_waited_for(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(by_host(a=make.failure(429, retry_after="60")), entities=(make.entity("a"),))
    with pytest.raises(ProviderError):
        time.run(built.answer(make.request(deadline_s=time.now + 30)))
    assert time.now == 1000.0


def test_somebody_who_waits_in_person_is_told_of_a_long_pause(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(by_host(a=make.failure(429, retry_after="60")), entities=(make.entity("a"),))

    async def work() -> list[Any]:
        found = []
        for _ in range(2):
            with pytest.raises(ProviderError) as caught:
                await built.answer(make.request(interactive=True))
            found.append((caught.value.status, caught.value.retry_after_s))
        return found

    assert time.run(work()) == [(429, 60.0), (429, 60.0)]
    assert (time.now, len(hosts(built))) == (1000.0, 1)
    assert [row["final"] for row in calls()] == [True, True]


# silence in whole answers


def test_a_late_first_token_is_not_waited_for(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(by_host(a=said(after_s=20.0), b=said("Hi.")), FailoverConfig(first_token_timeout_s=10.0))
    assert time.run(built.answer(make.request())).value == "Hi."
    assert time.now == 1010.0
    assert [(row["error_class"], row["final"]) for row in calls()] == [("timeout", False), (None, True)]


def test_a_silent_stream_is_left_and_what_it_said_is_on_its_bill(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    stalled = [event({"content": "A beginning of"}), 100.0, event({}, "stop")]
    built = gateway(by_host(a=stalled, b=said("Hi.")), FailoverConfig(idle_timeout_s=5.0))
    assert time.run(built.answer(make.request())).value == "Hi."
    assert time.now == 1005.0
    row = calls()[0]
    assert (row["tokens_estimated"], row["output_tokens"], row["cost_usd"] > 0) == (True, 3, True)


def test_pings_are_no_tokens(make: Any, time: Any, gateway: Open) -> None:
    pinged = [b": ping\n\n", 4.0] * 10
    built = gateway(by_host(a=pinged, b=said("Hi.")), FailoverConfig(first_token_timeout_s=10.0))
    assert time.run(built.answer(make.request())).value == "Hi."
    assert time.now == 1010.0


def test_a_server_that_ignores_the_wish_for_a_stream_is_understood(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(by_host(a=make.chat_answer("Whole.")), FailoverConfig(first_token_timeout_s=10.0))
    assert time.run(built.answer(make.request())).value == "Whole."


def test_a_silent_entity_without_another_is_given_up_at_the_timeout(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(by_host(a=[1000.0]), FailoverConfig(idle_timeout_s=5.0), entities=(make.entity("a"),))
    with pytest.raises(ProviderError, match="timeout_s") as caught:
        time.run(built.answer(make.request()))
    assert (caught.value.kind, len(hosts(built))) == ("timeout", 2)


# hedging

HEDGING = FailoverConfig(hedging=True)


def learnt(gateway: Gateway, make: Any) -> Any:
    """Enough answers of one second to know what is late."""

    async def ask() -> None:
        for _ in range(FEWEST):
            await gateway.answer(make.request())

    return ask()


def hedged_script(late_s: float, other_s: float = 0.5) -> Callable[[Any], Any]:
    asked = Counter[str]()

    def script(request: Any) -> Any:
        host = request.url.split("/")[2].removesuffix(".test")
        asked[host] += 1
        if host == "b":
            return said("B.", after_s=other_s)
        return said("A.", after_s=1.0 if asked["a"] <= FEWEST else late_s)

    return script


def test_a_late_answer_is_asked_for_a_second_time_elsewhere(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(hedged_script(60.0), HEDGING)

    async def work() -> tuple[str, float]:
        await learnt(built, make)
        began = time.now
        return (await built.answer(make.request())).value, time.now - began

    assert time.run(work()) == ("B.", 1.5)
    rows = calls()[-2:]
    assert [(row["served_entity_name"], row["status"], row["final"]) for row in rows] == [
        ("a", "cancelled", False),
        ("b", "ok", True),
    ]
    assert slots(built) == 0


def test_the_loser_is_closed_and_its_cost_is_in_the_ledger(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(hedged_script(60.0), HEDGING)

    async def work() -> None:
        await learnt(built, make)
        await built.answer(make.request())

    time.run(work())
    assert all(stream.closed for stream in built.routes.transport.streams)  # type: ignore[union-attr]
    loser = calls()[-2]
    assert (loser["status"], loser["tokens_estimated"]) == ("cancelled", True)
    assert loser["cost_usd"] > 0


def test_an_answer_that_is_not_late_is_asked_for_once(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(hedged_script(0.9), HEDGING)

    async def work() -> None:
        await learnt(built, make)
        await built.answer(make.request())

    time.run(work())
    assert set(hosts(built)) == {"a"}


def test_the_first_wins_where_it_is_faster_after_all(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(hedged_script(1.25, other_s=5.0), HEDGING)

    async def work() -> str:
        await learnt(built, make)
        answer: str = (await built.answer(make.request())).value
        return answer

    assert time.run(work()) == "A."
    assert [(row["served_entity_name"], row["status"], row["final"]) for row in calls()[-2:]] == [
        ("a", "ok", True),
        ("b", "cancelled", False),
    ]


def test_without_hedging_a_late_answer_is_waited_for(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(hedged_script(60.0), FailoverConfig(idle_timeout_s=100.0))

    async def work() -> None:
        await learnt(built, make)
        await built.answer(make.request())

    time.run(work())
    assert set(hosts(built)) == {"a"}


def test_a_hedged_request_that_is_cancelled_ends_once(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(hedged_script(60.0, other_s=60.0), HEDGING)

    async def work() -> None:
        await learnt(built, make)
        task = asyncio.ensure_future(built.answer(make.request()))
        await time.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    time.run(work())
    last = calls()[-2:]
    assert [row["status"] for row in last] == ["cancelled", "cancelled"]
    assert sum(row["final"] for row in last) == 1
    assert slots(built) == 0


def test_where_both_fail_the_request_goes_on_as_after_the_first(
    make: Any, time: Any, gateway: Open, calls: Any
) -> None:
    asked = Counter[str]()

    def script(request: Any) -> Any:
        host = request.url.split("/")[2].removesuffix(".test")
        asked[host] += 1
        if host == "b":
            return said("B.") if asked["b"] > 1 else [0.5, make.error("network")]
        return said("A.", after_s=1.0) if asked["a"] <= FEWEST else [3.0, make.error("network")]

    built = gateway(script, HEDGING)

    async def work() -> Any:
        await learnt(built, make)
        return (await built.answer(make.request())).value

    assert time.run(work()) == "B."
    last = calls()[FEWEST:]
    assert sum(row["final"] for row in last) == 1 and last[-1]["status"] == "ok"
    assert slots(built) == 0


def test_an_outage_is_not_doubled_by_hedging(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(hedged_script(60.0), HEDGING)

    async def work() -> None:
        await learnt(built, make)
        built.routes["chat"].targets["b"].quota.available = 0
        await built.answer(make.request())

    time.run(work())
    assert set(hosts(built)) == {"a"}


def test_a_budget_reserves_for_both_calls_of_a_hedged_request(make: Any, gateway: Open) -> None:
    one = gateway(by_host(a=said())).most_it_costs(make.request())
    assert gateway(by_host(a=said()), HEDGING).most_it_costs(make.request()) == 2 * one


# streams


async def read(gateway: Gateway, request: Any) -> tuple[list[Chunk], ProviderError | None]:
    chunks: list[Chunk] = []
    try:
        async for chunk in gateway.stream(request):
            chunks.append(chunk)
    except ProviderError as error:
        return chunks, error
    return chunks, None


def test_a_streamed_answer_leaves_one_final_row(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    chunks, error = time.run(read(gateway(by_host(a=said("Hello."))), make.request()))
    assert ("".join(chunk.text for chunk in chunks), error) == ("Hello.", None)
    rows = calls()
    assert [(row["status"], row["final"], row["output_tokens"]) for row in rows] == [("ok", True, 5)]
    assert rows[0]["cost_usd"] > 0


def test_nothing_leaves_before_the_first_token(make: Any, time: Any, gateway: Open) -> None:
    broken = [event({"role": "assistant"}), make.error("network")]
    chunks, error = time.run(read(gateway(by_host(a=broken, b=said("Hi."))), make.request()))
    assert ("".join(chunk.text for chunk in chunks), error) == ("Hi.", None)


def test_after_the_first_token_nobody_else_is_asked(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(by_host(a=[event({"content": "Hel"}), make.error("network")], b=said()))
    chunks, error = time.run(read(built, make.request()))
    assert isinstance(error, StreamBroken)
    assert (error.kind, error.endpoint, error.entity, hosts(built)) == ("network", "chat", "a", ["a"])
    assert [chunk.text for chunk in chunks] == ["Hel"]
    assert [(row["status"], row["final"]) for row in calls()] == [("error", True)]


def test_a_stream_from_a_server_that_cannot_is_one_chunk_and_its_usage(make: Any, time: Any, gateway: Open) -> None:
    chunks, error = time.run(read(gateway(by_host(a=make.chat_answer("Whole."))), make.request()))
    assert error is None
    assert [chunk.text for chunk in chunks] == ["Whole.", ""]
    assert chunks[0].data["choices"][0]["delta"]["content"] == "Whole."
    assert chunks[1].usage is not None and chunks[1].data["usage"]["total_tokens"] == 15


def test_an_empty_stream_is_answered_by_the_fallback_before_anything_left(make: Any, time: Any, gateway: Open) -> None:
    end = [event({}, "stop"), b"data: [DONE]\n\n"]
    built = gateway(by_host(a=[event({"role": "assistant"}), *end], b=[event({"content": "Yes."}), *end]))
    chunks, error = time.run(read(built, make.request()))
    assert error is None
    assert "".join(chunk.text for chunk in chunks) == "Yes."
    assert hosts(built)[-1] == "b" and hosts(built).count("a") <= 2


def test_whoever_stops_reading_ends_the_call(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(by_host(a=[event({"content": "Hel"}), 100.0, event({}, "stop")]))

    async def work() -> None:
        chunks = built.stream(make.request())
        async for _ in chunks:
            break
        await chunks.aclose()

    time.run(work())
    assert [(row["status"], row["final"]) for row in calls()] == [("cancelled", True)]
    assert slots(built) == 0
    assert built.routes.transport.streams[0].closed  # type: ignore[union-attr]


def test_a_stream_that_is_cancelled_while_it_waits_ends_once(make: Any, time: Any, gateway: Open, calls: Any) -> None:
    built = gateway(by_host(a=[100.0]))

    async def work() -> None:
        task = asyncio.ensure_future(read(built, make.request()))
        await time.settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    time.run(work())
    assert [(row["status"], row["final"]) for row in calls()] == [("cancelled", True)]
    assert slots(built) == 0


def test_a_stream_is_admitted_like_any_request(make: Any, time: Any, gateway: Open) -> None:
    built = gateway(by_host(a=said()), limits=[RateLimit(0)])
    with pytest.raises(PolicyError):
        time.run(read(built, make.request()))
    assert hosts(built) == []


def test_what_does_not_come_in_pieces_is_refused_before_any_call(make: Any, time: Any, gateway: Open) -> None:
    model = make.entity("m", provider="model-server", task="custom", config=ModelServerConfig("http://m.test/x"))
    built = gateway(by_host(), entities=(model,))
    with pytest.raises(PolicyError, match="do not come in pieces") as caught:
        time.run(read(built, make.request(task="custom")))
    assert caught.value.status == 400


@pytest.mark.parametrize("seed", range(5))
def test_each_of_many_mixed_requests_ends_exactly_once(
    make: Any, time: Any, gateway: Open, calls: Any, seed: int
) -> None:
    rng = random.Random(seed)
    cut = [event({"content": "Hel"}), 0.2, make.error("network")]
    stalled = [event({"content": "Hel"}), 9.0, event({}, "stop")]
    replies: list[Any] = [make.failure(503), make.failure(429, retry_after="1"), make.failure(400), make.failure(401)]
    replies += [make.error("network"), [b"data: {\n\n"], [9.0], cut, stalled, make.chat_answer()]

    def script(request: Any) -> Any:
        return said(after_s=rng.expovariate(2.0)) if rng.random() < 0.7 else rng.choice(replies)

    failover = FailoverConfig(hedging=True, first_token_timeout_s=5.0, idle_timeout_s=3.0)
    built = gateway(script, failover, settings={"concurrency": 8})

    async def ask(number: int) -> None:
        if number % 3:
            await built.answer(make.request())
            return
        chunks = built.stream(make.request())
        async for _ in chunks:
            if number % 2:
                await chunks.aclose()

    async def work() -> None:
        tasks = [asyncio.ensure_future(ask(number)) for number in range(150)]
        await time.sleep(1.5)
        for task in rng.sample(tasks, 30):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    time.run(work())
    rows = calls()
    finals = [row["request_id"] for row in rows if row["final"]]
    assert len(finals) == len(set(finals)) == 150
    assert len({(row["request_id"], row["attempt"]) for row in rows}) == len(rows)
    assert slots(built) == 0
    assert all(stream.closed for stream in built.routes.transport.streams)  # type: ignore[union-attr]
