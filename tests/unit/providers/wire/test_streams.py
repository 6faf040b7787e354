"""Streamed answers: the same chunks and the same whole answer, however the bytes are cut, and never half of one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.base import Chunk, StreamDecoder
from aiq.providers.openai.stream import MAX_EVENT_BYTES
from aiq.providers.wire.sse import EventParser, EventTooLarge
from aiq.request import Usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return event({"id": "c-1", "created": 1, "model": "m-1", "choices": [choice], "usage": None, **more})


def usage(counts: Any = None) -> bytes:
    return event({"id": "c-1", "model": "m-1", "choices": [], "usage": counts or USAGE})


DONE = b"data: [DONE]\n\n"
GOOD = (
    chunk({"role": "assistant", "content": ""})
    + chunk({"content": "Héllo "})
    + chunk({"content": "wörld 🎈"})
    + chunk(finish="stop")
    + usage()
    + DONE
)


@pytest.fixture
def decoder(make: Any) -> Any:
    """`decoder(body=..., content_type=...)`: for a streamed answer to this body."""

    def build(status: int = 200, content_type: str = "text/event-stream", **changes: Any) -> StreamDecoder:
        adapter = adapter_for(make.entity())
        adapter.prepare()
        head = make.response(b"", status, **{"content-type": content_type})
        return adapter.decoder(make.request(**changes), head)

    return build


def read(decoder: StreamDecoder, *pieces: bytes) -> list[Chunk]:
    return [chunk for piece in pieces for chunk in decoder.feed(piece)]


def ending(line_end: bytes) -> bytes:
    return b"\xef\xbb\xbf: hello\n\n" + GOOD.replace(b"\n\n", b"\n: still here\n\n").replace(b"\n", line_end)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_may_be_cut_at_every_byte(decoder: Any, line_end: bytes) -> None:
    stream = ending(line_end)
    for cut in range(len(stream) + 1):
        found = decoder()
        chunks = read(found, stream[:cut], stream[cut:])
        assert "".join(chunk.text for chunk in chunks) == "Héllo wörld 🎈"
        assert found.ended and found.end().value == "Héllo wörld 🎈"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_may_come_byte_by_byte(decoder: Any, line_end: bytes) -> None:
    found = decoder()
    chunks = read(found, *(bytes([byte]) for byte in ending(line_end)))
    assert [chunk.text for chunk in chunks] == ["", "Héllo ", "wörld 🎈", ""]
    assert found.end().usage == Usage(7, 3)


def test_a_role_is_no_token(decoder: Any) -> None:
    chunks = read(decoder(), GOOD)
    assert [chunk.token for chunk in chunks] == [False, True, True, True]


def test_the_whole_answer_is_that_of_an_answer_in_one_piece(decoder: Any) -> None:
    found = decoder()
    read(found, GOOD)
    answer = found.end()
    assert (answer.model, answer.finish_reason) == ("m-1", "stop")
    assert orjson.loads(answer.raw) == {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Héllo wörld 🎈"}}
        ],
        "usage": USAGE,
    }


def test_tool_calls_are_put_together(decoder: Any) -> None:
    found = decoder()
    parts = [
        {"index": 0, "id": "t-1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 1, "id": "t-2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": ":1}"}},
    ]
    chunks = read(found, *(chunk({"tool_calls": [part]}) for part in parts), chunk(finish="tool_calls"), DONE)
    assert all(chunk.token for chunk in chunks)
    message = orjson.loads(found.end().raw)["choices"][0]["message"]
    assert message["tool_calls"] == [
        {"id": "t-1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "t-2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_several_choices_are_kept_apart(decoder: Any) -> None:
    found = decoder(body={"messages": [], "n": 2})
    parts = [
        chunk({"content": "b"}, index=1),
        chunk({"content": "a"}),
        chunk(finish="stop"),
        chunk({"content": "B"}, index=1),
    ]
    chunks = read(found, *parts)
    assert "".join(chunk.text for chunk in chunks) == "a"
    assert not found.complete
    read(found, chunk(finish="stop", index=1))
    assert found.complete
    choices = orjson.loads(found.end().raw)["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["a", "bB"]


def test_logprobs_are_put_together(decoder: Any) -> None:
    found = decoder()
    for token in "ab":
        choice = {"index": 0, "delta": {"content": token}, "logprobs": {"content": [{"token": token}]}}
        read(found, event({"choices": [choice]}))
    read(found, chunk(finish="stop"))
    assert orjson.loads(found.end().raw)["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}


def test_a_completion_is_put_together(decoder: Any) -> None:
    found = decoder(task="llm/v1/completions", body={"prompt": "x"})
    parts = [{"index": 0, "text": "a", "finish_reason": None}, {"index": 0, "text": "b", "finish_reason": "length"}]
    chunks = read(found, *(event({"model": "m", "choices": [part]}) for part in parts), usage(), DONE)
    answer = found.end()
    assert ("".join(chunk.text for chunk in chunks), answer.value, answer.finish_reason) == ("ab", "ab", "length")


def test_without_done_an_answer_is_whole_with_its_reason(decoder: Any) -> None:
    found = decoder()
    read(found, chunk({"content": "a"}), chunk(finish="stop"))
    assert found.complete and not found.ended
    assert found.end().value == "a"


def test_after_its_usage_nothing_more_is_waited_for(decoder: Any) -> None:
    found = decoder()
    read(found, chunk({"content": "a"}), chunk(finish="stop"), usage())
    assert found.ended


@pytest.mark.parametrize(
    "counts", [{"prompt_tokens": -1, "completion_tokens": -7}, {"prompt_tokens": 10**12}, "many", None]
)
def test_absurd_or_missing_usage_is_estimated(decoder: Any, counts: Any) -> None:
    found = decoder()
    read(found, chunk({"content": "abcdefg"}), chunk(finish="stop"), event({"choices": [], "usage": counts}), DONE)
    answer = found.end()
    assert answer.usage.estimated and answer.usage.output_tokens == 2


def test_the_last_of_several_usages_counts(decoder: Any) -> None:
    found = decoder()
    read(found, chunk({"content": "a"}, usage={"prompt_tokens": 7, "completion_tokens": 1}))
    read(found, chunk({"content": "b"}, usage={"prompt_tokens": 7, "completion_tokens": 2}), chunk(finish="stop"))
    assert found.end().usage == Usage(7, 2)


@pytest.mark.parametrize("stream", [b"", b": ping\n\n", chunk({"content": "a"}), chunk({"role": "assistant"})])
def test_a_stream_that_ends_before_its_answer_is_unusable(decoder: Any, stream: bytes) -> None:
    found = decoder()
    read(found, stream)
    with pytest.raises(ProviderError, match="the stream ended") as caught:
        found.end()
    assert caught.value.kind == "bad_answer"


def test_an_event_that_the_end_cuts_off_is_none(decoder: Any) -> None:
    found = decoder()
    read(found, chunk({"content": "a"}), chunk(finish="stop")[:-1])
    assert not found.complete


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"choices": [\n\n',
        b"data: \xff\xfe\n\n",
        b"data: 5\n\n",
        b'data: {"choices": 5}\n\n',
        event({"choices": [{"index": -1, "delta": {"content": "x"}}]}),
        event({"choices": [{"index": 10**9, "delta": {"content": "x"}}]}),
        event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 10**9}]}}]}),
        event({"choices": [{"index": 0, "delta": 7}]}),
    ],
)
def test_a_malformed_event_ends_the_stream(decoder: Any, bad: bytes) -> None:
    found = decoder()
    read(found, chunk({"content": "a"}))
    with pytest.raises(ProviderError, match="malformed") as caught:
        read(found, bad)
    assert caught.value.kind == "bad_answer"


def test_an_endless_event_ends_the_stream(decoder: Any) -> None:
    found = decoder()
    with pytest.raises(ProviderError, match="longer than"):
        read(found, b"data: ", *[b"x" * 1_000_000] * (MAX_EVENT_BYTES // 1_000_000 + 1))


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "no", "code": "rate_limit_exceeded"}, "rate_limited", 429),
        ({"message": "no", "code": "insufficient_quota"}, "quota_exhausted", 429),
        ({"message": "no", "code": 503}, "overloaded", 503),
        ({"message": "no", "code": 429}, "rate_limited", 429),
        ("no", "bad_answer", 502),
    ],
)
def test_an_error_in_the_stream_is_the_status_it_carries(decoder: Any, error: Any, kind: str, status: int) -> None:
    found = decoder()
    read(found, chunk({"content": "a"}))
    with pytest.raises(ProviderError, match="no") as caught:
        read(found, event({"error": error}))
    assert (caught.value.kind, caught.value.status) == (kind, status)


def test_a_refusal_is_a_content_filter_at_the_end(decoder: Any) -> None:
    found = decoder()
    chunks = read(found, chunk({"refusal": "I "}), chunk({"refusal": "won't."}), chunk(finish="stop"), DONE)
    assert chunks[0].token
    with pytest.raises(ProviderError, match="I won't") as caught:
        found.end()
    assert caught.value.kind == "content_filter"


def test_what_was_left_is_estimated_from_what_came(decoder: Any, make: Any) -> None:
    found = decoder(text="abcdefg")
    assert found.partial() is None
    read(found, chunk({"content": "abcdefghijk"}))
    assert found.partial() == Usage(2, 3, estimated=True)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_a_server_that_cannot_stream_is_understood(decoder: Any, make: Any, content_type: str) -> None:
    found = decoder(content_type=content_type)
    body = bytes(make.chat_answer("Hi").body)
    assert read(found, body[:9], body[9:]) == []
    assert found.end().value == "Hi"


def test_an_error_instead_of_a_stream_is_that_error(decoder: Any, make: Any) -> None:
    found = decoder(status=429)
    read(found, bytes(make.failure(429, "rate_limit_exceeded").body))
    with pytest.raises(ProviderError) as caught:
        found.end()
    assert (caught.value.kind, caught.value.status) == ("rate_limited", 429)


def test_a_streamed_request_asks_for_its_usage(make: Any) -> None:
    adapter = adapter_for(make.entity())
    adapter.prepare()
    body = orjson.loads(adapter.encode(make.request(), stream=True).body)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert "stream" not in orjson.loads(adapter.encode(make.request()).body)


def test_a_server_that_knows_no_stream_options_is_not_sent_them_again(make: Any) -> None:
    adapter = adapter_for(make.entity())
    adapter.prepare()
    refused = make.response({"error": {"message": "unknown", "param": "stream_options"}}, 400)
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), refused)
    assert caught.value.kind == "adapted"
    assert "stream_options" not in orjson.loads(adapter.encode(make.request(), stream=True).body)


def test_fields_of_an_event_other_than_data_are_read_over() -> None:
    parser = EventParser(100)
    assert parser.feed(b"event: x\nid: 1\nretry: 5\ndata:a\ndata: b\ndata\n\ndatum: c\n\n") == [b"a\nb\n"]


def test_a_line_without_an_end_is_bounded() -> None:
    parser = EventParser(100)
    with pytest.raises(EventTooLarge):
        for _ in range(11):
            parser.feed(b"x" * 10)


def test_an_event_of_many_lines_is_bounded() -> None:
    parser = EventParser(100)
    with pytest.raises(EventTooLarge):
        for _ in range(60):
            parser.feed(b"data: xx\n")
