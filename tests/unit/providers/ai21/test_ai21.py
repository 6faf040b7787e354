"""What goes to AI21 and what comes back: chat completions nearly as OpenAI's, whole and as streams, and its errors."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.ledger.prices import price_of
from aiq.policy.reservation import most_output_tokens
from aiq.providers import abilities_of, adapter_for
from aiq.providers.base import Chunk
from aiq.request import Usage

TOOL = {"type": "function", "function": {"name": "weather", "description": "Looks", "parameters": {"properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"in":"Rome"}'}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


def make_adapter(make: Any, api_base: str | None = None) -> Any:
    config = KeyConfig(Secret("a21-secret", "t"), api_base)
    found = adapter_for(make.entity(provider="ai21labs", model="jamba-mini", config=config), lambda: 1.7e9)
    found.prepare()
    return found


@pytest.fixture
def adapter(make: Any) -> Any:
    return make_adapter(make)


@pytest.fixture
def encode(make: Any, adapter: Any) -> Any:
    """`encode(temperature=1, messages=[...])`: the body that is sent, without its model."""

    def made(*, stream: bool = False, **body: Any) -> Any:
        request = make.request(body={"messages": [{"role": "user", "content": "Hi"}], **body})
        sent = orjson.loads(adapter.encode(request, stream=stream).body)
        assert sent.pop("model") == "jamba-mini"
        return sent

    return made


def said(text: str | None = "Hello.", reason: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {"id": "chat-1", "choices": [choice], "usage": usage, "meta": {"requestDurationMillis": 3}}


def test_a_prompt_goes_to_the_studio_with_a_bearer(make: Any, adapter: Any) -> None:
    sent = adapter.encode(make.request())
    assert sent.url == "https://api.ai21.com/studio/v1/chat/completions" == adapter.address
    assert sent.headers == [("content-type", "application/json"), ("authorization", "Bearer a21-secret")]
    assert orjson.loads(sent.body) == {
        "model": "jamba-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://x.test", "http://x.test/studio/v1/chat/completions"),
        ("http://x.test/", "http://x.test/studio/v1/chat/completions"),
        ("http://x.test/studio/v1", "http://x.test/studio/v1/chat/completions"),
        ("http://x.test/proxy/v1/", "http://x.test/proxy/v1/chat/completions"),
    ],
)
def test_an_address_is_a_host_or_a_path(make: Any, base: str, url: str) -> None:
    assert make_adapter(make, base).address == url


@pytest.mark.parametrize(
    ("given_body", "sent"),
    [
        ({"max_tokens": 5, "temperature": 1.5, "top_p": 0.5}, {"max_tokens": 5, "temperature": 1.5, "top_p": 0.5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"stop": "."}, {"stop": "."}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"n": 1, "parallel_tool_calls": True, "temperature": None}, {}),
        ({"n": 3}, {"n": 3}),
        ({"documents": [{"content": "a"}]}, {"documents": [{"content": "a"}]}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
    ],
)
def test_parameters_become_ai21s(encode: Any, given_body: Any, sent: Any) -> None:
    assert encode(**given_body) == {"messages": [{"role": "user", "content": "Hi"}], "stream": False, **sent}


def test_a_stream_is_asked_for_without_options(encode: Any) -> None:
    assert encode(stream=True, stream_options={"include_usage": True}) == {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_messages_become_text(encode: Any) -> None:
    parts = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    talk = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": parts, "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    assert encode(messages=talk)["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "A\nB"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
    ]


def test_a_schema_is_said_in_the_system_message(encode: Any) -> None:
    sent = encode(response_format=FORMAT)
    assert sent["response_format"] == {"type": "json_object"}
    told, user = sent["messages"]
    assert told["role"] == "system" and told["content"].endswith(orjson.dumps(SCHEMA).decode())
    assert user == {"role": "user", "content": "Hi"}
    talk = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    first, second = encode(messages=talk, response_format=FORMAT)["messages"]
    assert first["content"] == "Be short.\n\n" + told["content"] and second == user
    assert talk[0]["content"] == "Be short."


def test_what_is_no_object_is_not_asked_for_in_json_mode(encode: Any) -> None:
    array = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}
    sent = encode(response_format=array)
    assert "response_format" not in sent and "JSON schema" in sent["messages"][0]["content"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"seed": 2}, "seed"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"user": "ann"}, "user"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": {"type": "grammar"}}, "'grammar'"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [TOOL], "tool_choice": "required"}, "cannot be made to call"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, "made to call"),
        ({"messages": [{"role": "function", "content": "a"}]}, "role 'function'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "text only"),
        ({"messages": [{"content": "a"}]}, "OpenAI's form"),
        ({"messages": 5}, "OpenAI's form"),
    ],
)
def test_what_ai21_cannot_do_is_refused_by_name(encode: Any, body: Any, words: str) -> None:
    with pytest.raises(ProviderError) as caught:
        encode(**body)
    assert (caught.value.kind, caught.value.status, caught.value.entity) == ("bad_request", 400, "main")
    assert words in caught.value.reason and "provider ai21labs" in caught.value.reason


def test_what_is_known_of_the_provider_before_a_call(make: Any) -> None:
    entity = make.entity(provider="ai21labs", model="jamba-large", config=KeyConfig(Secret("k", "t")))
    abilities = abilities_of(entity)
    assert abilities.honours("llm/v1/chat", "stop") and not abilities.honours("llm/v1/chat", "seed")
    assert abilities.has_own("documents") and not abilities.images
    assert price_of(entity, {}) is None
    assert most_output_tokens(make.request(), "jamba-large-1.7") == 4_096


def test_an_answer_gets_what_it_does_not_say_of_itself(make: Any, adapter: Any) -> None:
    answer = adapter.decode(make.request(), make.response(said()))
    assert (answer.value, answer.finish_reason, answer.model, answer.usage) == (
        "Hello.",
        "stop",
        "jamba-mini",
        Usage(5, 2),
    )
    raw = orjson.loads(answer.raw)
    assert (raw["object"], raw["model"], raw["created"], raw["id"]) == (
        "chat.completion",
        "jamba-mini",
        1_700_000_000,
        "chat-1",
    )
    assert raw["choices"][0]["message"]["content"] == "Hello."


def test_a_call_of_a_tool_comes_as_it_is(make: Any, adapter: Any) -> None:
    answer = adapter.decode(make.request(), make.response(said(None, "tool_calls", tool_calls=[CALL])))
    assert (answer.value, answer.finish_reason) == (None, "tool_calls")
    assert orjson.loads(answer.raw)["choices"][0]["message"]["tool_calls"] == [CALL]


@pytest.mark.parametrize(
    ("status", "detail", "kind", "words"),
    [
        (400, "bad", "bad_request", "bad"),
        (401, "Forbidden: Bad or missing API token.", "auth", "Bad or missing"),
        (402, "pay", "quota_exhausted", "pay"),
        (403, "no", "auth", "no"),
        (403, "Your trial has ended", "quota_exhausted", "trial"),
        (404, "Not Found", "not_found", "Not Found"),
        (
            422,
            [{"loc": ["body", "messages", 0, "role"], "msg": "odd"}, {"msg": "b"}],
            "bad_request",
            "body.messages.0.role: odd; b",
        ),
        (422, "the prompt exceeds the model's context length of 256000 tokens", "context_length", "exceeds"),
        (424, "model", "overloaded", "model"),
        (429, "Too many requests", "rate_limited", "Too many"),
        (429, "You have no credits left", "quota_exhausted", "credits"),
        (500, "internal", "overloaded", "internal"),
        (503, None, "overloaded", "null"),
        (530, "dependency", "overloaded", "dependency"),
    ],
)
def test_errors_are_classified_by_status_and_detail(
    make: Any, adapter: Any, status: int, detail: Any, kind: str, words: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response({"detail": detail}, status, retry_after="2"))
    error = caught.value
    assert (error.kind, error.status, error.retry_after_s) == (kind, status, 2.0)
    assert words in error.reason


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"<html>", 502, "HTML page"),
        (b"", 503, "empty body"),
        (b"[1]", 400, "[1]"),
        ({"detail": "key a21-secret is none"}, 401, "key *** is none"),
        ({"detail": "gone"}, 302, "redirect"),
    ],
)
def test_errors_in_other_forms_have_words_and_no_secret(
    make: Any, adapter: Any, body: Any, status: int, words: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(body, status))
    assert words in caught.value.reason and "a21-secret" not in caught.value.reason + str(caught.value.body)


def test_an_error_in_a_200_is_an_error(make: Any, adapter: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response({"detail": "internal"}))
    assert (caught.value.kind, caught.value.status) == ("overloaded", 502)


@pytest.mark.parametrize("body", [b"no", {}, [], {"choices": []}, {"choices": [{"message": {"content": 5}}]}])
def test_an_answer_of_another_form_is_unusable(make: Any, adapter: Any, body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(body))
    assert (caught.value.kind, caught.value.status) == ("bad_answer", 200)


def event(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + orjson.dumps({"id": "chat-1", "choices": [choice], **more}) + b"\r\n\r\n"


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
WHOLE = [event({"role": "assistant"}), event({"content": "Grüße "}), event({"content": "🎉"})]
WHOLE += [event({"content": ""}, "stop", usage=USAGE), b"data: [DONE]\r\n\r\n"]


@pytest.fixture
def decoder(make: Any, adapter: Any) -> Any:
    def made() -> Any:
        return adapter.decoder(make.request(), make.response(b"", content_type="text/event-stream"))

    return made


def read(decoder: Any, *pieces: bytes) -> list[Chunk]:
    return [chunk for piece in pieces for chunk in decoder.feed(piece)]


def test_a_stream_may_be_cut_at_every_byte(decoder: Any) -> None:
    stream = b"".join(WHOLE)
    whole = decoder()
    expected, answer = read(whole, stream), whole.end()
    assert (answer.value, answer.model, answer.usage) == ("Grüße 🎉", "jamba-mini", Usage(5, 2))
    assert {(c.data["object"], c.data["model"], c.data["created"]) for c in expected} == {
        ("chat.completion.chunk", "jamba-mini", 1_700_000_000)
    }
    for cut in range(len(stream)):
        reading = decoder()
        assert read(reading, stream[:cut], stream[cut:]) == expected and reading.end() == answer


def test_a_stream_that_ends_before_its_answer_is_unusable(decoder: Any) -> None:
    reading = decoder()
    read(reading, *WHOLE[:2])
    with pytest.raises(ProviderError, match="the stream ended"):
        reading.end()


def test_an_error_in_the_stream_is_told(decoder: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        read(decoder(), WHOLE[0], b'data: {"detail": "it broke, a21-secret"}\n\n')
    assert (caught.value.kind, caught.value.status, caught.value.reason) == ("overloaded", 502, "it broke, ***")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("choices", "usage", "detail", "error", "id", "model"), json_values)
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@given(bodies | json_values, st.sampled_from([200, 200, 401, 422, 429]))
def test_no_answer_raises_anything_else(make: Any, adapter: Any, body: Any, status: int) -> None:
    with contextlib.suppress(ProviderError):
        adapter.decode(make.request(), make.response(orjson.dumps(body), status))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(bodies | json_values, max_size=6))
def test_no_stream_raises_anything_else(decoder: Any, events: list[Any]) -> None:
    reading = decoder()
    with contextlib.suppress(ProviderError):
        read(reading, *(b"data: " + orjson.dumps(each) + b"\n\n" for each in events))
        reading.end()
