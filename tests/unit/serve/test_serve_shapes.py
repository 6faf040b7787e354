"""Bodies of other APIs as chats: whatever comes is translated or refused, and events keep what the chunks say."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.serve.anthropic import ANTHROPIC
from aiq.serve.gemini import GEMINI
from aiq.serve.refusals import Refusal
from aiq.serve.responses import RESPONSES
from aiq.serve.shapes import Shape

BODIES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "responses": (
        RESPONSES,
        {
            "model": "m",
            "instructions": "kind",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "y"},
            ],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
            "reasoning": {"effort": "low"},
            "tools": [{"type": "function", "name": "f", "parameters": {}}],
            "tool_choice": {"type": "function", "name": "f"},
        },
    ),
    "anthropic": (
        ANTHROPIC,
        {
            "model": "m",
            "max_tokens": 5,
            "system": [{"type": "text", "text": "kind"}],
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "y"}]},
            ],
            "tools": [{"name": "f", "input_schema": {}}],
            "tool_choice": {"type": "tool", "name": "f"},
            "thinking": {"type": "enabled", "budget_tokens": 5},
            "metadata": {"user_id": "u"},
        },
    ),
    "gemini": (
        GEMINI,
        {
            "systemInstruction": {"parts": [{"text": "kind"}]},
            "contents": [
                {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "aaaa"}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
            ],
            "generationConfig": {"responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "safetySettings": [{"threshold": "OFF"}],
        },
    ),
}
ODD = st.sampled_from([None, True, 0, -1.5, "", "x", [], [1], ["x"], {}, {"type": "x"}, {"a": [None]}, [[]], [{}]])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to every member of a JSON value."""
    found = [path] if path else []
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for name, item in members for place in places(item, (*path, name))]


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_a_chat_that_keeps_its_tool_calls(name: str) -> None:
    shape, body = BODIES[name]
    chat = shape.chat(body)
    assert chat["messages"][0] == {"role": "system", "content": "kind"}
    (call,) = [call for message in chat["messages"] for call in message.get("tool_calls", ())]
    (result,) = [message for message in chat["messages"] if message["role"] == "tool"]
    assert result["tool_call_id"] == call["id"] and call["function"] == {"name": "f", "arguments": "{}"}
    assert chat["tools"][0]["function"]["name"] == "f"
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize("name", BODIES)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_wrong_member_is_refused_or_read(name: str, data: st.DataObject) -> None:
    shape, body = BODIES[name]
    body = copy.deepcopy(body)
    for place in data.draw(st.lists(st.sampled_from(places(body)), min_size=1, max_size=3)):
        holder: Any = body
        try:
            for step in place[:-1]:
                holder = holder[step]
            holder[place[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        if not isinstance(holder, str):
            holder[place[-1]] = copy.deepcopy(data.draw(ODD))
    try:
        chat = shape.chat(body)
    except Refusal as refused:
        assert refused.status == 400
    else:
        orjson.dumps(chat)


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"id": "c", "model": "m", "created": 5, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
CHUNKS = [
    chunk({"role": "assistant", "content": "one "}),
    chunk({"content": "two\u2028"}),
    chunk({"tool_calls": [CALL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
    chunk({}, "tool_calls"),
    {
        "id": "c",
        "model": "m",
        "choices": [],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 7,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    },
]


def events(shape: Shape, said: list[dict[str, Any]] = CHUNKS) -> list[dict[str, Any]]:
    async def chunks() -> AsyncIterator[dict[str, Any]]:
        for each in said:
            yield each

    async def written() -> bytes:
        return b"".join([piece async for piece in shape.events(chunks(), {})])

    lines = asyncio.run(written()).decode().split("\n")
    assert len("".join(lines).splitlines()) == 1  # no line end that only some readers know
    return [orjson.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_a_response_has_its_items_and_its_usage() -> None:
    made = events(RESPONSES)
    last = made[-1]["response"]
    message, call = last["output"]
    assert message["content"][0]["text"] == "one two\u2028" and call["arguments"] == '{"a": 1}'
    assert [event["item"]["id"] for event in made if event["type"] == "response.output_item.added"] == [
        message["id"],
        call["id"],
    ]
    assert (last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (10, 7)
    assert last["usage"]["input_tokens_details"] == {"cached_tokens": 4}


def test_an_agents_items_stand_between_its_words() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    item = {"id": "c", "model": "m", "choices": [], "agent_item": call}
    made = events(RESPONSES, [*CHUNKS[:1], item, item, *CHUNKS[1:2], *CHUNKS[4:]])
    output = made[-1]["response"]["output"]
    assert [each["type"] for each in output] == ["message", "function_call", "function_call", "message"]
    assert [output[at]["content"][0]["text"] for at in (0, 3)] == ["one ", "two\u2028"]
    done = [event for event in made if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in done] == [0, 1, 2, 3] and [event["item"] for event in done] == output
    assert len({each["id"] for each in output}) == 4
    assert [event["sequence_number"] for event in made] == list(range(len(made)))


def test_a_message_has_its_blocks_and_its_usage() -> None:
    made = events(ANTHROPIC)
    starts = [event for event in made if event["type"] == "content_block_start"]
    stops = [event["index"] for event in made if event["type"] == "content_block_stop"]
    assert [start["content_block"]["type"] for start in starts] == ["text", "tool_use"] and stops == [0, 1]
    assert made[-2]["delta"]["stop_reason"] == "tool_use" and made[-1]["type"] == "message_stop"
    usage = {"input_tokens": 6, "output_tokens": 7, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0}
    assert made[-2]["usage"] == usage


def test_generated_content_has_its_parts_and_its_usage() -> None:
    made = events(GEMINI)
    parts = [part for event in made for part in event["candidates"][0]["content"]["parts"]]
    assert "".join(part.get("text", "") for part in parts) == "one two\u2028"
    assert parts[-1]["functionCall"] == {"id": "c1", "name": "f", "args": {"a": 1}}
    usage = made[-1]["usageMetadata"]
    assert usage["candidatesTokenCount"] + usage["thoughtsTokenCount"] == 7 and usage["totalTokenCount"] == 17


def test_calls_whose_pieces_come_mixed_break_the_stream() -> None:
    other = {"index": 1, "id": "c2", "function": {"name": "g", "arguments": ""}}

    async def chunks() -> AsyncIterator[dict[str, Any]]:
        for call in (CALL, other, CALL):
            yield chunk({"tool_calls": [call]})

    async def read() -> None:
        async for _ in ANTHROPIC.events(chunks(), {}):
            pass

    with pytest.raises(Exception, match="mixed"):
        asyncio.run(read())
