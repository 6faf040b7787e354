"""Our requests to the Gemini API and to Vertex AI beside those of Google's own SDK: the same URLs, the same fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from google import genai
from google.genai import types
from google.oauth2 import credentials

from aiq.config.connections import KeyConfig, Secret, VertexConfig
from aiq.config.endpoint import ServedEntity
from aiq.providers import Adapter, adapter_for
from aiq.request import Caller, Request
from aiq.simulator.vendors.gemini_fields import BATCH, EMBED, GENERATE, PREDICT, checked

WEATHER = types.FunctionDeclaration(
    name="weather",
    description="The weather of a city",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def recorded(act: Callable[[genai.Client], object], vertex: bool) -> tuple[str, Any]:
    """The URL and the body that the SDK sends."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        one = {"values": [1.0]}
        return httpx.Response(200, json={"candidates": [], "embeddings": [one]} if not vertex else {"candidates": []})

    http = types.HttpOptions(
        client_args={"transport": httpx.MockTransport(answer)}, api_version="v1" if vertex else "v1beta"
    )
    if vertex:
        granted = credentials.Credentials("ya29.x")  # type: ignore[no-untyped-call]
        client = genai.Client(
            vertexai=True, project="p", location="us-central1", credentials=granted, http_options=http
        )
    else:
        client = genai.Client(api_key="k", http_options=http)
    act(client)
    return str(sent[0].url), json.loads(sent[0].content)


def ours(vertex: bool, model: str, body: dict[str, Any]) -> tuple[str, Any]:
    """The same of our adapter."""
    task: Any = "llm/v1/embeddings" if "input" in body else "llm/v1/chat"
    config: Any = VertexConfig("p", "us-central1", Secret("", "s")) if vertex else KeyConfig(Secret("k", "s"))
    provider: Any = "google-cloud-vertex-ai" if vertex else "palm"
    adapter: Adapter = adapter_for(ServedEntity("id", "main", provider, model, task, config))
    wire = adapter.encode(Request("e", task, body, Caller("ann"), "st"))
    return wire.url, orjson.loads(wire.body)


def same(body: Any, spec: Any) -> Any:
    """A body in camelCase, without the role that the SDK gives to what has but one."""
    found = checked(body, spec)
    for content in [found.get("systemInstruction"), *(each["content"] for each in found.get("requests", ()))]:
        if content is not None:
            content.pop("role", None)
    return found


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
SIGNED = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CHATS: dict[str, tuple[str, dict[str, Any], list[types.Content], types.GenerateContentConfig]] = {
    "everything that can be set": (
        "gemini-2.5-flash",
        {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "temperature": 0.5, "top_p": 0.9, "top_k": 4, "max_tokens": 7, "stop": "x", "seed": 3, "n": 1,
            "presence_penalty": 1.0, "logprobs": True, "top_logprobs": 2, "reasoning_effort": "low",
            "service_tier": "flex",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
            "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        },
        [types.Content(role="user", parts=[types.Part(text="Hi")])],
        types.GenerateContentConfig(
            system_instruction="Be brief.", temperature=0.5, top_p=0.9, top_k=4, max_output_tokens=7,
            stop_sequences=["x"], seed=3, candidate_count=1, presence_penalty=1.0, response_logprobs=True, logprobs=2,
            thinking_config=types.ThinkingConfig(thinking_budget=1024), service_tier=types.ServiceTier.FLEX,
            response_mime_type="application/json", response_json_schema=SCHEMA,
            safety_settings=[
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                    threshold=types.HarmBlockThreshold.BLOCK_NONE,
                )
            ],
        ),
    ),
    "a tool and its result": (
        "gemini-3-pro",
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": None, "tool_calls": [SIGNED]},
                {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "blue"}'},
            ],
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "reasoning_effort": "low",
        },
        [
            types.Content(role="user", parts=[types.Part(text="Weather?")]),
            types.Content(
                role="model",
                parts=[
                    types.Part(
                        function_call=types.FunctionCall(id="c1", name="weather", args={"city": "Rome"}),
                        thought_signature=b"sig",
                    )
                ],
            ),
            types.Content(
                role="user",
                parts=[
                    types.Part(
                        function_response=types.FunctionResponse(id="c1", name="weather", response={"sky": "blue"})
                    )
                ],
            ),
        ],
        types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[WEATHER])],
            tool_config=types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(
                    mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["weather"]
                )
            ),
            thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
        ),
    ),
    "an image": (
        "gemini-2.5-flash",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                        {"type": "image_url", "image_url": {"url": "https://h.test/a.jpeg"}},
                    ],
                }
            ],
            "max_tokens": 9,
        },
        [
            types.Content(
                role="user",
                parts=[
                    types.Part(text="What?"),
                    types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png"),
                    types.Part.from_uri(file_uri="https://h.test/a.jpeg", mime_type="image/jpeg"),
                ],
            )
        ],
        types.GenerateContentConfig(max_output_tokens=9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("of_vertex", [False, True])
@pytest.mark.parametrize("name", CHATS)
def test_our_request_is_the_sdks(name: str, of_vertex: bool) -> None:
    model, body, contents, config = CHATS[name]

    def act(client: genai.Client) -> object:
        return client.models.generate_content(model=model, contents=contents, config=config)

    url, wire = ours(of_vertex, model, body)
    their_url, theirs = recorded(act, of_vertex)
    assert url == their_url
    assert same(wire, GENERATE) == same(theirs, GENERATE)


@pytest.mark.parametrize(
    ("of_vertex", "model", "spec"),
    [
        (False, "gemini-embedding-001", BATCH),
        (True, "text-embedding-005", PREDICT),
        (True, "gemini-embedding-2", EMBED),
    ],
)
def test_our_embeddings_request_is_the_sdks(of_vertex: bool, model: str, spec: Any) -> None:
    texts = ["a"] if spec is EMBED else ["a", "b"]
    config = types.EmbedContentConfig(output_dimensionality=4, task_type="CLUSTERING")

    def act(client: genai.Client) -> object:
        return client.models.embed_content(model=model, contents=texts, config=config)  # type: ignore[arg-type]

    url, wire = ours(of_vertex, model, {"input": texts, "dimensions": 4, "task_type": "CLUSTERING"})
    their_url, theirs = recorded(act, of_vertex)
    theirs = same(theirs, spec)
    if spec is EMBED:  # the same settings, which the SDK puts one level deeper
        theirs = {"content": {"parts": theirs["content"]["parts"]}, **theirs["embedContentConfig"]}
    assert (url, same(wire, spec)) == (their_url, theirs)
