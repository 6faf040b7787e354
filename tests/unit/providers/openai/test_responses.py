"""The Responses API and agents: what is sent, what is read, and that nothing unreadable is taken for an answer."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.config.connections import ModelServerConfig, OpenAIConfig, Secret
from aiq.errors import ProviderError
from aiq.policy.guardrails.texts import answer_text
from aiq.providers import adapter_for
from aiq.providers.base import HttpResponse
from aiq.request import Usage

OPENAI = OpenAIConfig(api_key=Secret("sk-secret", "test"), api_base="http://main.test/v1", responses=True)
AGENT = ModelServerConfig("http://agent.test/invocations", Secret("tok-secret", "test"))
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "model": "gpt-5-2025",
    "status": "completed",
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hé"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "llo"}],
        },
    ],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 17,
    },
}


@pytest.fixture
def openai(make: Any) -> Any:
    adapter = adapter_for(make.entity(config=OPENAI, model="gpt-5"))
    adapter.prepare()
    return adapter


@pytest.fixture(params=["agent/v1/responses", "agent/v2/chat"])
def agent(make: Any, request: Any) -> Any:
    adapter = adapter_for(make.entity(task=request.param, provider="model-server", config=AGENT, model="helper"))
    adapter.prepare()
    return adapter


def sent(adapter: Any, request: Any, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(adapter.encode(request, **options).body)
    return found


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in events)


def streamed(status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "text/event-stream"}.get, b"")


def test_a_chat_becomes_a_response_that_is_not_stored(openai: Any, make: Any) -> None:
    body = {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "verbosity": "low",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "o", "strict": True, "schema": {}}},
        "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    wire = openai.encode(make.request(body=body))
    assert wire.url == "http://main.test/v1/responses"
    assert ("authorization", "Bearer sk-secret") in wire.headers
    assert orjson.loads(wire.body) == {
        "model": "gpt-5",
        "store": False,
        "input": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [
                {"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
            ]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"},
        ],
        "max_output_tokens": 9,
        "temperature": 0.5,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "o", "strict": True, "schema": {}}, "verbosity": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "include": ["reasoning.encrypted_content"],
    }  # fmt: skip


def test_an_answer_has_its_text_usage_and_openais_chat_form(openai: Any, make: Any) -> None:
    answer = openai.decode(make.request(), make.response(RESPONSE))
    assert (answer.value, answer.finish_reason, answer.model) == ("Héllo", "stop", "gpt-5-2025")
    assert answer.usage == Usage(10, 7, cached_tokens=4, reasoning_tokens=5)
    raw = orjson.loads(answer.raw)
    assert raw["object"] == "chat.completion"
    assert raw["choices"][0]["message"] == {"role": "assistant", "content": "Héllo", "reasoning_content": "hm"}


def test_a_tool_call_is_openais_of_a_chat(openai: Any, make: Any) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
    answer = openai.decode(make.request(), make.response({**RESPONSE, "output": [call]}))
    assert (answer.value, answer.finish_reason) == (None, "tool_calls")
    [made] = orjson.loads(answer.raw)["choices"][0]["message"]["tool_calls"]
    assert made == {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "no"}}, "overloaded"),
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "no"}}, "rate_limited"),
        ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]}, "content_filter"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []},
            "content_filter",
        ),
        ({"output": None}, "bad_answer"),
        ({"output": [{"type": "message", "content": [{"type": "output_text"}]}]}, "bad_answer"),
    ],
)
def test_what_is_no_answer_is_an_error(openai: Any, make: Any, changes: dict[str, Any], kind: str) -> None:
    with pytest.raises(ProviderError) as caught:
        openai.decode(make.request(), make.response({**RESPONSE, **changes}))
    assert caught.value.kind == kind


def test_an_answer_that_was_cut_says_so(openai: Any, make: Any) -> None:
    cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert openai.decode(make.request(), make.response(cut)).finish_reason == "length"


EVENTS = [
    {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5-2025", "created_at": 1700000000}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}},
    {"type": "response.output_text.delta", "item_id": "m", "delta": "Hé"},
    {"type": "response.output_text.delta", "item_id": "m", "delta": "llo"},
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {"type": "function_call", "call_id": "c", "name": "f"},
    },
    {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"a":1}'},
    {"type": "response.completed", "response": RESPONSE},
]


def test_a_stream_split_anywhere_is_the_same_answer(openai: Any, make: Any) -> None:
    whole = stream(*EVENTS)
    for at in range(len(whole) + 1):
        decoder = openai.decoder(make.request(), streamed())
        chunks = [*decoder.feed(whole[:at]), *decoder.feed(whole[at:])]
        assert "".join(c.text for c in chunks) == "Héllo"
        assert decoder.ended and decoder.end().value == "Héllo"
    deltas = [c.data["choices"][0]["delta"] for c in chunks]
    assert deltas[0] == {"role": "assistant", "content": "Hé"}
    assert deltas[-1] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}


def test_a_stream_that_is_cut_is_no_answer(openai: Any, make: Any) -> None:
    for count in range(len(EVENTS)):
        decoder = openai.decoder(make.request(), streamed())
        decoder.feed(stream(*EVENTS[:count]))
        with pytest.raises(ProviderError) as caught:
            decoder.end()
        assert caught.value.kind == "bad_answer"


def test_an_error_in_a_stream_is_one(openai: Any, make: Any) -> None:
    decoder = openai.decoder(make.request(), streamed())
    with pytest.raises(ProviderError) as caught:
        decoder.feed(stream({"type": "error", "code": "rate_limit_exceeded", "message": "slow down"}))
    assert (caught.value.kind, caught.value.status) == ("rate_limited", 429)


def test_an_agent_gets_its_own_form(agent: Any, make: Any) -> None:
    request = make.request(text="Hi", task=agent._entity.task)
    message = {"role": "user", "content": "Hi"}
    name = "input" if agent._entity.task == "agent/v1/responses" else "messages"
    assert sent(agent, request) == {name: [message]}
    assert sent(agent, request, stream=True) == {name: [message], "stream": True}
    assert ("authorization", "Bearer tok-secret") in agent.encode(request).headers


def test_an_agent_answers_with_its_last_words(agent: Any, make: Any) -> None:
    request = make.request(task=agent._entity.task)
    if agent._entity.task == "agent/v1/responses":
        data = {"object": "response", "output": RESPONSE["output"], "custom_outputs": {"x": 1}}
    else:
        data = {
            "messages": [
                {"role": "assistant", "content": None, "id": "1", "tool_calls": []},
                {"role": "tool", "content": "words of a tool", "id": "2"},
                {"role": "assistant", "content": "Héllo", "id": "3"},
            ],
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    answer = agent.decode(request, make.response(data))
    assert (answer.value, answer.finish_reason, answer.model) == ("Héllo", "stop", "helper")
    assert orjson.loads(answer.raw)["choices"][0]["message"]["content"] == "Héllo"
    if agent._entity.task == "agent/v1/responses":
        assert orjson.loads(answer.raw)["custom_outputs"] == {"x": 1}
    else:
        assert "words of a tool" in answer_text(answer)  # what is kept is read by output guardrails


def test_an_agents_stream_is_an_answer_when_it_says_that_it_is_over(agent: Any, make: Any) -> None:
    request = make.request(task=agent._entity.task)
    if agent._entity.task == "agent/v1/responses":
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}
        events = [
            {"type": "response.output_text.delta", "item_id": "1", "delta": "Hi."},
            {"type": "response.output_item.done", "item": item},
        ]
    else:
        events = [
            {"delta": {"role": "assistant", "content": "Hi", "id": "1"}},
            {"delta": {"role": "assistant", "content": ".", "id": "1"}, "finish_reason": "stop"},
        ]
    whole = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    decoder = agent.decoder(request, streamed())
    assert "".join(chunk.text for chunk in decoder.feed(whole)) == "Hi."
    assert decoder.end().value == "Hi."
    broken = agent.decoder(request, streamed())
    broken.feed(b"data: %b\n\n" % orjson.dumps(events[0]))
    with pytest.raises(ProviderError):
        broken.end()


def test_an_agents_stream_has_its_items_and_words_that_came_whole(make: Any) -> None:
    adapter = adapter_for(make.entity(task="agent/v1/responses", config=AGENT, provider="model-server"))
    adapter.prepare()

    def said(text: str) -> dict[str, Any]:
        return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}

    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    events = [{"type": "response.output_item.done", "item": item} for item in (said("One. "), call, output)]
    events += [
        {"type": "response.output_text.delta", "item_id": "2", "delta": "Two."},
        {"type": "response.output_item.done", "item": said("Two.")},
    ]
    decoder = adapter.decoder(make.request(task="agent/v1/responses"), streamed())
    chunks = decoder.feed(b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events))
    assert [chunk.data.get("agent_item", chunk.text) for chunk in chunks] == ["One. ", call, output, "Two."]
    assert all(chunk.token for chunk in chunks)
    failed = adapter.decoder(make.request(task="agent/v1/responses"), streamed())
    with pytest.raises(ProviderError, match="the tool is ill"):  # as MLflow's own server of agents says it
        failed.feed(b'data: {"error": "the tool is ill"}\n\n')


NAMES = ["type", "output", "content", "text", "status", "error", "usage", "input_tokens", "item", "delta"]
NAMES += ["response", "messages", "role", "id", "finish_reason", "incomplete_details", "reason", "call_id", "name"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(NAMES), v, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(data=json_values, tail=st.binary(max_size=20), kind=st.sampled_from(["response.completed", "error", ""]))
def test_no_answer_is_more_than_a_provider_error(make: Any, data: Any, tail: bytes, kind: str) -> None:
    for task in ("llm/v1/chat", "agent/v1/responses", "agent/v2/chat"):
        own = {"config": OPENAI} if task == "llm/v1/chat" else {"config": AGENT, "provider": "model-server"}
        adapter = adapter_for(make.entity(task=task, **own))
        adapter.prepare()
        request = make.request(task=task)
        body = orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)
        for status in (200, 400, 500):
            with contextlib.suppress(ProviderError):
                adapter.decode(request, HttpResponse(status, lambda name: None, body + tail))
        event = {**data, "type": kind or data.get("type")} if isinstance(data, dict) else data
        decoder = adapter.decoder(request, streamed())
        with contextlib.suppress(ProviderError):
            decoder.feed(b"data: " + orjson.dumps(event) + b"\n\n" + tail)
            decoder.end()
