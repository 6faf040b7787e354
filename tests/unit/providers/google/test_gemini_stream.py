"""Gemini's streams: any split of the bytes gives the same chunks and answer, and what broke off is no answer."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.google.stream import MAX_EVENT_BYTES
from aiq.request import Answer, Usage

KEY = "AIza-very-secret-value"


@pytest.fixture
def decoder(make: Any) -> Any:
    """`decoder(text=..., body=...)`: reads the stream that answers a request."""
    entity = make.entity(provider="palm", config=KeyConfig(Secret(KEY, "s")), model="gemini-2.5-flash")
    adapter = adapter_for(entity, lambda: 1_700_000_000.0)
    adapter.prepare()

    def build(*, status: int = 200, content_type: str = "text/event-stream", **request: Any) -> Any:
        return adapter.decoder(make.request(**request), make.response(b"", status, content_type=content_type))

    return build


def event(*parts: dict[str, Any], reason: str | None = None, counts: Any = None, index: int = 0, **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if reason is not None:
        candidate["finishReason"] = reason
    data: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash-001", "responseId": "r1"}
    if counts is not None:
        data["usageMetadata"] = counts
    return line({**data, **more})


def line(data: Any) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\r\n\r\n"


def text(value: str, **more: Any) -> bytes:
    return event({"text": value}, **more)


def read(decoder: Any, *pieces: bytes) -> list[Any]:
    return [chunk for piece in pieces for chunk in decoder.feed(piece)]


COUNTS = {"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 12}
CALL = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}, "thoughtSignature": "S"}
STREAM = (
    event({"text": "Hm. ", "thought": True}, counts={"promptTokenCount": 7, "thoughtsTokenCount": 2})
    + b": ping\r\n\r\n"
    + text("Hé")
    + text("llo 😀")
    + event(CALL, {"functionCall": {"name": "g"}}, reason="STOP", counts=COUNTS)
)


def all_of(decoder: Any, *pieces: bytes) -> tuple[list[Any], Answer]:
    found = decoder()
    chunks = read(found, *pieces)
    return chunks, found.end()


def test_a_stream_is_its_chunks_and_the_answer_they_add_up_to(decoder: Any) -> None:
    chunks, answer = all_of(decoder, STREAM)
    assert "".join(chunk.text for chunk in chunks) == answer.value == "Héllo 😀"
    assert answer[1:4] == (Usage(7, 5, 0, 2), "gemini-2.5-flash-001", "tool_calls")
    deltas = [chunk.data["choices"][0]["delta"] for chunk in chunks]
    first = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    first["extra_content"] = {"google": {"thought_signature": "S"}}
    second = {"id": "call_aiq_r1_1", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    assert deltas == [
        {"role": "assistant", "reasoning_content": "Hm. "},
        {"content": "Hé"},
        {"content": "llo 😀"},
        {"tool_calls": [{"index": 0, **first}, {"index": 1, **second}]},
    ]
    assert [chunk.data["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "tool_calls"]
    assert chunks[0].data["object"] == "chat.completion.chunk" and chunks[0].data["created"] == 1_700_000_000
    message = orjson.loads(answer.raw)["choices"][0]["message"]
    assert message["tool_calls"] == [first, second] and message["reasoning_content"] == "Hm. "


def test_every_split_of_the_bytes_gives_the_same(decoder: Any) -> None:
    expected = all_of(decoder, STREAM)
    for at in range(len(STREAM)):
        assert all_of(decoder, STREAM[:at], STREAM[at:]) == expected
    assert all_of(decoder, *(STREAM[at : at + 1] for at in range(len(STREAM)))) == expected


def test_a_stream_is_whole_with_its_reason_and_ended_with_the_counts(decoder: Any) -> None:
    found = decoder()
    read(found, text("a"))
    assert not found.complete
    read(found, text("b", reason="STOP"))
    assert found.complete and not found.ended
    read(found, line({"usageMetadata": COUNTS}))
    assert found.ended
    assert found.end()[:4] == ("ab", Usage(7, 5, 0, 2), "gemini-2.5-flash-001", "stop")


def test_what_comes_after_a_reason_is_a_part_of_the_answer(decoder: Any) -> None:
    found = decoder()
    read(found, text("a", reason="STOP", counts=COUNTS))
    assert found.complete and found.ended
    read(found, text("b", counts=COUNTS))
    assert not found.complete and not found.ended
    with pytest.raises(ProviderError, match="before the answer was finished"):
        found.end()
    read(found, text("c", reason="MAX_TOKENS"), text("", reason="MAX_TOKENS", counts=COUNTS))
    assert found.end()[:4] == ("abc", Usage(7, 5, 0, 2), "gemini-2.5-flash-001", "length")


def test_the_last_counts_are_those_of_the_answer(decoder: Any) -> None:
    found = decoder()
    read(found, text("a", counts={"promptTokenCount": 7, "candidatesTokenCount": 1}))
    read(found, text("b", reason="STOP", counts=COUNTS), line({"usageMetadata": {"promptTokenCount": 8}}))
    assert found.end().usage == Usage(8, 1, estimated=True)  # two characters are not nothing


@pytest.mark.parametrize("counts", [None, {"promptTokenCount": -1}, "many"])
def test_counts_that_are_missing_or_absurd_are_estimated(decoder: Any, counts: Any) -> None:
    found = decoder(text="abcdefg")
    read(found, text("abcdefg", reason="STOP", counts=counts))
    assert found.end().usage == Usage(2, 2, estimated=True)


def test_candidates_are_kept_apart(decoder: Any) -> None:
    found = decoder(body={"messages": [], "n": 2})
    chunks = read(found, text("b", index=1), text("a"), text("", reason="STOP"), text("B", index=1))
    assert "".join(chunk.text for chunk in chunks) == "a" and not found.complete
    read(found, text("", reason="MAX_TOKENS", index=1))
    choices = orjson.loads(found.end().raw)["choices"]
    assert [(choice["message"]["content"], choice["finish_reason"]) for choice in choices] == [
        ("a", "stop"),
        ("bB", "length"),
    ]


def test_the_signature_of_a_text_is_the_messages(decoder: Any) -> None:
    found = decoder()
    read(found, text("a"), event({"text": "", "thoughtSignature": "S"}, reason="STOP", counts=COUNTS))
    message = orjson.loads(found.end().raw)["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "a",
        "extra_content": {"google": {"thought_signature": "S"}},
    }


def test_log_probabilities_are_put_together(decoder: Any) -> None:
    found = decoder()
    for token in "ab":
        result = {"chosenCandidates": [{"token": token, "logProbability": -1.0}]}
        candidate = {"content": {"parts": [{"text": token}]}, "logprobsResult": result}
        read(found, line({"candidates": [candidate]}))
    read(found, event(reason="STOP"))
    content = orjson.loads(found.end().raw)["choices"][0]["logprobs"]["content"]
    assert [token["token"] for token in content] == ["a", "b"]


@pytest.mark.parametrize(
    "stream", [b"", b": ping\n\n", text("a"), event({"text": "t", "thought": True}), line({"usageMetadata": COUNTS})]
)
def test_a_stream_that_ends_before_its_answer_is_unusable(decoder: Any, stream: bytes) -> None:
    found = decoder()
    read(found, stream)
    with pytest.raises(ProviderError, match="the stream ended") as caught:
        found.end()
    assert caught.value.kind == "bad_answer"


def test_an_event_that_the_end_cuts_off_is_none(decoder: Any) -> None:
    found = decoder()
    read(found, text("a"), text("b", reason="STOP")[:-3])
    assert not found.complete


@pytest.mark.parametrize("at", ["feed", "end"])
def test_a_blocked_prompt_is_a_content_filter(decoder: Any, at: str) -> None:
    found = decoder()
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7}}
    assert read(found, line(blocked)) == [] and found.ended
    with pytest.raises(ProviderError, match="PROHIBITED_CONTENT") as caught:
        found.end()
    assert (caught.value.kind, caught.value.usage) == ("content_filter", Usage(7, 0))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("SAFETY", "content_filter"), ("OTHER", "bad_answer"), ("MALFORMED_FUNCTION_CALL", "bad_answer")],
)
def test_a_stream_without_an_answer_says_why(decoder: Any, reason: str, kind: str) -> None:
    found = decoder()
    read(found, event(reason=reason, counts=COUNTS))
    with pytest.raises(ProviderError, match=reason) as caught:
        found.end()
    assert (caught.value.kind, caught.value.usage) == (kind, Usage(7, 5, 0, 2))


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def test_an_error_in_the_stream_is_the_status_it_carries(decoder: Any) -> None:
    found = decoder()
    read(found, text("a"))
    with pytest.raises(ProviderError, match="overloaded") as caught:
        read(found, line(ERROR))
    assert (caught.value.kind, caught.value.status) == ("overloaded", 503)


@pytest.mark.parametrize("written", [ERROR, [ERROR]])
@pytest.mark.parametrize("before", [b"", text("a")])
def test_an_error_that_is_written_into_the_stream_as_it_is_is_found_at_the_end(
    decoder: Any, written: Any, before: bytes
) -> None:
    found = decoder()
    read(found, before + json.dumps(written, indent=2).replace("\n", "\r\n").encode() + b"\r\n")
    with pytest.raises(ProviderError, match="overloaded") as caught:
        found.end()
    assert (caught.value.kind, caught.value.status) == ("overloaded", 503)


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"candidates": [\n\n',
        b"data: \xff\xfe\n\n",
        b"data: 5\n\n",
        b"data: []\n\n",
        line({"candidates": 5}),
        line({"candidates": [{"index": -1}]}),
        line({"candidates": [{"index": 10**9}]}),
        line({"candidates": [{"content": {"parts": [{"text": 5}]}}]}),
        line({"candidates": [{"content": {"parts": 5}}]}),
        event({"functionCall": {"name": "f", "args": "x"}}),
    ],
)
def test_a_malformed_event_ends_the_stream(decoder: Any, bad: bytes) -> None:
    found = decoder()
    read(found, text("a"))
    with pytest.raises(ProviderError, match="malformed") as caught:
        read(found, bad)
    assert caught.value.kind == "bad_answer"


def test_an_endless_event_ends_the_stream(decoder: Any) -> None:
    found = decoder()
    with pytest.raises(ProviderError, match="longer than"):
        read(found, b"data: ", *[b"x" * 4_000_000] * (MAX_EVENT_BYTES // 4_000_000 + 1))


def test_what_was_left_is_the_last_count_or_an_estimate(decoder: Any) -> None:
    found = decoder(text="abcdefg")
    assert found.partial() is None
    read(found, text("abcdefghijk"))
    assert found.partial() == Usage(2, 3, estimated=True)
    read(found, text("l", counts=COUNTS))
    assert found.partial() == Usage(7, 5, 0, 2)


@pytest.mark.parametrize("body", [[{"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}]])
def test_a_server_that_cannot_stream_is_understood(decoder: Any, body: Any) -> None:
    for answer in (body, body[0]):
        found = decoder(content_type="application/json; charset=UTF-8")
        raw = orjson.dumps(answer)
        assert read(found, raw[:9], raw[9:]) == []
        assert found.end().value == "Hi"


def test_an_error_instead_of_a_stream_is_that_error(decoder: Any) -> None:
    found = decoder(status=429, content_type="application/json")
    read(found, orjson.dumps([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}}]))
    with pytest.raises(ProviderError, match="slow down") as caught:
        found.end()
    assert (caught.value.kind, caught.value.status) == ("rate_limited", 429)


NAMES = (
    "candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "finishReason", "index",
    "usageMetadata", "promptTokenCount", "promptFeedback", "blockReason", "error", "code", "logprobsResult",
    "chosenCandidates", "thoughtSignature",
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.text(max_size=5)
    | st.sampled_from(["STOP", "SAFETY", "OTHER"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=5,
        )
    ),
    max_leaves=16,
)


@settings(max_examples=200)
@given(st.lists(JSON.map(lambda data: b"data: " + json.dumps(data).encode() + b"\n\n") | st.binary(max_size=20)))
def test_no_stream_raises_anything_but_a_provider_error(make: Any, pieces: list[bytes]) -> None:
    entity = make.entity(provider="palm", config=KeyConfig(Secret(KEY, "s")), model="gemini-2.5-flash")
    adapter = adapter_for(entity)
    found = adapter.decoder(make.request(), make.response(b"", content_type="text/event-stream"))
    try:
        chunks = read(found, *pieces)
        answer = found.end()
    except ProviderError:
        return
    assert all(isinstance(chunk.text, str) for chunk in chunks) and isinstance(answer, Answer)
    orjson.loads(answer.raw)
