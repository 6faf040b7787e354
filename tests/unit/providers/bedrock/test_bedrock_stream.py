"""ConverseStream: the same answer however the bytes arrive, exceptions within it, and what is no whole answer."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.config.connections import BedrockConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.base import Chunk
from aiq.providers.bedrock.request import ANSWER_TOOL
from aiq.providers.bedrock.stream import MAX_EVENT_BYTES
from aiq.request import Usage
from aiq.simulator.vendors.event_stream import event as encode_event
from aiq.simulator.vendors.event_stream import exception, message

SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
STREAM_TYPE = "application/vnd.amazon.eventstream"


def event(name: str, **payload: Any) -> bytes:
    return encode_event(name, orjson.dumps(payload))


def text(piece: str, index: int = 0) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta={"text": piece}, p="abc")


def thought(piece: str, index: int = 0) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta={"reasoningContent": {"text": piece}})


def call(name: str, index: int = 1, identity: str = "t1") -> bytes:
    start = {"toolUse": {"toolUseId": identity, "name": name}}
    return event("contentBlockStart", contentBlockIndex=index, start=start)


def arguments(piece: str, index: int = 1) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta={"toolUse": {"input": piece}})


def stop(reason: str = "end_turn") -> bytes:
    return event("messageStop", stopReason=reason)


BEGIN = event("messageStart", role="assistant")
USAGE = event("metadata", usage={"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}, metrics={"latencyMs": 5})


def make_adapter(make: Any) -> Any:
    config = BedrockConfig("us-east-1", "anthropic", api_key=Secret("key", "t"))
    found = adapter_for(make.entity(provider="amazon-bedrock", model="m", config=config), lambda: 1.7e9)
    found.prepare()
    return found


@pytest.fixture
def adapter(make: Any) -> Any:
    return make_adapter(make)


@pytest.fixture
def decoder(make: Any, adapter: Any) -> Any:
    def made(status: int = 200, content_type: str = STREAM_TYPE, **body: Any) -> Any:
        request = make.request(body={"messages": [{"role": "user", "content": "abcdefg"}], **body})
        head = make.response(b"", status, content_type=content_type, x_amzn_requestid="r-1")
        return adapter.decoder(request, head)

    return made


def read(decoder: Any, *pieces: bytes) -> list[Chunk]:
    return [chunk for piece in pieces for chunk in decoder.feed(piece)]


def deltas(chunks: list[Chunk]) -> list[Any]:
    return [chunk.data["choices"][0]["delta"] for chunk in chunks]


SIGNATURE = event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"signature": "s"}})
END = [event("contentBlockStop", contentBlockIndex=index) for index in range(4)]
WHOLE = [
    BEGIN, thought("Hm"), thought("m."), SIGNATURE, END[0],
    text("Grüße ", 1), text("🎉 aus 東京", 1), END[1],
    call("weather", 2), arguments('{"in":', 2), arguments('"Rome"}', 2), END[2],
    call("time", 3, "t2"), END[3],
    stop("tool_use"), USAGE,
]  # fmt: skip


def test_chunks_have_openais_form(decoder: Any) -> None:
    chunks = read(decoder(), *WHOLE)
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm"},
        {"reasoning_content": "m."},
        {"content": "Grüße "},
        {"content": "🎉 aus 東京"},
        {
            "tool_calls": [
                {"index": 0, "id": "t1", "type": "function", "function": {"name": "weather", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"in":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]},
        {"tool_calls": [{"index": 1, "id": "t2", "type": "function", "function": {"name": "time", "arguments": ""}}]},
        {},
    ]
    assert chunks[-1].data["choices"][0]["finish_reason"] == "tool_calls"
    assert "".join(chunk.text for chunk in chunks) == "Grüße 🎉 aus 東京"
    assert chunks[0].data["object"] == "chat.completion.chunk"
    assert not chunks[0].token and all(chunk.token for chunk in chunks[1:])


def test_the_whole_answer_is_what_the_chunks_add_up_to(decoder: Any) -> None:
    found = decoder()
    read(found, *WHOLE)
    assert found.ended and found.complete
    answer = found.end()
    assert (answer.value, answer.finish_reason, answer.usage) == ("Grüße 🎉 aus 東京", "tool_calls", Usage(7, 3))
    message = orjson.loads(answer.raw)["choices"][0]["message"]
    assert message["reasoning_content"] == "Hmm."
    assert [one["function"] for one in message["tool_calls"]] == [
        {"name": "weather", "arguments": '{"in":"Rome"}'},
        {"name": "time", "arguments": "{}"},
    ]


def test_a_stream_cut_at_any_byte_gives_the_same(decoder: Any) -> None:
    stream = b"".join(WHOLE)
    whole = decoder()
    chunks = read(whole, stream)
    wanted = (chunks, whole.end())
    for at in range(1, len(stream)):
        found = decoder()
        assert (read(found, stream[:at], stream[at:]), found.end()) == wanted
    found = decoder()
    assert (read(found, *(stream[at : at + 1] for at in range(len(stream)))), found.end()) == wanted


def test_thoughts_alone_are_no_answer(decoder: Any) -> None:
    found = decoder()
    read(found, BEGIN, thought("Hm."), stop(), USAGE)
    with pytest.raises(ProviderError, match="reasoned and then gave no answer"):
        found.end()


def test_an_answer_is_whole_without_its_usage(decoder: Any) -> None:
    found = decoder()
    read(found, text("abcdefg"), stop())
    assert found.complete and not found.ended
    assert found.end().usage == Usage(2, 2, estimated=True)


def test_usage_in_the_middle_counts(decoder: Any) -> None:
    found = decoder()
    read(found, text("a"), USAGE, text("b"), stop())
    assert found.complete and not found.ended
    answer = found.end()
    assert (answer.value, answer.usage) == ("ab", Usage(7, 3))


@pytest.mark.parametrize("pieces", [[], [BEGIN], [BEGIN, text("a")], [text("a"), USAGE], [text("a"), stop()[:-1]]])
def test_a_stream_that_ends_before_its_answer_is_unusable(decoder: Any, pieces: list[bytes]) -> None:
    found = decoder()
    read(found, *pieces)
    with pytest.raises(ProviderError, match="the stream ended") as caught:
        found.end()
    assert caught.value.kind == "bad_answer"


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {}\n\n" * 3,
        text("b")[:-1] + b"\x00",
        message({":event-type": "metadata"}, b"{}"),
        encode_event("contentBlockDelta", b"{"),
        encode_event("contentBlockDelta", b"5"),
        event("contentBlockDelta", contentBlockIndex=-1, delta={"text": "x"}),
        event("contentBlockDelta", contentBlockIndex=10**9, delta={"text": "x"}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"text": 5}),
        event("contentBlockDelta", contentBlockIndex=0, delta="text"),
        event("contentBlockDelta", contentBlockIndex=7, delta={"toolUse": {"input": "x"}}),
        event("contentBlockStart", contentBlockIndex=0, start={"toolUse": {"name": 5, "toolUseId": "t"}}),
        event("messageStop", stopReason=None),
        event("messageStop"),
    ],
)
def test_a_malformed_event_ends_the_stream(decoder: Any, bad: bytes) -> None:
    found = decoder()
    read(found, text("a"))
    with pytest.raises(ProviderError) as caught:
        read(found, bad)
    assert caught.value.kind == "bad_answer"


def test_events_that_nobody_knows_yet_are_read_over(decoder: Any) -> None:
    found = decoder()
    citation = event("contentBlockDelta", contentBlockIndex=0, delta={"citation": {}})
    read(found, event("initial-response"), text("a"), event("somethingNew", x=1), citation, stop(), USAGE)
    assert found.end().value == "a"


def test_an_endless_message_ends_the_stream(decoder: Any) -> None:
    found = decoder()
    with pytest.raises(ProviderError, match="message of"):
        read(found, message({}, b"x" * MAX_EVENT_BYTES)[:12])


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("throttlingException", "rate_limited", 429),
        ("modelStreamErrorException", "overloaded", 424),
        ("internalServerException", "overloaded", 500),
        ("serviceUnavailableException", "overloaded", 503),
        ("modelTimeoutException", "overloaded", 408),
        ("validationException", "bad_request", 400),
        ("somethingNew", "overloaded", 502),
    ],
)
def test_an_exception_in_the_stream_is_the_status_it_should_have_had(
    decoder: Any, name: str, kind: str, status: int
) -> None:
    found = decoder()
    read(found, BEGIN, text("a"))
    with pytest.raises(ProviderError, match="no luck") as caught:
        read(found, exception(name, b'{"message":"no luck"}'))
    assert (caught.value.kind, caught.value.status) == (kind, status)


def test_too_long_a_prompt_may_be_told_in_the_stream(decoder: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        read(decoder(), exception("validationException", b'{"message":"Input is too long for requested model."}'))
    assert caught.value.kind == "context_length"


def test_an_error_of_the_transport_has_its_words_in_headers(decoder: Any) -> None:
    headers = {":message-type": "error", ":error-code": "InternalServerException", ":error-message": "it broke"}
    with pytest.raises(ProviderError, match="InternalServerException: it broke") as caught:
        read(decoder(), message(headers, b""))
    assert (caught.value.kind, caught.value.status) == ("overloaded", 500)


def test_a_blocked_answer_is_an_error_at_the_end(decoder: Any) -> None:
    found = decoder()
    read(found, text("Sorry."), stop("guardrail_intervened"), USAGE)
    with pytest.raises(ProviderError, match="Sorry") as caught:
        found.end()
    assert (caught.value.kind, caught.value.usage) == ("content_filter", Usage(7, 3))


def test_arguments_that_were_cut_short_are_a_matter_of_the_length(decoder: Any) -> None:
    found = decoder()
    read(found, call("weather"), arguments('{"in":'), stop("max_tokens"), USAGE)
    assert found.end().finish_reason == "length"
    found = decoder()
    read(found, call("weather"), arguments('{"in":'), stop("tool_use"), USAGE)
    with pytest.raises(ProviderError) as caught:
        found.end()
    assert caught.value.kind == "bad_answer"


def learn(make: Any, adapter: Any) -> None:
    """The model does not take a schema."""
    request = make.request(body={"messages": [], "response_format": SCHEMA})
    with pytest.raises(ProviderError):
        adapter.decode(request, make.response({"message": "outputConfig.textFormat: unsupported"}, 400))


def test_arguments_of_the_answer_tool_are_the_text(make: Any, adapter: Any, decoder: Any) -> None:
    learn(make, adapter)
    found = decoder(response_format=SCHEMA)
    chunks = read(
        found, BEGIN, text("Sure:"), call(ANSWER_TOOL), arguments('{"a":'), arguments("1}"), stop("tool_use"), USAGE
    )
    assert "".join(chunk.text for chunk in chunks) == '{"a":1}'
    assert chunks[-1].data["choices"][0]["finish_reason"] == "stop"
    answer = found.end()
    assert (answer.value, answer.finish_reason) == ('{"a":1}', "stop")


def test_without_a_call_of_the_answer_tool_the_text_is_the_answer(make: Any, adapter: Any, decoder: Any) -> None:
    learn(make, adapter)
    found = decoder(response_format=SCHEMA)
    chunks = read(found, BEGIN, text('{"a":'), text("1}"), stop(), USAGE)
    assert [chunk.text for chunk in chunks] == ["", '{"a":1}']
    assert found.end().value == '{"a":1}'


def test_what_was_left_is_estimated_from_what_came(decoder: Any) -> None:
    found = decoder()
    assert found.partial() is None
    read(found, BEGIN, thought("abcd"), text("efghijk"))
    assert found.partial() == Usage(2, 3, estimated=True)


def test_an_error_instead_of_a_stream_is_that_error(decoder: Any) -> None:
    found = decoder(status=429, content_type="application/json")
    read(found, b'{"message":"slow down"}')
    with pytest.raises(ProviderError, match="slow down") as caught:
        found.end()
    assert (caught.value.kind, caught.value.status) == ("rate_limited", 429)


NAMES = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]
KEYS = [
    "contentBlockIndex",
    "delta",
    "start",
    "text",
    "toolUse",
    "input",
    "reasoningContent",
    "stopReason",
    "usage",
    "name",
]
VALUES = st.recursive(
    st.none() | st.integers(-1, 3) | st.text(max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6))
def test_no_events_make_it_fail_otherwise(make: Any, events: list[tuple[str, Any]]) -> None:
    head = make.response(b"", content_type=STREAM_TYPE)
    found = make_adapter(make).decoder(make.request(), head)
    with contextlib.suppress(ProviderError):
        read(found, *(encode_event(name, orjson.dumps(value)) for name, value in events))
        found.end()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_bytes_make_it_fail_otherwise(make: Any, pieces: list[bytes]) -> None:
    found = make_adapter(make).decoder(make.request(), make.response(b"", content_type=STREAM_TYPE))
    with contextlib.suppress(ProviderError):
        read(found, *pieces)
        found.end()
