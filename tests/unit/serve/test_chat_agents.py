"""A ChatAgent's stream on its way to a client: in its own form, and as a chat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest

from aiq.providers.base import Chunk, HttpResponse
from aiq.providers.mlflow.agent_stream import ChatAgentStream
from aiq.request import AGENTS_DELTA, Answer, Caller, Request, Usage
from aiq.serve.chat_agents import CHAT_AGENT
from aiq.serve.replies import Events
from aiq.serve.shapes import OPENAI

TASK = "agent/v2/chat"
CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "id": "m1", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "id": "m2", "name": "weather", "tool_call_id": "c", "content": "snow"},
    {"role": "assistant", "id": "m2a", "content": "", "attachments": {"map": "m"}},
    {"role": "assistant", "id": "m3", "content": "It sn"},
    {"role": "assistant", "id": "m3", "content": "ows."},
]
OWN = {"custom_outputs": {"k": 1}, "databricks_output": {"trace": {}}}


class Reads:
    """The part of the adapter that a stream needs."""

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        own = {name: data[name] for name in OWN if name in data}
        raw = orjson.dumps({"messages": data["messages"], **own}).decode()
        said = "".join(message["content"] or "" for message in data["messages"] if message["role"] == "assistant")
        return Answer(said, Usage(7, 3), "m", data.get("finish_reason") or "stop", raw)

    def error(self, response: HttpResponse) -> Any:
        raise AssertionError(response)


def request() -> Request:
    return Request("agent", TASK, {"messages": []}, Caller("ada@example.com"), statement_id="s", id="r-1")


async def gathered(pieces: AsyncGenerator[bytes, None]) -> list[dict[str, Any]]:
    lines = b"".join([piece async for piece in pieces]).split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""]
    return [orjson.loads(line.removeprefix(b"data: ")) for line in lines[:-2]]


def streamed(reason: str = "stop", shape: Any = CHAT_AGENT, part: str | None = AGENTS_DELTA) -> list[dict[str, Any]]:
    """The events of a stream of `DELTAS`."""
    decoder = ChatAgentStream(Reads(), request(), HttpResponse(200, lambda name: None, b""))  # type: ignore[arg-type]
    ended = {"delta": {"role": "assistant", "id": "m3", "content": ""}, "finish_reason": reason, **OWN}
    told = [*({"delta": delta} for delta in DELTAS), ended]
    body = b"".join(b"data: %b\n\n" % orjson.dumps(each) for each in told) + b"data: [DONE]\n\n"

    async def chunks() -> AsyncGenerator[Chunk, None]:
        for at in range(0, len(body), 50):
            for chunk in decoder.feed(body[at : at + 50]):
                yield chunk
        yield Chunk.last(decoder.end(), TASK)

    async def work() -> list[dict[str, Any]]:
        events = Events(chunks(), request(), agents_part=part)
        await events.begin()
        return await gathered(shape.events(events.all(), {}))

    return asyncio.run(work())


def test_every_message_of_the_answer_is_in_the_stream() -> None:
    events = streamed()
    assert [event["delta"] for event in events[:-1]] == DELTAS
    assert events[-1]["delta"] == {"role": "assistant", "id": "m3", "content": ""}
    assert {name: events[-1][name] for name in OWN} == OWN and events[-1]["usage"]["total_tokens"] == 10


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_the_reason_is_the_agents(reason: str) -> None:
    assert streamed(reason)[-1]["finish_reason"] == reason
    chat = streamed(reason, OPENAI, None)
    reasons = [choice["finish_reason"] for event in chat for choice in event["choices"] if choice["finish_reason"]]
    assert reasons == [reason]


def test_a_chat_has_what_is_said_alone() -> None:
    events = streamed(shape=OPENAI, part=None)
    assert (
        "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"]) == "It snows."
    )
    assert not any(AGENTS_DELTA in event for event in events)
    assert events[-1]["custom_outputs"] == OWN["custom_outputs"]


def test_an_answer_that_came_in_one_piece_is_one_message() -> None:
    answer = Answer("It snows.", Usage(7, 3), "m", "stop", '{"id": "c-1"}', entity="main")

    async def chunks() -> AsyncGenerator[Chunk, None]:
        yield Chunk.of(answer, TASK)
        yield Chunk.last(answer, TASK)

    async def work() -> list[dict[str, Any]]:
        events = Events(chunks(), request(), agents_part=AGENTS_DELTA)
        await events.begin()
        return await gathered(CHAT_AGENT.events(events.all(), {}))

    first, last = asyncio.run(work())
    assert first["delta"] == {"role": "assistant", "content": "It snows.", "id": "r-1"}
    assert last["finish_reason"] == "stop" and last["delta"]["id"] == "r-1"
