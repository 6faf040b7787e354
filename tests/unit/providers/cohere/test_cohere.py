"""What goes to Cohere and what comes back: chat and embeddings of its API's version 2, and every error of it."""

from __future__ import annotations

import contextlib
import struct
from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.ledger.prices import price_of
from aiq.policy.context import context_window
from aiq.policy.reservation import most_output_tokens
from aiq.providers import abilities_of, adapter_for, inputs_per_call
from aiq.providers.base import StatedLimit
from aiq.request import Usage

PNG = "data:image/png;base64,iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Looks", "parameters": {"type": "object", "properties": {"in": {}}}},
}
OTHER = {"type": "function", "function": {"name": "time"}}
CALL = {"id": "weather_1", "type": "function", "function": {"name": "weather", "arguments": '{"in":"Rome"}'}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


def make_entity(make: Any, task: str = "llm/v1/chat", api_base: str | None = None, model: str = "command-r7b") -> Any:
    config = KeyConfig(Secret("co-secret", "t"), api_base)
    return make.entity(provider="cohere", model=model, task=task, config=config)


def make_adapter(make: Any, *args: Any, **changes: Any) -> Any:
    found = adapter_for(make_entity(make, *args, **changes), lambda: 1.7e9)
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
        assert sent.pop("model") == "command-r7b"
        return sent

    return made


@pytest.fixture
def embed(make: Any) -> Any:
    """`embed(input=[...])`: the request, and the adapter that speaks for it."""

    def made(**body: Any) -> Any:
        request = make.request(task="llm/v1/embeddings", body={"input": ["a", "b"], **body})
        return make_adapter(make, "llm/v1/embeddings", model="embed-v4.0"), request

    return made


def said(*content: Any, reason: str = "COMPLETE", **message: Any) -> dict[str, Any]:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    units = {"billed_units": {"input_tokens": 5.0, "output_tokens": 2.0}, "cached_tokens": 3.0}
    usage = {**units, "tokens": {"input_tokens": 71.0, "output_tokens": 2.0}}
    return {
        "id": "c-1",
        "finish_reason": reason,
        "message": {"role": "assistant", "content": parts, **message},
        "usage": usage,
    }


def test_a_prompt_goes_to_the_second_version_with_a_bearer(make: Any, adapter: Any) -> None:
    sent = adapter.encode(make.request())
    assert sent.url == "https://api.cohere.com/v2/chat" == adapter.address
    assert sent.headers == [("content-type", "application/json"), ("authorization", "Bearer co-secret")]
    assert orjson.loads(sent.body) == {
        "model": "command-r7b",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }


@pytest.mark.parametrize("base", ["http://x.test", "http://x.test/", "http://x.test/v1", "http://x.test/v2/"])
def test_an_address_may_name_a_version(make: Any, base: str) -> None:
    assert make_adapter(make, api_base=base).address == "http://x.test/v2/chat"
    assert make_adapter(make, "llm/v1/embeddings", base).address == "http://x.test/v2/embed"


@pytest.mark.parametrize(
    ("given_body", "sent"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"temperature": 0.0, "seed": 7}, {"temperature": 0.0, "seed": 7}),
        ({"frequency_penalty": 0.5}, {"frequency_penalty": 0.5}),
        ({"top_p": 0.5}, {"p": 0.5}),
        ({"top_p": 1.0}, {"p": 0.99}),
        ({"top_p": 0.0}, {"p": 0.01}),
        ({"top_p": 0.5, "p": 0.2}, {"p": 0.2}),
        ({"stop": "."}, {"stop_sequences": ["."]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"n": 1, "parallel_tool_calls": True, "temperature": None}, {}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
        (
            {"thinking": {"type": "enabled", "token_budget": 500}},
            {"thinking": {"type": "enabled", "token_budget": 500}},
        ),
        ({"safety_mode": "STRICT", "k": 3}, {"safety_mode": "STRICT", "k": 3}),
        ({"something_new": 1}, {"something_new": 1}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"response_format": FORMAT}, {"response_format": {"type": "json_object", "json_schema": SCHEMA}}),
    ],
)
def test_parameters_become_coheres(encode: Any, given_body: Any, sent: Any) -> None:
    assert encode(**given_body) == {"messages": [{"role": "user", "content": "Hi"}], "stream": False, **sent}


def wants(encode: Any, schema: Any, **body: Any) -> Any:
    """What is sent for a schema: the response format, and the messages."""
    sent = encode(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, **body)
    return sent.get("response_format"), sent["messages"]


def test_what_coheres_schemas_have_no_words_for_is_said_in_descriptions(encode: Any) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
            "code": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
            "day": {"type": "string", "format": "date"},
            "mail": {"type": "string", "format": "email"},
            "one": {"oneOf": [{"type": "string"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1},
        },
        "required": ["n"],
        "additionalProperties": False,
        "$defs": {"tag": {"type": "string", "enum": ["a", "b"]}},
    }
    wanted, messages = wants(encode, schema)
    assert wanted == {
        "type": "json_object",
        "json_schema": {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "description": 'How many.\n\n{"maximum":9,"minimum":1}'},
                "code": {"type": "string", "description": '{"maxLength":5,"pattern":"^[a-z]+$"}'},
                "day": {"type": "string", "format": "date"},
                "mail": {"type": "string", "description": '{"format":"email"}'},
                "one": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "description": '{"minItems":1}'},
            },
            "required": ["n"],
            "additionalProperties": False,
            "$defs": {"tag": {"type": "string", "enum": ["a", "b"]}},
        },
    }
    assert messages == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}]}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]},
        {"type": "object", "properties": {"a": True}, "required": ["a"]},
        {"properties": {"a": {"type": "string"}}, "required": ["a"]},
    ],
)
def test_a_schema_beyond_coheres_is_said_in_the_system_message(encode: Any, schema: Any) -> None:
    wanted, (told, user) = wants(encode, schema)
    assert wanted == {"type": "json_object"} and user["role"] == "user"
    assert told["role"] == "system" and told["content"].endswith(orjson.dumps(schema).decode())
    talk = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    _, messages = wants(encode, schema, messages=talk)
    assert messages[0]["content"].startswith("Be short.\n\n") and talk[0]["content"] == "Be short."


def test_what_is_no_object_is_not_asked_for_in_json_mode(encode: Any) -> None:
    wanted, (told, _) = wants(encode, {"type": "array", "items": {"type": "integer"}})
    assert wanted is None and "JSON schema" in told["content"]


def test_a_stream_is_asked_for(encode: Any) -> None:
    assert encode(stream=True, stream_options={"include_usage": True})["stream"] is True


def test_roles_and_parts_become_coheres(encode: Any) -> None:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]
    talk = [
        {"role": "developer", "content": "Be short."},
        {"role": "system", "content": [{"type": "text", "text": "Really."}], "name": "boss"},
        {"role": "user", "content": parts, "name": "ann"},
        {"role": "assistant", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
    ]
    assert encode(messages=talk)["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "system", "content": [{"type": "text", "text": "Really."}]},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "AB"},
    ]


def test_calls_of_tools_and_what_they_tell_become_coheres(encode: Any) -> None:
    talk = [
        {"role": "assistant", "content": "I will look.", "tool_calls": [{**CALL, "index": 0}]},
        {"role": "tool", "tool_call_id": "weather_1", "content": "sunny"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "weather_1", "content": [{"type": "text", "text": "rain"}]},
    ]
    assert encode(messages=talk, tools=[TOOL])["messages"] == [
        {"role": "assistant", "tool_calls": [CALL], "tool_plan": "I will look."},
        {"role": "tool", "tool_call_id": "weather_1", "content": "sunny"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "weather_1", "content": [{"type": "text", "text": "rain"}]},
    ]


NO_ARGUMENTS = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
STRICT = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, {"tools": [TOOL, NO_ARGUMENTS]}),
        ("auto", {"tools": [TOOL, NO_ARGUMENTS]}),
        ("none", {"tools": [TOOL, NO_ARGUMENTS], "tool_choice": "NONE"}),
        ("required", {"tools": [TOOL, NO_ARGUMENTS], "tool_choice": "REQUIRED"}),
        ({"type": "function", "function": {"name": "time"}}, {"tools": [NO_ARGUMENTS], "tool_choice": "REQUIRED"}),
    ],
)
def test_a_choice_of_tools_becomes_coheres(encode: Any, choice: Any, sent: Any) -> None:
    found = encode(tools=[TOOL, OTHER], **({} if choice is None else {"tool_choice": choice}))
    assert {name: found[name] for name in ("tools", "tool_choice") if name in found} == sent
    assert "strict_tools" not in found


def test_tools_that_are_all_strict_are_kept_to(encode: Any) -> None:
    assert encode(tools=[STRICT])["strict_tools"] is True
    assert "strict_tools" not in encode(tools=[STRICT, TOOL])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"n": 2}, "one answer a call"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"user": "ann"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"reasoning_effort": "low"}, "none and high, not 'low'"),
        ({"response_format": {"type": "grammar"}}, "response_format of type 'grammar'"),
        ({"response_format": FORMAT, "tools": [TOOL]}, "together with tools"),
        ({"response_format": FORMAT, "documents": ["a"]}, "together with tools or documents"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "'maybe'"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "no"}}}, "'no'"),
        ({"messages": [{"role": "function", "content": "a"}]}, "role 'function'"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "'input_audio'"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]},
            "'image_url' in a message of this role",
        ),
        ({"messages": [{"content": "a"}]}, "OpenAI's form"),
        ({"messages": "no"}, "OpenAI's form"),
    ],
)
def test_what_cohere_cannot_do_is_refused_by_name(encode: Any, body: Any, words: str) -> None:
    with pytest.raises(ProviderError) as caught:
        encode(**body)
    error = caught.value
    assert (error.kind, error.status, error.entity) == ("bad_request", 400, "main")
    assert words in error.reason and "provider cohere" in error.reason


def test_what_is_known_of_the_provider_before_a_call(make: Any) -> None:
    entity = make_entity(make)
    abilities = abilities_of(entity)
    assert abilities.honours("llm/v1/chat", "seed") and not abilities.honours("llm/v1/chat", "logit_bias")
    assert abilities.honours("llm/v1/embeddings", "dimensions") and abilities.has_own("input_type")
    assert inputs_per_call([entity], 2000) == 96
    price = price_of(entity, {})
    assert price is not None and price.cost_usd(Usage(1_000_000, 1_000_000)) == pytest.approx(0.1875)
    assert context_window(make_entity(make, model="embed-v4.0")) == 128_000
    assert most_output_tokens(make.request(), "command-a-03-2025") == 8_192
    assert most_output_tokens(make.request(), "command-a-reasoning-08-2025") == 32_768


def test_an_answer_has_what_is_billed(make: Any, adapter: Any) -> None:
    answer = adapter.decode(make.request(), make.response(said("Hel", "lo.")))
    assert (answer.value, answer.finish_reason, answer.model) == ("Hello.", "stop", "command-r7b")
    assert answer.usage == Usage(5, 2, 3)
    assert orjson.loads(answer.raw) == {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "command-r7b",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length")],
)
def test_finish_reasons_become_openais(make: Any, adapter: Any, reason: str, expected: str) -> None:
    assert adapter.decode(make.request(), make.response(said("a", reason=reason))).finish_reason == expected


def test_thoughts_and_plans_are_no_part_of_the_answer(make: Any, adapter: Any) -> None:
    body = said({"type": "thinking", "thinking": "Hm."}, "Yes.", tool_plan="First,", citations=[{"start": 0}])
    answer = adapter.decode(make.request(), make.response(body))
    assert answer.value == "Yes."
    message = orjson.loads(answer.raw)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Yes.", "reasoning_content": "First,Hm."}


def test_calls_of_tools_become_openais(make: Any, adapter: Any) -> None:
    empty = {"id": "t_2", "type": "function", "function": {"name": "time"}}
    body = said(reason="TOOL_CALL", tool_calls=[CALL, empty], content=None)
    answer = adapter.decode(make.request(), make.response(body))
    assert (answer.value, answer.finish_reason) == (None, "tool_calls")
    assert orjson.loads(answer.raw)["choices"][0]["message"]["tool_calls"] == [
        CALL,
        {"id": "t_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"billed_units": {"input_tokens": 5.0, "output_tokens": 2.0}}, Usage(5, 2)),
        ({"billed_units": {"input_tokens": 5}}, Usage(5, 1, estimated=True)),
        ({"tokens": {"input_tokens": 9.0, "output_tokens": 2.0}}, Usage(9, 2)),
        ({"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 9, "output_tokens": 2}}, Usage(9, 2)),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 2}, "cached_tokens": 70.0}, Usage(5, 2, 5)),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 2}, "cached_tokens": -1}, Usage(5, 2)),
        (None, Usage(1, 1, estimated=True)),
        ("no", Usage(1, 1, estimated=True)),
        ({}, Usage(1, 1, estimated=True)),
        ({"billed_units": {"input_tokens": -1.0, "output_tokens": 2.0}}, Usage(1, 1, estimated=True)),
        ({"billed_units": {"input_tokens": 5.5, "output_tokens": 2.0}}, Usage(1, 1, estimated=True)),
        ({"billed_units": {"input_tokens": 1e15, "output_tokens": 2.0}}, Usage(1, 1, estimated=True)),
    ],
)
def test_what_is_billed_counts_before_what_was_counted(make: Any, adapter: Any, usage: Any, expected: Usage) -> None:
    answer = adapter.decode(make.request(text="abcd"), make.response({**said("abcd"), "usage": usage}))
    assert answer.usage == expected


@pytest.mark.parametrize(
    ("reason", "kind", "status"),
    [
        ("ERROR", "overloaded", 502),
        ("TIMEOUT", "overloaded", 504),
        ("USER_CANCEL", "overloaded", 499),
        ("ERROR_LIMIT", "context_length", 400),
        ("ERROR_TOXIC", "content_filter", 400),
    ],
)
def test_a_finish_reason_may_be_an_error_that_is_billed(
    make: Any, adapter: Any, reason: str, kind: str, status: int
) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(said("part", reason=reason)))
    error = caught.value
    assert (error.kind, error.status, error.usage) == (kind, status, Usage(5, 2, 3))
    assert reason in error.reason


TRIAL = "You are using a Trial key, which is limited to {} API calls / {}. Contact us on 'https://discord.gg/x'"


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: prompt must be at least 1 token long.", "bad_request"),
        (
            400,
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.",
            "context_length",
        ),
        (400, "too many tokens: size limit exceeded by 11326 tokens. Try using shorter inputs", "context_length"),
        (400, "too many tokens: max tokens must be less than or equal to 4096, the maximum output", "bad_request"),
        (401, "invalid api token", "auth"),
        (402, "Maximum billing reached for this API key as set in your dashboard", "quota_exhausted"),
        (403, "no", "auth"),
        (404, "model 'xyz' not found, make sure the correct model ID was used", "not_found"),
        (422, "no", "bad_request"),
        (429, TRIAL.format(40, "minute"), "rate_limited"),
        (429, TRIAL.format(1000, "month"), "quota_exhausted"),
        (429, "trial token rate limit exceeded, limit is 100000 tokens per minute", "rate_limited"),
        (429, "Please wait and try again later", "rate_limited"),
        (498, "a token is deny-listed", "content_filter"),
        (499, "request cancelled", "overloaded"),
        (500, "internal", "overloaded"),
        (501, "not implemented", "bad_request"),
        (503, "no", "overloaded"),
        (504, "no", "overloaded"),
    ],
)
def test_errors_are_classified_by_status_and_words(
    make: Any, adapter: Any, status: int, message: str, kind: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response({"id": "e", "message": message}, status, retry_after="3"))
    error = caught.value
    assert (error.kind, error.status, error.reason, error.retry_after_s) == (kind, status, message, 3.0)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"<html>", 502, "HTML page"),
        (b"", 503, "empty body"),
        (b"[1]", 400, "[1]"),
        ({"message": 5}, 400, "5"),
        ({"message": "key co-secret is no key"}, 401, "key *** is no key"),
        ({"message": "gone"}, 302, "redirect"),
    ],
)
def test_errors_in_other_forms_have_words_and_no_secret(
    make: Any, adapter: Any, body: Any, status: int, words: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(body, status))
    assert words in caught.value.reason and "co-secret" not in caught.value.reason + str(caught.value.body)


@pytest.mark.parametrize(
    "body",
    [
        b"no",
        b"<html>",
        {},
        [],
        {"finish_reason": "COMPLETE"},
        {"finish_reason": "COMPLETE", "message": {"content": [{"type": "text"}]}},
        {"finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": 5}]}},
        {"finish_reason": "TOOL_CALL", "message": {"tool_calls": [{"id": "a"}]}},
    ],
)
def test_an_answer_of_another_form_is_unusable(make: Any, adapter: Any, body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response(body))
    assert (caught.value.kind, caught.value.status) == ("bad_answer", 200)


def test_an_error_in_a_200_is_an_error(make: Any, adapter: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        adapter.decode(make.request(), make.response({"message": "internal"}))
    assert (caught.value.kind, caught.value.status, caught.value.reason) == ("overloaded", 502, "internal")


@pytest.mark.parametrize(
    ("limit", "left", "expected"),
    [("40", "39", (40.0, 39.0)), ("40", "41", (40.0, 40.0)), ("0", "0", None), ("x", "1", None), (None, "1", None)],
)
def test_the_limit_of_a_trial_key_is_read(make: Any, adapter: Any, limit: Any, left: str, expected: Any) -> None:
    headers = {"x_trial_endpoint_call_remaining": left, **({"x_trial_endpoint_call_limit": limit} if limit else {})}
    stated = adapter.stated_limits(make.response({}, **headers))
    assert (stated and stated.requests) == (None if expected is None else StatedLimit(*expected, None))
    assert adapter.stated_limits(make.response({})) is None


def test_texts_are_embedded_as_documents_unless_said(embed: Any) -> None:
    adapter, request = embed(dimensions=256)
    assert orjson.loads(adapter.encode(request).body) == {
        "model": "embed-v4.0",
        "texts": ["a", "b"],
        "input_type": "search_document",
        "embedding_types": ["float"],
        "output_dimension": 256,
    }
    adapter, request = embed(input="a", input_type="search_query", truncate="NONE", embedding_types=["int8"])
    assert orjson.loads(adapter.encode(request).body) == {
        "model": "embed-v4.0",
        "texts": ["a"],
        "input_type": "search_query",
        "embedding_types": ["int8"],
        "truncate": "NONE",
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": [[1, 2]]}, "not token ids"),
        ({"encoding_format": "base64"}, "encoding_format"),
        ({"user": "ann"}, "user"),
        ({"embedding_types": ["float", "int8"]}, "embedding_types"),
        ({"embedding_types": "float"}, "embedding_types"),
    ],
)
def test_embeddings_that_cohere_does_not_make_are_refused(embed: Any, body: Any, words: str) -> None:
    adapter, request = embed(**body)
    with pytest.raises(ProviderError, match=words):
        adapter.encode(request)


def test_vectors_come_back_in_order(make: Any, embed: Any) -> None:
    adapter, request = embed()
    units = {"billed_units": {"input_tokens": 4.0}}
    body = {"id": "e", "embeddings": {"float": [[1.0, 2], [3.5, -1]]}, "texts": ["a", "b"], "meta": units}
    answer = adapter.decode(request, make.response(body))
    assert (answer.value, answer.usage, answer.finish_reason) == ([[1.0, 2], [3.5, -1]], Usage(4, 0), None)
    assert not adapter.streams(request)


def test_other_forms_of_vectors_come_as_numbers(make: Any, embed: Any) -> None:
    packed = b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    for form, vectors in (("int8", [[1, -2], [3, 4]]), ("base64", [packed, packed])):
        adapter, request = embed(embedding_types=[form])
        answer = adapter.decode(request, make.response({"embeddings": {form: vectors}}))
        assert answer.value == ([[0.5, -2.0]] * 2 if form == "base64" else vectors)
        assert answer.usage.estimated


@pytest.mark.parametrize(
    "embeddings",
    [None, {}, {"float": []}, {"float": [[1.0]]}, {"float": [[1.0]] * 3}, {"float": [[], []]}, {"float": ["!", "!"]}],
)
def test_anything_but_one_vector_per_text_is_unusable(make: Any, embed: Any, embeddings: Any) -> None:
    adapter, request = embed()
    with pytest.raises(ProviderError) as caught:
        adapter.decode(request, make.response({"embeddings": embeddings, "meta": {}}))
    assert caught.value.kind == "bad_answer"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PATHS = [(), ("message",), ("message", "content"), ("message", "content", 0), ("message", "content", 0, "text")]
PATHS += [("message", "tool_calls"), ("message", "tool_calls", 0), ("message", "tool_calls", 0, "function")]
PATHS += [("usage",), ("usage", "billed_units"), ("finish_reason",), ("id",), ("message", "tool_plan")]


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.sampled_from(PATHS), value=json_values, status=st.sampled_from([200, 200, 200, 400, 429, 500]))
def test_no_answer_raises_anything_else(make: Any, adapter: Any, path: Any, value: Any, status: int) -> None:
    body: Any = said("a", tool_calls=[CALL])
    place: Any = {"": body}
    for step in ("", *path)[:-1]:
        place = place[step]
    place[("", *path)[-1]] = value
    with contextlib.suppress(ProviderError, TypeError):  # TypeError: JSON cannot say NaN in a key
        changed = orjson.dumps(body if path else value)
        with contextlib.suppress(ProviderError):
            adapter.decode(make.request(), make.response(changed, status))
