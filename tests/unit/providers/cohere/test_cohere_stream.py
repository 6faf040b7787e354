"""Cohere's streams: the same answer however the bytes arrive, and errors within them."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.base import Chunk
from aiq.providers.cohere.stream import MAX_EVENT_BYTES
from aiq.request import Usage

USAGE = {"billed_units": {"input_tokens": 7.0, "output_tokens": 3.0}, "tokens": {"input_tokens": 70.0}}


def event(kind: str, line_end: bytes = b"\n", **data: Any) -> bytes:
    text = orjson.dumps({"type": kind, **data})
    return b"event: %b%bdata: %b%b%b" % (kind.encode(), line_end, text, line_end, line_end)


def content(kind: str, index: int = 0, **part: Any) -> bytes:
    return event(kind, index=index, delta={"message": {"content": part}})


def text(piece: str, index: int = 0) -> bytes:
    return content("content-delta", index, text=piece)


def call(kind: str, index: int, **part: Any) -> bytes:
    return event(kind, index=index, delta={"message": {"tool_calls": part}})


def stop(reason: str = "COMPLETE", **delta: Any) -> bytes:
    return event("message-end", delta={"finish_reason": reason, "usage": USAGE, **delta})


BEGIN = event("message-start", id="m-1", delta={"message": {"role": "assistant", "content": [], "tool_plan": ""}})
THOUGHT = content("content-start", thinking="", type="thinking") + content("content-delta", thinking="Hm.")
PLAN = event("tool-plan-delta", delta={"message": {"tool_plan": "I look."}})
WHOLE = [
    BEGIN, THOUGHT, event("content-end", index=0), content("content-start", 1, text="", type="text"),
    text("Grüße ", 1), text("🎉 aus 東京", 1),
    event("citation-start", index=0, delta={"message": {"citations": {"start": 0}}}), event("citation-end", index=0),
    event("content-end", index=1), PLAN,
    call("tool-call-start", 0, id="w_1", type="function", function={"name": "weather", "arguments": ""}),
    call("tool-call-delta", 0, function={"arguments": '{"in":'}),
    call("tool-call-delta", 0, function={"arguments": "1}"}),
    event("tool-call-end", index=0),
    call("tool-call-start", 1, id="t_2", type="function", function={"name": "time", "arguments": "{}"}),
    event("tool-call-end", index=1), stop("TOOL_CALL"), b"data: [DONE]\n\n",
]  # fmt: skip


def make_adapter(make: Any) -> Any:
    config = KeyConfig(Secret("co-secret", "t"))
    found = adapter_for(make.entity(provider="cohere", model="command-a", config=config), lambda: 1.7e9)
    found.prepare()
    return found


@pytest.fixture
def decoder(make: Any) -> Any:
    adapter = make_adapter(make)

    def made(status: int = 200, content_type: str = "text/event-stream") -> Any:
        request = make.request(body={"messages": [{"role": "user", "content": "abcdefg"}]})
        return adapter.decoder(request, make.response(b"", status, content_type=content_type))

    return made


def read(decoder: Any, *pieces: bytes) -> list[Chunk]:
    return [chunk for piece in pieces for chunk in decoder.feed(piece)]


def test_chunks_have_openais_form(decoder: Any) -> None:
    chunks = read(decoder(), *WHOLE)
    assert [chunk.data["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"content": "Grüße "},
        {"content": "🎉 aus 東京"},
        {"reasoning_content": "I look."},
        {
            "tool_calls": [
                {"index": 0, "id": "w_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"in":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "t_2", "type": "function", "function": {"name": "time", "arguments": "{}"}}
            ]
        },
        {},
    ]
    assert "".join(chunk.text for chunk in chunks) == "Grüße 🎉 aus 東京"
    assert [chunk.token for chunk in chunks] == [False] + [True] * 9
    assert chunks[-1].data["choices"][0]["finish_reason"] == "tool_calls"
    assert {(chunk.data["id"], chunk.data["model"], chunk.data["created"]) for chunk in chunks} == {
        ("m-1", "command-a", 1_700_000_000)
    }


def test_the_whole_answer_is_that_of_an_answer_in_one_piece(make: Any, decoder: Any) -> None:
    reading = decoder()
    read(reading, *WHOLE)
    assert reading.ended and reading.complete
    answer = reading.end()
    assert (answer.value, answer.finish_reason, answer.usage) == ("Grüße 🎉 aus 東京", "tool_calls", Usage(7, 3))
    message = orjson.loads(answer.raw)["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm.I look." and message["content"] == "Grüße 🎉 aus 東京"
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "weather", "arguments": '{"in":1}'},
        {"name": "time", "arguments": "{}"},
    ]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_may_be_cut_at_every_byte(decoder: Any, line_end: bytes) -> None:
    stream = b"".join(WHOLE).replace(b"\n", line_end)
    whole = decoder()
    expected, answer = read(whole, stream), whole.end()
    for cut in range(len(stream)):
        reading = decoder()
        assert read(reading, stream[:cut], stream[cut:]) == expected
        assert reading.end() == answer
    single = decoder()
    assert read(single, *(stream[i : i + 1] for i in range(len(stream)))) == expected and single.end() == answer


@pytest.mark.parametrize("said", [b"", content("content-start", text="", type="text")])
def test_an_end_without_content_is_no_answer(decoder: Any, said: bytes) -> None:
    reading = decoder()
    chunks = read(reading, BEGIN, said, stop())
    assert not any(chunk.token for chunk in chunks)
    with pytest.raises(ProviderError, match="without a word"):
        reading.end()


@pytest.mark.parametrize("stream", [b"", BEGIN, BEGIN + text("a"), b": ping\n\n", b"".join(WHOLE[:-2])])
def test_a_stream_that_ends_before_its_answer_is_unusable(decoder: Any, stream: bytes) -> None:
    reading = decoder()
    read(reading, stream)
    assert not reading.complete
    with pytest.raises(ProviderError, match="the stream ended") as caught:
        reading.end()
    assert caught.value.kind == "bad_answer"


def test_what_was_left_is_estimated_from_what_came(decoder: Any) -> None:
    reading = decoder()
    assert reading.partial() is None
    read(reading, BEGIN, text("abcdefg"))
    assert reading.partial() == Usage(2, 2, estimated=True)


@pytest.mark.parametrize(
    ("end", "kind", "status", "words"),
    [
        (stop("ERROR", error="it broke, co-secret"), "overloaded", 502, "it broke, ***"),
        (stop("TIMEOUT"), "overloaded", 504, "TIMEOUT"),
        (stop("ERROR_TOXIC"), "content_filter", 400, "content filter"),
        (b'data: {"message": "internal"}\n\n', "overloaded", 502, "internal"),
    ],
)
def test_an_error_in_the_stream_is_told(decoder: Any, end: bytes, kind: str, status: int, words: str) -> None:
    reading = decoder()
    read(reading, BEGIN, text("part"))
    with pytest.raises(ProviderError) as caught:
        read(reading, end)
    assert (caught.value.kind, caught.value.status) == (kind, status) and words in caught.value.reason


def test_a_stream_that_failed_has_what_was_billed(decoder: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        read(decoder(), BEGIN, stop("ERROR"))
    assert caught.value.usage == Usage(7, 3)


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {nonsense\n\n",
        b"data: []\n\n",
        b"data: 1\n\n",
        event("content-delta", index=0),
        text(5),  # type: ignore[arg-type]
        content("content-delta", thinking=["a"]),
        event("message-end", delta={}),
        event("message-end", delta={"finish_reason": None}),
        call("tool-call-delta", 0, function={"arguments": "x"}),
        call("tool-call-start", 500, id="a", function={"name": "b"}),
        call("tool-call-start", -1, id="a", function={"name": "b"}),
    ],
)
def test_a_malformed_event_ends_the_stream(decoder: Any, bad: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        read(decoder(), BEGIN, bad)
    assert caught.value.kind == "bad_answer"


def test_an_event_that_nobody_knows_is_read_over(decoder: Any) -> None:
    reading = decoder()
    read(reading, BEGIN, event("something-new", delta=None), event("debug", prompt="<|START|>"), text("a"), stop())
    assert reading.end().value == "a"


def test_an_endless_event_ends_the_stream(decoder: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        read(decoder(), b"data: " + b"x" * (MAX_EVENT_BYTES + 1))
    assert caught.value.kind == "bad_answer"


def test_a_server_that_does_not_stream_is_understood(decoder: Any) -> None:
    body = {"finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "a"}]}}
    whole = decoder(content_type="application/json")
    whole.feed(orjson.dumps(body))
    assert whole.end().value == "a"
    failed = decoder(429)
    failed.feed(b'{"message": "Please wait and try again later"}')
    with pytest.raises(ProviderError) as caught:
        failed.end()
    assert caught.value.kind == "rate_limited"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
kinds = st.sampled_from(
    [
        *("message-start", "content-start", "content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta"),
        *("message-end", "citation-start", "debug", "odd"),
    ]
)
messages = st.fixed_dictionaries({}, optional=dict.fromkeys(("content", "tool_plan", "tool_calls"), json_values))
deltas = st.fixed_dictionaries(
    {},
    optional={
        "message": messages | json_values,
        "finish_reason": st.sampled_from(["COMPLETE", "ERROR", "X"]) | json_values,
        "usage": json_values,
    },
)
events = st.builds(
    lambda kind, index, delta: event(kind, index=index, delta=delta), kinds, json_values, deltas | json_values
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(events | st.sampled_from(WHOLE) | st.binary(max_size=20), max_size=12))
def test_no_stream_raises_anything_else(decoder: Any, stream: list[bytes]) -> None:
    reading = decoder()
    with contextlib.suppress(ProviderError):
        read(reading, *stream)
        reading.end()
    reading.partial()
