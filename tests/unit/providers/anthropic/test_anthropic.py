"""Anthropic's wire format: what is asked is said in its words, and what it says becomes an answer or an error."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiq.config.connections import KeyConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers import abilities_of, adapter_for
from aiq.request import Usage

PNG = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER}}
USER = {"role": "user", "content": "Hi"}


@pytest.fixture
def entity(make: Any) -> ServedEntity:
    config = KeyConfig(Secret("sk-ant-secret", "test"), "http://claude.test")
    made: ServedEntity = make.entity(provider="anthropic", model="claude-opus-4-6", config=config)
    return made


@pytest.fixture
def adapter(entity: ServedEntity) -> Any:
    made = adapter_for(entity, clock=lambda: 1_800_000_000.9)
    made.prepare()
    return made


@pytest.fixture
def encode(adapter: Any, make: Any) -> Any:
    """`encode(messages, **parameters)`: the body as it goes over the wire."""

    def build(*messages: Any, stream: bool = False, **parameters: Any) -> Any:
        body = {"messages": list(messages) or [USER], **parameters}
        return orjson.loads(adapter.encode(make.request(body=body), stream=stream).body)

    return build


def message(*content: Any, stop: Any = "end_turn", usage: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-6-20260101",
        "content": list(content),
        "stop_reason": stop,
        "usage": {"input_tokens": 10, "output_tokens": 5} if usage is None else usage,
        **changes,
    }


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def failure(kind: str, words: str = "no", code: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"type": kind, "message": words}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_1"}


# What is asked


def test_a_request_goes_to_messages_with_the_key_and_the_version(adapter: Any, make: Any) -> None:
    wire = adapter.encode(make.request())
    assert wire.url == adapter.address == "http://claude.test/v1/messages"
    assert dict(wire.headers) == {
        "content-type": "application/json",
        "x-api-key": "sk-ant-secret",
        "anthropic-version": "2023-06-01",
    }
    assert orjson.loads(wire.body) == {"model": "claude-opus-4-6", "max_tokens": 4096, "messages": [USER]}


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (None, "https://api.anthropic.com/v1/messages"),
        ("http://proxy.test/", "http://proxy.test/v1/messages"),
        ("http://proxy.test/v1", "http://proxy.test/v1/messages"),
    ],
)
def test_the_address_is_anthropics_or_that_of_the_file(make: Any, base: str | None, url: str) -> None:
    config = KeyConfig(Secret("k", "test"), base)
    assert adapter_for(make.entity(provider="anthropic", config=config)).address == url


def test_parameters_are_said_in_anthropics_words(encode: Any) -> None:
    body = encode(
        max_tokens=7, temperature=0.5, top_p=0.9, stop="END", n=1, user="u-1", reasoning_effort="high", top_k=3,
        service_tier="default", stream_options={"include_usage": True},
    )  # fmt: skip
    assert body == {
        "model": "claude-opus-4-6", "max_tokens": 7, "messages": [USER], "temperature": 0.5, "top_p": 0.9, "top_k": 3,
        "stop_sequences": ["END"], "metadata": {"user_id": "u-1"}, "output_config": {"effort": "high"},
        "service_tier": "standard_only",
    }  # fmt: skip


def test_the_newer_name_of_the_longest_answer_means_the_same(encode: Any) -> None:
    assert encode(max_completion_tokens=9)["max_tokens"] == 9


def test_several_stop_sequences_stay_a_list(encode: Any) -> None:
    assert encode(stop=["a", "b"])["stop_sequences"] == ["a", "b"]


@pytest.mark.parametrize(
    ("thinking", "most"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, 6096),
        ({"type": "adaptive"}, 16_384),
        ({"type": "disabled"}, 4096),
    ],
)
def test_thoughts_do_not_take_the_room_of_the_answer(encode: Any, thinking: Any, most: int) -> None:
    body = encode(thinking=thinking)
    assert (body["thinking"], body["max_tokens"]) == (thinking, most)


def test_no_effort_switches_thinking_off(encode: Any) -> None:
    body = encode(reasoning_effort="none")
    assert body["thinking"] == {"type": "disabled"} and "output_config" not in body


def test_what_is_nobodys_of_openais_goes_through(encode: Any) -> None:
    assert encode(cache_control={"type": "ephemeral"})["cache_control"] == {"type": "ephemeral"}


def test_system_messages_become_one_system_prompt_wherever_they_stand(encode: Any) -> None:
    body = encode({"role": "system", "content": "Be brief."}, USER, {"role": "developer", "content": "In French."})
    assert (body["system"], body["messages"]) == ("Be brief.\n\nIn French.", [USER])


def test_a_cached_system_prompt_keeps_its_breakpoint(encode: Any) -> None:
    part = {"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = encode({"role": "system", "content": [part]}, USER)
    assert body["system"] == [part]


def test_parts_of_a_content_become_blocks(encode: Any) -> None:
    pdf = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}
    search = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
    [turn] = encode(
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "file", "file": pdf},
                search,
            ],
        }
    )["messages"]
    assert turn == {
        "role": "user",
        "content": [
            {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
            search,
        ],
    }


def test_tools_and_the_choice_among_them_are_translated(encode: Any) -> None:
    strict = {"type": "function", "function": {"name": "now", "strict": True}, "cache_control": {"type": "ephemeral"}}
    own = {"type": "web_search_20250305", "name": "web_search"}
    body = encode(tools=[TOOL, strict, own], tool_choice="required", parallel_tool_calls=False)
    assert body["tools"] == [
        {"name": "weather", "description": "Tells it.", "input_schema": WEATHER},
        {
            "name": "now",
            "input_schema": {"type": "object", "properties": {}},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
        own,
    ]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
        ({"type": "any"}, {"type": "any"}),
    ],
)
def test_a_choice_of_a_tool_is_translated(encode: Any, choice: Any, wire: Any) -> None:
    assert encode(tools=[TOOL], tool_choice=choice)["tool_choice"] == wire


def test_tools_one_at_a_time_without_a_choice_are_a_choice(encode: Any) -> None:
    choice = encode(tools=[TOOL], parallel_tool_calls=False)["tool_choice"]
    assert choice == {"type": "auto", "disable_parallel_tool_use": True}


def test_calls_and_results_become_blocks_and_results_share_a_turn(encode: Any) -> None:
    def call(number: int) -> dict[str, Any]:
        return {"id": f"c{number}", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}

    turns = encode(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call(1), call(2)]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "rain"}]},
        {"role": "assistant", "content": "So so."},
        {"role": "assistant", "content": "", "tool_calls": [call(3)]},
        {"role": "tool", "tool_call_id": "c3", "content": "fog"},
    )["messages"]
    use = {"type": "tool_use", "name": "weather", "input": {"city": "Rome"}}
    assert turns[1:] == [
        {"role": "assistant", "content": [{**use, "id": "c1"}, {**use, "id": "c2"}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "c2", "content": [text("rain")]},
            ],
        },
        {"role": "assistant", "content": "So so."},
        {"role": "assistant", "content": [{**use, "id": "c3"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c3", "content": "fog"}]},
    ]


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def test_a_schema_is_asked_for_natively(encode: Any) -> None:
    schema = {**WEATHER, "additionalProperties": False}
    body = encode(response_format=schema_format(schema), reasoning_effort="low")
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    assert "system" not in body


def test_what_a_schema_cannot_say_natively_stands_in_descriptions(encode: Any) -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years."},
            "tags": {"type": "array", "items": {"type": "string", "format": "color"}, "minItems": 2},
            "kind": {"oneOf": [{"type": "string", "format": "date"}, {"$ref": "#/$defs/none"}]},
        },
        "$defs": {"none": {"type": "null"}},
    }
    assert encode(response_format=schema_format(schema))["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "description": 'In years.\n\n{"minimum":0}'},
            "tags": {
                "type": "array",
                "items": {"type": "string", "description": '{"format":"color"}'},
                "description": '{"minItems":2}',
            },
            "kind": {"anyOf": [{"type": "string", "format": "date"}, {"$ref": "#/$defs/none"}]},
        },
        "$defs": {"none": {"type": "null"}},
        "additionalProperties": False,
    }


RECURSIVE = {
    "type": "object",
    "properties": {"child": {"$ref": "#/$defs/node"}},
    "additionalProperties": False,
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object"},
        {"type": "object", "properties": {"any": {}}},
        RECURSIVE,
        {"type": "object", "properties": {"self": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "https://example.com/schema"}},
    ],
)
def test_a_schema_beyond_the_subset_is_asked_for_in_words(encode: Any, schema: Any) -> None:
    body = encode({"role": "system", "content": "Be brief."}, USER, response_format=schema_format(schema))
    assert "output_config" not in body
    assert body["system"].startswith("Be brief.\n\nAnswer with JSON that conforms")
    assert body["system"].endswith(orjson.dumps(schema).decode())


def test_any_json_is_asked_for_in_words(encode: Any) -> None:
    assert "one JSON object" in encode(response_format={"type": "json_object"})["system"]
    assert "system" not in encode(response_format={"type": "text"})


def test_a_model_that_knows_no_schema_is_asked_in_words_from_then_on(adapter: Any, encode: Any, make: Any) -> None:
    wanted = schema_format({**WEATHER, "additionalProperties": False})
    assert "output_config" in encode(response_format=wanted)
    words = "'claude-3-5-haiku-20241022' does not support output format."
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(failure("invalid_request_error", words), 400))
    assert caught.value.kind == "adapted"
    body = encode(response_format=wanted)
    assert "output_config" not in body and "conforms to this JSON schema" in body["system"]


def test_a_stream_is_asked_for(encode: Any) -> None:
    assert encode(stream=True)["stream"] is True


@pytest.mark.parametrize(
    ("messages", "parameters", "words"),
    [
        ([], {"temperature": 1.5}, "a temperature between 0 and 1, not 1.5"),
        ([], {"n": 2}, "one answer a request, not 2"),
        ([], {"seed": 1}, "cannot honour `seed`"),
        ([], {"logprobs": True}, "cannot honour `logprobs`"),
        ([], {"reasoning_effort": "extreme"}, "not extreme"),
        ([], {"tool_choice": {"type": "allowed_tools"}}, "tool_choice of auto, none"),
        ([], {"response_format": {"type": "grammar"}}, "response format of type grammar"),
        ([], {"response_format": {"type": "json_schema"}}, "a schema in response_format"),
        ([{"role": "function", "content": "x"}], {}, "the role function"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], {}, "takes no audio"),
        ([{"role": "user", "content": 7}], {}, "a text or a list of parts"),
        ([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}], {}, "data: URL of a PDF"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://a"}}]}], {}, "web address"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/bmp;base64,QQ=="}]}],
            {},
            "not image/bmp",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}],
            {},
            "arguments of a call of f",
        ),
        ([{"content": "x"}], {}, "not of OpenAI's form (KeyError: 'role')"),
    ],
)
def test_what_anthropic_cannot_do_is_refused_by_name_before_the_call(
    encode: Any, messages: Any, parameters: Any, words: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        encode(*messages, **parameters)
    error = caught.value
    assert (error.kind, error.status, error.entity) == ("bad_request", 400, "main")
    assert error.reason.startswith("provider anthropic ") and words in error.reason


def test_parameters_that_have_no_meaning_here_are_known_when_a_statement_is_planned(entity: ServedEntity) -> None:
    abilities = abilities_of(entity)
    assert abilities.honours("llm/v1/chat", "temperature") and abilities.has_own("top_k") and abilities.images
    assert not abilities.honours("llm/v1/chat", "seed") and not abilities.honours("llm/v1/embeddings", "dimensions")


# What is answered


def test_an_answer_has_openais_form(adapter: Any, make: Any) -> None:
    answer = adapter.decode(make.request(), make.response(message(text("Hel"), text("lo"))))
    assert (answer.value, answer.finish_reason, answer.model) == ("Hello", "stop", "claude-opus-4-6-20260101")
    assert answer.usage == Usage(10, 5)
    assert orjson.loads(answer.raw) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "claude-opus-4-6-20260101",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
    ],
)
def test_a_stop_reason_becomes_a_finish_reason(adapter: Any, make: Any, stop: str, reason: str | None) -> None:
    assert adapter.decode(make.request(), make.response(message(text("x"), stop=stop))).finish_reason == reason


def test_a_call_of_a_tool_has_openais_form(adapter: Any, make: Any) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
    answer = adapter.decode(make.request(), make.response(message(use, stop="tool_use")))
    assert (answer.value, answer.finish_reason) == (None, "tool_calls")
    assert orjson.loads(answer.raw)["choices"][0]["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    ]


def test_thoughts_stay_out_of_the_value(adapter: Any, make: Any) -> None:
    thought = {"type": "thinking", "thinking": "Hm, well.", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    answer = adapter.decode(make.request(), make.response(message(thought, hidden, text("Yes."))))
    assert answer.value == "Yes."
    assert orjson.loads(answer.raw)["choices"][0]["message"]["reasoning_content"] == "Hm, well."


def test_an_answer_without_text_is_none(adapter: Any, make: Any) -> None:
    with pytest.raises(ProviderError, match="without a word") as caught:
        adapter.decode(make.request(), make.response(message()))
    assert (caught.value.kind, caught.value.once) == ("bad_answer", True)


def test_input_counts_what_the_cache_had_and_what_it_got(adapter: Any, make: Any) -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 3000,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 40},
    }
    answer = adapter.decode(make.request(), make.response(message(text("x"), usage=usage)))
    assert answer.usage == Usage(3210, 50, 200, 40, cache_write_tokens=3000)
    details = orjson.loads(answer.raw)["usage"]["prompt_tokens_details"]
    assert details == {"cached_tokens": 200, "cache_write_tokens": 3000}


@pytest.mark.parametrize(
    "usage",
    [{}, [], {"input_tokens": -1, "output_tokens": 5}, {"input_tokens": 1, "output_tokens": 10**12}, "many"],
)
def test_a_count_that_is_none_is_estimated(adapter: Any, make: Any, usage: Any) -> None:
    answer = adapter.decode(make.request(text="x" * 39), make.response(message(text("y" * 11), usage=usage)))
    assert answer.usage == Usage(10, 3, estimated=True)


def test_a_refusal_is_a_blocked_answer_that_was_billed(adapter: Any, make: Any) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "It could harm."}
    body = message(text("Part"), stop="refusal", stop_details=details)
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(body))
    error = caught.value
    assert (error.kind, error.status, error.usage) == ("content_filter", 400, Usage(10, 5))
    assert error.reason == "the model refused (cyber): It could harm."


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"null", b'"x"', b"{}", b'{"content": 7, "stop_reason": 1}'])
def test_a_200_that_is_no_message_is_no_answer(adapter: Any, make: Any, body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(body))
    assert caught.value.kind == "bad_answer"


def test_what_is_no_message_but_has_a_count_was_billed(adapter: Any, make: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(message({"kind": "text"})))
    assert (caught.value.kind, caught.value.usage) == ("bad_answer", Usage(10, 5))


# What fails


@pytest.mark.parametrize(
    ("status", "kind", "words", "code", "meant"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", None, "bad_request"),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", None, "context_length"),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 9", None, "context_length"),
        (400, "invalid_request_error", "Output blocked by content filtering policy", None, "content_filter"),
        (400, "invalid_request_error", "You have reached your specified API usage limits.", None, "quota_exhausted"),
        (400, "invalid_request_error", "Your credit balance is too low", None, "quota_exhausted"),
        (401, "authentication_error", "invalid x-api-key", None, "auth"),
        (402, "billing_error", "Pay.", None, "quota_exhausted"),
        (403, "permission_error", "no", None, "auth"),
        (404, "not_found_error", "model: nope", None, "not_found"),
        (409, "conflict_error", "no", None, "overloaded"),
        (413, "request_too_large", "Request exceeds the maximum size", None, "bad_request"),
        (429, "rate_limit_error", "slower", None, "rate_limited"),
        (429, "rate_limit_error", "slower", "ramp_limit_exceeded", "rate_limited"),
        (429, "rate_limit_error", "spent", "enforced_spend_limit_reached", "quota_exhausted"),
        (429, "rate_limit_error", "spent", "contract_spend_limit_reached", "quota_exhausted"),
        (500, "api_error", "oops", None, "overloaded"),
        (504, "timeout_error", "late", None, "overloaded"),
        (529, "overloaded_error", "Overloaded", None, "overloaded"),
    ],
)
def test_an_error_has_the_class_that_decides_what_follows(
    adapter: Any, make: Any, status: int, kind: str, words: str, code: str | None, meant: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(failure(kind, words, code), status))
    assert (caught.value.kind, caught.value.status, caught.value.reason) == (meant, status, words)


@pytest.mark.parametrize(
    ("kind", "status", "meant"),
    [
        ("overloaded_error", 529, "overloaded"),
        ("rate_limit_error", 429, "rate_limited"),
        ("invalid_request_error", 400, "bad_request"),
        ("authentication_error", 401, "auth"),
        ("api_error", 500, "overloaded"),
        ("what may come", 502, "overloaded"),
    ],
)
def test_an_error_in_a_200_is_as_bad_as_its_status(adapter: Any, make: Any, kind: str, status: int, meant: str) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(failure(kind)))
    assert (caught.value.status, caught.value.kind) == (status, meant)


def test_a_hint_when_to_come_back_is_read(adapter: Any, make: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(failure("rate_limit_error"), 429, **{"retry-after": "12"}))
    assert caught.value.retry_after_s == 12.0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"<html>Bad gateway</html>", 502, "HTML page"),
        (b"", 503, "empty body"),
        (b'{"error": "down"}', 503, "down"),
        (b'{"error": 7}', 500, '{"error": 7}'),
        (b"[]", 500, "[]"),
        (b"", 302, "a redirect is never followed"),
    ],
)
def test_an_error_that_is_not_anthropics_still_says_something(
    adapter: Any, make: Any, body: bytes, status: int, words: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(body, status))
    assert words in caught.value.reason


def test_a_key_that_is_sent_back_is_never_shown(adapter: Any, make: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(failure("authentication_error", "bad key sk-ant-secret"), 401))
    assert "secret" not in caught.value.reason and "secret" not in (caught.value.body or "")


# What is left of the quota


def limits(unit: str, limit: Any, remaining: Any, reset: str = "2027-01-15T08:00:30Z") -> dict[str, str]:
    name = f"anthropic-ratelimit-{unit}"
    return {f"{name}-limit": str(limit), f"{name}-remaining": str(remaining), f"{name}-reset": reset}


def test_each_limit_is_read_with_the_seconds_to_its_reset(adapter: Any, make: Any) -> None:
    headers = (
        limits("requests", 50, 49) | limits("input-tokens", 40000, 30000) | limits("output-tokens", 8000, 9000)
    ) | limits("tokens", 48000, 38000)
    stated = adapter.stated_limits(make.response({}, date="Fri, 15 Jan 2027 08:00:00 GMT", **headers))
    assert stated.requests == (50.0, 49.0, 30.0)
    assert stated.input_tokens == (40000.0, 30000.0, 30.0)
    assert stated.output_tokens == (8000.0, 8000.0, 30.0)
    assert stated.tokens is None


def test_tokens_together_count_where_they_are_not_told_apart(adapter: Any, make: Any) -> None:
    stated = adapter.stated_limits(make.response({}, **limits("tokens", 48000, 38000)))
    assert stated.tokens is not None and stated.tokens.remaining == 38000.0


def test_without_a_date_our_clock_tells_the_seconds(adapter: Any, make: Any) -> None:
    stated = adapter.stated_limits(make.response({}, **limits("requests", 50, 49, "2027-01-15T08:00:10+00:00")))
    assert stated.requests.reset_s == pytest.approx(9.1)


@pytest.mark.parametrize("reset", ["", "soon", "2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_reset_that_is_no_moment_to_come_is_none(adapter: Any, make: Any, reset: str) -> None:
    assert adapter.stated_limits(make.response({}, **limits("requests", 50, 49, reset))).requests.reset_s is None


@pytest.mark.parametrize(("limit", "remaining"), [("", "1"), ("0", "1"), ("nan", "1"), ("5", "x"), ("1e99", "1")])
def test_a_limit_that_is_no_number_is_none(adapter: Any, make: Any, limit: str, remaining: str) -> None:
    assert adapter.stated_limits(make.response({}, **limits("requests", limit, remaining))).requests is None


def test_a_response_without_limits_states_none(adapter: Any, make: Any) -> None:
    assert adapter.stated_limits(make.response({})) is None
