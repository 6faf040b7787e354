"""Anthropic's streams: OpenAI's chunks and a whole answer, however the bytes are cut, and never half of one."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.anthropic.stream import MAX_EVENT_BYTES
from aiq.providers.base import Chunk, StreamDecoder
from aiq.request import Answer, Usage


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + orjson.dumps({"type": kind, **members}) + b"\n\n"


def start(usage: Any = None) -> bytes:
    told = {"input_tokens": 7, "cache_read_input_tokens": 20, "output_tokens": 1} if usage is None else usage
    message = {"id": "msg_1", "type": "message", "model": "claude-x", "content": [], "stop_reason": None}
    return event("message_start", message={**message, "usage": told})


def block(index: int, begun: Any, *deltas: Any) -> bytes:
    pieces = [event("content_block_start", index=index, content_block=begun)]
    pieces += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return b"".join([*pieces, event("content_block_stop", index=index)])


def words(index: int, *texts: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in texts))


def finish(stop: str = "end_turn", **more: Any) -> bytes:
    usage = {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}
    return event("message_delta", delta={"stop_reason": stop, "stop_sequence": None, **more}, usage=usage)


STOP = event("message_stop")
PING = event("ping")
THINK = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "Hm, "},
    {"type": "thinking_delta", "thinking": "well."},
    {"type": "signature_delta", "signature": "c2ln"},
)
CALL = block(
    2,
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    {"type": "input_json_delta", "partial_json": ""},
    {"type": "input_json_delta", "partial_json": '{"city": "R'},
    {"type": "input_json_delta", "partial_json": 'om 🎈"}'},
)
GOOD = start() + PING + THINK + words(1, "Héllo ", "wörld 🎈") + CALL + finish("tool_use") + STOP
USAGE = Usage(27, 9, 20, 4)


@pytest.fixture(scope="session")
def decoder(make: Any) -> Any:
    """`decoder(body=..., content_type=...)`: for a streamed answer to this body."""
    entity = make.entity(provider="anthropic", config=KeyConfig(Secret("sk-ant-secret", "test"), "http://c.test"))
    adapter = adapter_for(entity, clock=lambda: 1_800_000_000.0)
    adapter.prepare()

    def build(content_type: str = "text/event-stream; charset=utf-8", **changes: Any) -> StreamDecoder:
        return adapter.decoder(make.request(**changes), make.response(b"", **{"content-type": content_type}))

    return build


def read(decoder: StreamDecoder, *pieces: bytes) -> tuple[list[Chunk], Answer]:
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    return chunks, decoder.end()


def test_the_chunks_have_openais_form(decoder: Any) -> None:
    chunks, _ = read(decoder(), GOOD)
    envelope = {"id": "msg_1", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": "claude-x"}
    assert all(chunk.data.items() >= envelope.items() for chunk in chunks)
    function = {"name": "weather", "arguments": ""}
    assert [chunk.data["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm, "},
        {"reasoning_content": "well."},
        {"content": "Héllo "},
        {"content": "wörld 🎈"},
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": function}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "R'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'om 🎈"}'}}]},
        {},
    ]
    assert [chunk.data["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 8 + ["tool_calls"]
    assert [chunk.token for chunk in chunks] == [False] + [True] * 8


def test_thoughts_are_no_text(decoder: Any) -> None:
    chunks, answer = read(decoder(), GOOD)
    assert "".join(chunk.text for chunk in chunks) == answer.value == "Héllo wörld 🎈"


def test_the_whole_answer_is_there_at_the_end(decoder: Any) -> None:
    _, answer = read(decoder(), GOOD)
    assert (answer.usage, answer.finish_reason, answer.model) == (USAGE, "tool_calls", "claude-x")
    message = orjson.loads(answer.raw)["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm, well."
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rom 🎈"}'}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_the_bytes_may_be_cut_anywhere(decoder: Any, ends: str) -> None:
    body = GOOD.decode().replace("\n", ends).encode()
    whole = read(decoder(), body)
    for position in range(len(body) + 1):
        assert read(decoder(), body[:position], body[position:]) == whole
    assert read(decoder(), *(bytes([byte]) for byte in body)) == whole


@pytest.mark.parametrize("tail", [b"", STOP, PING])
def test_with_its_stop_reason_an_answer_is_whole(decoder: Any, tail: bytes) -> None:
    reader = decoder()
    reader.feed(start() + words(0, "Hi") + finish() + tail)
    assert reader.complete and reader.ended == (tail == STOP)
    assert reader.end().value == "Hi"


def test_a_stream_that_breaks_off_is_no_answer_wherever_it_does(decoder: Any) -> None:
    end = GOOD.index(b"event: message_delta") + len(finish("tool_use"))
    for position in range(end - 1):  # the last byte ends the event
        reader = decoder()
        reader.feed(GOOD[:position])
        with pytest.raises(ProviderError) as caught:
            reader.end()
        assert caught.value.kind == "bad_answer"


def test_what_was_read_before_a_break_is_billed(decoder: Any) -> None:
    reader = decoder()
    assert reader.partial() is None
    reader.feed(start() + words(0, "x" * 39))
    assert reader.partial() == Usage(27, 10, 20, estimated=True)


def test_without_a_count_both_sides_are_estimated(decoder: Any) -> None:
    reader = decoder()
    reader.feed(start({}) + words(0, "x" * 39))
    assert reader.partial() == Usage(0, 10, estimated=True)
    assert reader.partial() is not None


@pytest.mark.parametrize(
    ("kind", "status", "meant"),
    [
        ("overloaded_error", 529, "overloaded"),
        ("rate_limit_error", 429, "rate_limited"),
        ("api_error", 500, "overloaded"),
    ],
)
def test_an_error_in_the_middle_is_the_error_it_would_have_been(
    decoder: Any, kind: str, status: int, meant: str
) -> None:
    reader = decoder()
    with pytest.raises(ProviderError) as caught:
        reader.feed(start() + words(0, "Hi") + event("error", error={"type": kind, "message": "Overloaded"}))
    assert (caught.value.status, caught.value.kind, caught.value.reason) == (status, meant, "Overloaded")


def test_a_refusal_ends_in_an_error_and_was_billed(decoder: Any) -> None:
    reader = decoder()
    details = {"type": "refusal", "category": None, "explanation": None}
    chunks = reader.feed(start() + words(0, "Part") + finish("refusal", stop_details=details) + STOP)
    assert all(chunk.data["choices"][0]["finish_reason"] is None for chunk in chunks)
    with pytest.raises(ProviderError) as caught:
        reader.end()
    assert (caught.value.kind, caught.value.reason, caught.value.usage) == (
        "content_filter",
        "the model refused",
        USAGE,
    )


def test_a_call_without_arguments_has_an_empty_object(decoder: Any) -> None:
    call = block(0, {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}})
    chunks, answer = read(decoder(), start() + call + finish("tool_use") + STOP)
    assert chunks[2].data["choices"][0]["delta"]["tool_calls"][0]["function"] == {"arguments": "{}"}
    assert orjson.loads(answer.raw)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_arguments_that_are_no_json_are_no_answer_unless_they_were_cut_off(decoder: Any) -> None:
    call = block(
        0,
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"ci'},
    )
    reader = decoder()
    reader.feed(start() + call + finish("tool_use") + STOP)
    with pytest.raises(ProviderError, match="no message"):
        reader.end()
    _, answer = read(decoder(), start() + call + finish("max_tokens") + STOP)
    assert answer.finish_reason == "length"


def test_a_web_search_of_anthropics_own_adds_no_text(decoder: Any) -> None:
    search = block(
        0,
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query": "x"}'},
    )
    found = block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})
    _, answer = read(decoder(), start() + search + found + words(2, "Hi") + finish() + STOP)
    assert answer.value == "Hi"


def test_events_that_may_yet_come_are_read_over(decoder: Any) -> None:
    _, answer = read(decoder(), start() + event("what_may_come", x=1) + words(0, "Hi") + finish() + STOP + b"data: {")
    assert answer.value == "Hi"


def test_a_whole_body_where_a_stream_was_asked_for_is_read(decoder: Any) -> None:
    body = {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "model": "m", "usage": {}}
    reader = decoder(content_type="application/json")
    assert reader.feed(orjson.dumps(body)) == [] and reader.end().value == "Hi"


@pytest.mark.parametrize(
    "body",
    [
        b"data: nonsense\n\n",
        b"data: []\n\n",
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}),
        event("content_block_start", index=-1, content_block={"type": "text", "text": ""}),
        event("content_block_start", index=10**6, content_block={"type": "text", "text": ""}),
        event("content_block_start", index=0, content_block={"type": "text", "text": 7}),
        words(0, "x") + words(0, "y"),
        event("message_start", message=[]),
        event("message_delta", delta=None),
    ],
)
def test_an_event_that_cannot_be_read_is_no_answer(decoder: Any, body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        decoder().feed(body)
    assert caught.value.kind == "bad_answer"


def test_an_event_without_an_end_is_given_up(decoder: Any) -> None:
    reader = decoder()
    with pytest.raises(ProviderError, match="longer than"):
        for _ in range(MAX_EVENT_BYTES // 2**20 + 1):
            reader.feed(b"data: " + b"x" * 2**20)


EVENTS = [orjson.loads(part.partition(b"data: ")[2]) for part in GOOD.split(b"\n\n") if part]
WHOLE = {
    "type": "message",
    "model": "m",
    "stop_reason": "tool_use",
    "stop_details": {"category": "cyber"},
    "content": [
        {"type": "text", "text": "Hi"},
        {"type": "thinking", "thinking": "Hm"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 1}},
    "error": {"type": "overloaded_error", "message": "m", "details": {"error_code": "c"}},
}
ODD = [None, True, -1, 2**63, 1e300, "", "error", "refusal", "tool_use", "message_stop", [], [[]], {}, {"type": "text"}]


def mutated(value: Any, rng: random.Random) -> Any:
    """The same value with something odd at one place, or with something missing."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: inner for key, inner in value.items() if key != name}
        return {**value, name: mutated(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], mutated(value[place], rng), *value[place + 1 :]]
    return rng.choice(ODD)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**64), st.binary(max_size=30))
def test_whatever_a_stream_holds_it_is_an_answer_or_a_providers_error(decoder: Any, seed: int, noise: bytes) -> None:
    rng, reader = random.Random(seed), decoder()
    try:
        for event_ in EVENTS:
            odd = mutated(event_, rng) if rng.random() < 0.2 else event_
            reader.feed(b"data: " + orjson.dumps(odd) + b"\n\n")
            if rng.random() < 0.01:
                reader.feed(noise)
        reader.end()
    except ProviderError:
        pass
    usage = reader.partial()
    assert usage is None or usage.output_tokens >= 0


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**64), st.sampled_from([200, 200, 302, 400, 429, 500]), st.binary(max_size=30))
def test_whatever_a_body_holds_it_is_an_answer_or_a_providers_error(
    make: Any, seed: int, status: int, noise: bytes
) -> None:
    rng = random.Random(seed)
    value = {**WHOLE, "type": rng.choice(["message", "message", "error"])}
    for _ in range(rng.randint(0, 3)):
        value = mutated(value, rng)
    body = orjson.dumps(value) if rng.random() < 0.9 else noise
    adapter = adapter_for(make.entity(provider="anthropic", config=KeyConfig(Secret("k", "test"))), lambda: 0.0)
    try:
        answer = adapter.decode(make.request(), make.response(body, status))
        assert answer.usage.input_tokens >= 0
    except ProviderError as error:
        assert error.reason
