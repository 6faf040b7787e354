"""What holds for every vendor: no request and no fault brings the simulator down."""

from __future__ import annotations

import copy
import time
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.simulator import faults
from aiq.simulator.exchange import VendorCall
from aiq.simulator.profile import FaultRate, Profile
from aiq.simulator.provider import Provider
from aiq.simulator.reply import Reply
from aiq.simulator.vendors import VENDORS, find, oauth

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
IMAGE = "data:image/png;base64,iVBORw0KGgo="
CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be short."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "f"}, {"type": "image_url", "image_url": {"url": IMAGE}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "42"},
        {"role": "user", "content": "Call f"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
    "stop": ["x"],
    "max_completion_tokens": 100,
    "reasoning_effort": "low",
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 2,
    "seed": 1,
}
RESPONSE = {
    "model": "m",
    "instructions": "Be short.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "f"}, {"type": "input_image", "image_url": IMAGE}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
        {"type": "reasoning", "summary": []},
        {"role": "user", "content": "Call f"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
    "reasoning": {"effort": "low"},
    "max_output_tokens": 100,
    "stream": True,
}
ANTHROPIC = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "f"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "42"}]},
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "f"},
    "stop_sequences": ["x"],
    "stream": True,
}
VERTEX_CLAUDE = {name: value for name, value in ANTHROPIC.items() if name not in ("model", "stream")}
VERTEX_CLAUDE["anthropic_version"] = "vertex-2023-10-16"
VERTEX_MISTRAL = {
    "model": "mistral-small-2503",
    "messages": [{"role": "user", "content": "f"}],
    "random_seed": 1,
    "max_tokens": 9,
}
_PUBLISHERS = "/v1/projects/p/locations/global/publishers"
GEMINI = {
    "systemInstruction": {"parts": [{"text": "Be short."}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "f"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}],
        },
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2lnLTE="}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 42}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
        "stopSequences": ["x"],
        "maxOutputTokens": 100,
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
        "candidateCount": 2,
        "seed": 1,
    },
}
COHERE = {
    "model": "command-a",
    "messages": [
        {"role": "system", "content": "Be short."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "f"}, {"type": "image_url", "image_url": {"url": IMAGE}}],
        },
        {
            "role": "assistant",
            "tool_plan": "I call f.",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "document", "document": {"data": {"a": 1}}}]},
        {"role": "user", "content": "Call f"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "F", "parameters": SCHEMA}}],
    "tool_choice": "REQUIRED",
    "strict_tools": True,
    "stop_sequences": ["x"],
    "max_tokens": 100,
    "p": 0.5,
    "thinking": {"type": "enabled", "token_budget": 5},
    "stream": True,
}
COHERE_JSON = {
    "model": "command-a",
    "messages": [{"role": "user", "content": "f"}],
    "response_format": {"type": "json_object", "json_schema": {**SCHEMA, "$defs": {"b": {"anyOf": [SCHEMA]}}}},
    "stream": True,
}
EMBED = {
    "model": "embed-v4.0",
    "texts": ["a", "b"],
    "input_type": "search_query",
    "embedding_types": ["float", "int8", "binary", "base64"],
    "output_dimension": 256,
}
JAMBA = {
    "model": "jamba-mini",
    "messages": [
        {"role": "system", "content": f"Follow this JSON schema: {orjson.dumps(SCHEMA).decode()}"},
        {"role": "user", "content": "f"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "42"},
        {"role": "user", "content": "Call f"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "F", "parameters": SCHEMA}}],
    "documents": [{"content": "a", "metadata": {"topic": "b"}}],
    "response_format": {"type": "json_object"},
    "stop": ["x"],
    "n": 2,
    "stream": True,
}
BEDROCK = {
    "system": [{"text": "Be short."}, {"cachePoint": {"type": "default"}}],
    "messages": [
        {"role": "user", "content": [{"text": "f"}, {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "content": [{"text": "42"}]}}]},
    ],
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": SCHEMA}}}],
        "toolChoice": {"tool": {"name": "f"}},
    },
    "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "stopSequences": ["x"]},
    "additionalModelRequestFields": {"top_k": 3},
}
_BEDROCK = "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0"
_VERTEX = "/v1/projects/p/locations/l/publishers/google/models/gemini-3-flash"
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai chat": ("/v1/chat/completions", CHAT),
    "openai responses": ("/v1/responses", RESPONSE),
    "openai completions": ("/v1/completions", {"model": "m", "prompt": ["a", "b"], "stream": True}),
    "openai embeddings": ("/v1/embeddings", {"model": "m", "input": ["a", "b"], "dimensions": 8}),
    "azure chat": ("/openai/deployments/d/chat/completions?api-version=1", CHAT),
    "azure responses": ("/openai/v1/responses", RESPONSE),
    "databricks chat": ("/serving-endpoints/chat/completions", CHAT),
    "databricks invocations": ("/serving-endpoints/e/invocations", {k: v for k, v in CHAT.items() if k != "model"}),
    "databricks scoring": ("/serving-endpoints/e/invocations", {"dataframe_records": [{"a": 1}]}),
    "mlflow": ("/invocations", {"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}),
    "agents responses": ("/agents/a/invocations", {k: v for k, v in RESPONSE.items() if k != "model"}),
    "agents chat": ("/agents/a/invocations", {"messages": CHAT["messages"], "context": {}, "stream": True}),
    "anthropic": ("/v1/messages", ANTHROPIC),
    "bedrock": (f"{_BEDROCK}/converse", BEDROCK),
    "bedrock stream": (f"{_BEDROCK}/converse-stream", BEDROCK),
    "bedrock titan": ("/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": "a", "dimensions": 256}),
    "bedrock cohere": ("/model/cohere.embed-v4%3A0/invoke", {"texts": ["a", "b"], "input_type": "search_query"}),
    "gemini stream": ("/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse", GEMINI),
    "vertex": (f"{_VERTEX}:generateContent", GEMINI),
    "vertex stream": (f"{_VERTEX}:streamGenerateContent?alt=sse", GEMINI),
    "gemini": ("/v1beta/models/gemini-3-flash:generateContent", GEMINI),
    "claude on vertex": (f"{_PUBLISHERS}/anthropic/models/claude-sonnet-4-5:rawPredict", VERTEX_CLAUDE),
    "mistral on vertex": (f"{_PUBLISHERS}/mistralai/models/mistral-small-2503:rawPredict", VERTEX_MISTRAL),
    "llama on vertex": (
        "/v1/projects/p/locations/global/endpoints/openapi/chat/completions",
        {**CHAT, "model": "meta/llama-4"},
    ),
    "gemini embeddings": (
        "/v1beta/models/m:batchEmbedContents",
        {"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8}]},
    ),
    "cohere chat": ("/v2/chat", COHERE),
    "cohere structured": ("/v2/chat", COHERE_JSON),
    "cohere embed": ("/v2/embed", EMBED),
    "ai21": ("/studio/v1/chat/completions", JAMBA),
}
HEADERS = {
    b"authorization": b"Bearer sk-12345678",
    b"api-key": b"sk-12345678",
    b"x-api-key": b"sk-12345678",
    b"anthropic-version": b"2023-06-01",
    b"x-goog-api-key": b"sk-12345678",
}


def _send(path: str, body: Any, provider: Provider | None = None) -> Reply:
    provider = provider or Provider(Profile(huge_bytes=100))
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = HEADERS
    if "/projects/" in path:
        token = oauth.grant("vertex", "ann", time.time())["access_token"]
        headers = {**HEADERS, b"authorization": f"Bearer {token}".encode()}
    reply = provider.handle(VendorCall(b"POST", path.encode(), headers, data))
    provider.finish(reply, reply.status)
    return reply


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("stream", "stream_options")}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_full_request_is_answered_whole_and_as_a_stream(name: str) -> None:
    path, body = REQUESTS[name]
    replies = [_send(path, body), _send(path, _whole(body))]
    assert [reply.status for reply in replies] == [200, 200], [reply.body for reply in replies]
    by_path = "stream" in path
    assert (replies[0].pieces is not None) == (by_path or bool(body.get("stream")))
    assert (replies[1].pieces is not None) == by_path


def test_every_vendor_is_held_to_these_rules() -> None:
    asked = {find(b"POST", *path.encode().partition(b"?")[::2])[0].name for path, _ in REQUESTS.values()}
    assert asked == {vendor.name for vendor in VENDORS}


def test_every_vendor_says_what_its_clients_are_given() -> None:
    assert [vendor.name for vendor in VENDORS if not vendor.bases] == []


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", REQUESTS)
def test_every_fault_can_strike_everywhere(name: str, streamed: bool) -> None:
    path, body = REQUESTS[name]
    for fault in sorted(faults.NAMES):
        provider = Provider(Profile(huge_bytes=100, faults=(FaultRate(fault, 1.0),)))
        reply = _send(path, body if streamed else _whole(body), provider)
        assert reply.attempt is not None and reply.attempt.fault == fault
        if fault not in faults.SHAPES and reply.status >= 400:
            assert isinstance(orjson.loads(reply.body), dict | list) and not reply.attempt.ok


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3) | st.just("f"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in _places(child, (*path, key)))]


@pytest.mark.parametrize("name", REQUESTS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_request_with_something_wrong_in_it_is_answered_or_refused(name: str, data: st.DataObject) -> None:
    path, original = REQUESTS[name]
    body: Any = copy.deepcopy(original)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(_places(body)))
        if not place:
            continue
        holder = body
        for key in place[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[place[-1]] = data.draw(JSON)
        else:
            del holder[place[-1]]
    assert _send(path, body).status in (200, 400, 404, 413, 422)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{}"])
@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_no_request_is_refused(name: str, body: bytes) -> None:
    assert _send(REQUESTS[name][0], body).status in (400, 422)
