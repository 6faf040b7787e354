"""OpenAI's SDK and aiq's adapters on the Responses API, tools and agents, against a simulator in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from aiq.config.connections import ModelServerConfig, OpenAIConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers import adapter_for
from aiq.providers.base import HttpResponse
from aiq.request import Answer, Caller
from aiq.request import Request as AiqRequest
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile
from tests.processes import PATIENCE_S

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS, "strict": True}}
TOOL: Any = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start(Profile(split_utf8=True)) as process:
        yield process


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Iterator[OpenAI]:
    with OpenAI(api_key="sk-test-1234", base_url=f"{simulator.url}/v1", max_retries=0, timeout=PATIENCE_S) as client:
        yield client


class City(BaseModel):
    """A structured answer."""

    name: str
    inhabitants: int


def test_a_response_is_answered_with_its_usage(client: OpenAI) -> None:
    answer = client.responses.create(model="o3-mini", instructions="Be short.", input="Say hello to the world.")
    assert answer.output_text.startswith("[simulated] ") and answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.output_tokens_details.reasoning_tokens == 128
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_streamed_response_adds_up_to_the_whole_one(client: OpenAI) -> None:
    prompt = "Grüße 🎉 aus 東京, mit vielen Wörtern"
    with client.responses.stream(model="gpt-4o", input=prompt) as stream:
        events = list(stream)
        final = stream.get_final_response()
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text == client.responses.create(model="gpt-4o", input=prompt).output_text
    numbers = [getattr(event, "sequence_number", None) for event in events]
    assert numbers == list(range(len(events)))


def test_a_response_parses_into_the_asked_class(client: OpenAI) -> None:
    assert isinstance(client.responses.parse(model="gpt-4o", input="Where?", text_format=City).output_parsed, City)


def test_a_stream_parses_into_the_asked_class(client: OpenAI) -> None:
    with client.responses.stream(model="gpt-4o", input="Where?", text_format=City) as stream:
        assert isinstance(stream.get_final_response().output_parsed, City)


def test_a_response_calls_a_tool_and_uses_its_result(client: OpenAI) -> None:
    asked: Any = [{"role": "user", "content": "Please call get_weather for Rome."}]
    call: Any = client.responses.create(model="gpt-4o", input=asked, tools=[TOOL]).output[0]
    assert (call.type, call.name) == ("function_call", "get_weather")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 31 degrees."}
    answer = client.responses.create(model="gpt-4o", input=[*asked, call.model_dump(), result], tools=[TOOL])
    assert answer.output_text == "[simulated] The tool says: Sunny, 31 degrees."


def test_a_streamed_response_calls_a_tool(client: OpenAI) -> None:
    with client.responses.stream(model="gpt-4o", input="Please call get_weather.", tools=[TOOL]) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
        call: Any = stream.get_final_response().output[0]
    assert call.arguments == deltas and call.parsed_arguments.keys() == {"city", "days"}


def test_a_response_that_is_cut_is_incomplete(client: OpenAI) -> None:
    answer = client.responses.create(model="gpt-4o", input="many words " * 30, max_output_tokens=16)
    assert answer.status == "incomplete" and answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_a_refusal_is_a_part_of_the_message(client: OpenAI) -> None:
    message: Any = client.responses.create(model="sim-refusal", input="Hi").output[0]
    assert message.content[0].type == "refusal"


def test_an_error_inside_a_stream_of_responses_is_its_last_event(client: OpenAI) -> None:
    last = list(client.responses.create(model="sim-error-chunk", input="Hi", stream=True))[-1]
    assert last.type == "error" and "overloaded" in last.message


def test_chat_calls_a_tool_and_uses_its_result(client: OpenAI) -> None:
    asked: Any = [{"role": "user", "content": "Please call get_weather for Rome."}]
    message: Any = client.chat.completions.create(model="gpt-4o", messages=asked, tools=[CHAT_TOOL]).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sunny."}
    talk = [*asked, message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(model="gpt-4o", messages=talk, tools=[CHAT_TOOL])
    assert answer.choices[0].message.content == "[simulated] The tool says: Sunny."


def test_a_streamed_chat_calls_a_tool(client: OpenAI) -> None:
    asked: Any = [{"role": "user", "content": "Please call get_weather for Rome."}]
    with client.chat.completions.stream(model="gpt-4o", messages=asked, tools=[CHAT_TOOL]) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or ()
    assert final.choices[0].finish_reason == "tool_calls"
    assert isinstance(call.function.parsed_arguments, dict)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_output_tokens": 5}, "max_output_tokens"),
        ({"extra_body": {"max_tokens": 5}}, "max_tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_object"}}}, "input"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"reasoning": {"effort": "most"}}, "reasoning.effort"),
        ({"input": []}, "input"),
        ({"input": [{"role": "boss", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "text_in", "text": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ],
)
def test_what_is_wrong_with_a_response_is_refused_by_name(client: OpenAI, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{"model": "gpt-4o", "input": "Hi", **more})
    assert caught.value.param == param


def _send(url: str, headers: list[tuple[str, str]], body: bytes) -> tuple[HttpResponse, bytes]:
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(Request(url, body, dict(headers)), timeout=PATIENCE_S) as response:
            data = response.read()
            return HttpResponse(response.status, response.headers.get, data), data
    except HTTPError as error:
        data = error.read()
        return HttpResponse(error.code, error.headers.get, data), data


def _entity(simulator: SimulatorProcess, kind: str, model: str) -> ServedEntity:
    key = Secret("sk-test-1234", "test")
    if kind == "openai":
        config: Any = OpenAIConfig(api_key=key, api_base=f"{simulator.url}/v1", responses=True)
        return ServedEntity("id-e", "e", "openai", model, "llm/v1/chat", config)
    config = ModelServerConfig(f"{simulator.url}/agents/{model}/invocations", key)
    return ServedEntity("id-e", "e", "model-server", model, kind, config)  # type: ignore[arg-type]


def _ask(simulator: SimulatorProcess, kind: str, prompt: str, model: str, stream: bool) -> Answer:
    adapter = adapter_for(_entity(simulator, kind, model))
    adapter.prepare()
    messages = [{"role": "user", "content": prompt}]
    request = AiqRequest("chat", "llm/v1/chat", {"messages": messages}, Caller("ann"), "st-1")
    wire = adapter.encode(request, stream=stream)
    response, data = _send(wire.url, wire.headers, wire.body)
    if not stream:
        return adapter.decode(request, response)
    decoder = adapter.decoder(request, response)
    for byte in data:
        decoder.feed(bytes([byte]))
    return decoder.end()


KINDS = ["openai", "agent/v1/responses", "agent/v2/chat"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_our_adapters_read_every_answer_and_its_tokens(simulator: SimulatorProcess, kind: str, stream: bool) -> None:
    simulator.reset()
    answer = _ask(simulator, kind, "Grüße 🎉 aus 東京", "helper", stream)
    assert (answer.value or "").endswith("Grüße 🎉 aus 東京")
    (line,) = simulator.invoice()
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (line["input_tokens"], line["output_tokens"])
    assert not answer.usage.estimated


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["503", "429-forever", "empty", "malformed", "error-chunk", "truncated"])
def test_our_adapters_take_no_error_for_an_answer(
    simulator: SimulatorProcess, kind: str, stream: bool, fault: str
) -> None:
    if fault == "error-chunk" and not stream:
        assert _ask(simulator, kind, f"Hi [[fault:{fault}]]", "helper", stream).value
        return
    with pytest.raises(ProviderError):
        _ask(simulator, kind, f"Hi [[fault:{fault}]]", "helper", stream)
