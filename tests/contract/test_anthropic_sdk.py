"""Anthropic's own SDK against the simulator, our adapter against the same, and the requests of both side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from pydantic import BaseModel

import aiq
from aiq.config.connections import KeyConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.providers import adapter_for
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile, Quota
from tests.processes import PATIENCE_S

MODEL = "claude-opus-4-6"
HELLO: list[Any] = [{"role": "user", "content": "Say hello to the world."}]
PNG = "iVBORw0KGgo="
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {"name": "weather", "description": "Tells it.", "input_schema": WEATHER}

pytestmark = pytest.mark.filterwarnings("ignore:Using Claude with:UserWarning")


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    profile = Profile(quotas=(Quota(rpm=3, models=("limited",)),), split_utf8=True, retry_after_ms=10)
    with SimulatorProcess.start(profile) as process:
        yield process


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key="sk-ant-test", base_url=simulator.url, max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


def ask(client: anthropic.Anthropic, *, model: str = MODEL, **more: Any) -> anthropic.types.Message:
    message: anthropic.types.Message = client.messages.create(
        **{"model": model, "max_tokens": 500, "messages": HELLO, **more}
    )
    return message


# The SDK and the simulator


def test_a_message_is_answered(client: anthropic.Anthropic) -> None:
    answer = ask(client, system="Be brief.")
    assert isinstance(answer.content[0], anthropic.types.TextBlock)
    assert answer.content[0].text.startswith("[simulated] ")
    assert (answer.stop_reason, answer.usage.output_tokens > 0) == ("end_turn", True)


def test_a_key_of_the_older_header_and_version_are_taken(simulator: SimulatorProcess) -> None:
    headers = {"x-api-key": "sk-ant-test", "anthropic-version": "2023-06-01"}
    with anthropic.Anthropic(base_url=simulator.url, auth_token="t", default_headers=headers, max_retries=0) as client:
        assert ask(client, extra_body={"temperature": 0.3}).stop_reason == "end_turn"


def test_the_newer_version_takes_no_temperature(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        ask(client, extra_body={"temperature": 0.3})


def test_a_stream_adds_up_to_the_whole_answer(client: anthropic.Anthropic) -> None:
    messages: list[Any] = [{"role": "user", "content": "Grüße 🎉 aus 東京, mit vielen Wörtern"}]
    with client.messages.stream(model=MODEL, max_tokens=500, messages=messages) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = ask(client, messages=messages)
    assert [text] == [block.text for block in whole.content if block.type == "text"]
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        whole.usage.input_tokens,
        whole.usage.output_tokens,
    )


def test_thoughts_come_as_blocks_of_their_own(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model=MODEL, max_tokens=5000, messages=HELLO, thinking={"type": "adaptive"}) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.usage.output_tokens_details is not None and final.usage.output_tokens_details.thinking_tokens > 0


def test_a_call_of_a_tool_goes_round(client: anthropic.Anthropic) -> None:
    called = ask(client, tools=[TOOL], tool_choice={"type": "tool", "name": "weather"})
    use = called.content[0]
    assert isinstance(use, anthropic.types.ToolUseBlock) and called.stop_reason == "tool_use"
    assert isinstance(use.input["city"], str)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "It is sunny."}
    answered = ask(
        client,
        tools=[TOOL],
        messages=[*HELLO, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}],
    )
    assert "It is sunny." in answered.content[0].text  # type: ignore[union-attr]


def test_a_streamed_call_of_a_tool_has_its_input(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model=MODEL, max_tokens=500, messages=HELLO, tools=[TOOL], tool_choice={"type": "any"}
    ) as stream:
        final = stream.get_final_message()
    assert final.content == ask(client, tools=[TOOL], tool_choice={"type": "any"}).content


class Person(BaseModel):
    """A structured answer."""

    name: str
    age: int
    nicknames: list[str]
    email: str | None


def test_structured_output_parses_into_the_asked_class(client: anthropic.Anthropic) -> None:
    answer = client.messages.parse(model=MODEL, max_tokens=500, messages=HELLO, output_format=Person)
    assert isinstance(answer.parsed_output, Person)


def test_an_image_is_seen(client: anthropic.Anthropic) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    answer = ask(client, messages=[{"role": "user", "content": content}])
    assert "image/png, 8 bytes" in answer.content[0].text  # type: ignore[union-attr]


def test_a_prompt_that_is_to_be_cached_is_read_from_the_cache_the_second_time(client: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": "Rule. " * 1000, "cache_control": {"type": "ephemeral"}}]
    first, second = (ask(client, system=system).usage for _ in range(2))
    assert first.cache_creation_input_tokens == second.cache_read_input_tokens == 1408
    assert first.cache_read_input_tokens == second.cache_creation_input_tokens == 0
    assert ask(client, system="Rule. " * 1000).usage.cache_read_input_tokens == 0  # nobody asked for it


def test_tokens_are_counted_without_an_answer(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens
    assert counted == ask(client).usage.input_tokens


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("sim-context-length", anthropic.BadRequestError),
        ("sim-content-filter", anthropic.BadRequestError),
        ("sim-401", anthropic.AuthenticationError),
        ("sim-403", anthropic.PermissionDeniedError),
        ("sim-404", anthropic.NotFoundError),
        ("sim-429-forever", anthropic.RateLimitError),
        ("sim-quota-exhausted", anthropic.RateLimitError),
        ("sim-500", anthropic.InternalServerError),
        ("sim-529", anthropic.APIStatusError),
        ("sim-html-502", anthropic.APIStatusError),
        ("sim-reset", anthropic.APIConnectionError),
    ],
)
def test_a_fault_raises_the_error_the_sdk_has_for_it(
    client: anthropic.Anthropic, model: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        ask(client, model=model)


def test_a_spent_limit_has_its_code(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(client, model="sim-quota-exhausted")
    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in caught.value.response.headers


def test_an_error_in_the_middle_of_a_stream_is_raised(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        for _ in client.messages.create(model="sim-error-chunk", max_tokens=500, messages=HELLO, stream=True):
            pass
    assert caught.value.type == "overloaded_error"


def test_a_refusal_is_a_stop_reason(client: anthropic.Anthropic) -> None:
    answer = ask(client, model="sim-refusal")
    assert answer.stop_reason == "refusal" and answer.stop_details is not None


def test_an_overload_passes_when_the_sdk_asks_again(client: anthropic.Anthropic) -> None:
    assert ask(client.with_options(max_retries=2), model="sim-529-once").stop_reason == "end_turn"


def test_the_quota_is_told_in_headers_until_it_is_used_up(client: anthropic.Anthropic, simulator: Any) -> None:
    simulator.reset()
    left = []
    for number in range(3):
        said = [{"role": "user", "content": f"Number {number}"}]
        raw = client.messages.with_raw_response.create(model="limited", max_tokens=5, messages=said)  # type: ignore[arg-type]
        left.append(raw.headers["anthropic-ratelimit-requests-remaining"])
    assert left == ["2", "1", "0"]
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(client, model="limited")
    assert int(caught.value.response.headers["retry-after"]) in (19, 20)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "Unexpected role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": [{"role": "user", "content": "x", "name": "ann"}]}, "Extra inputs"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "first message"),
        ({"extra_body": {"seed": 1}}, "seed: Extra inputs"),
        ({"tools": [{"name": "no good", "input_schema": WEATHER}]}, "tools.0.custom.name"),
        ({"tool_choice": {"type": "any"}}, "while providing tools"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "additionalProperties"),
        ({"stop_sequences": ["  "]}, "non-whitespace"),
        ({"metadata": {"team": "x"}}, "metadata.team"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "greater than `thinking.budget_tokens`"),
    ],
)
def test_what_anthropic_refuses_is_refused(client: anthropic.Anthropic, body: Any, words: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=words):
        ask(client, **body)


# The SDK's request and ours


def sdk_request(**parameters: Any) -> Any:
    """What the SDK sends."""
    sent: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(orjson.loads(request.content))
        return httpx2.Response(500, json={})

    http = anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(answer))
    with (
        anthropic.Anthropic(api_key="k", base_url="http://a.test", http_client=http, max_retries=0) as client,
        pytest.raises(anthropic.InternalServerError),
    ):
        ask(client, **parameters)
    return sent[0]


def our_request(*messages: Any, **parameters: Any) -> Any:
    config = KeyConfig(Secret("k", "test"), "http://a.test")
    adapter = adapter_for(ServedEntity("e", "main", "anthropic", MODEL, "llm/v1/chat", config))
    adapter.prepare()
    body = {"messages": list(messages) or HELLO, "max_tokens": 500, **parameters}
    return orjson.loads(adapter.encode(Request("chat", "llm/v1/chat", body, Caller("ann"), "st")).body)


OUR_TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER}}
OUR_CALL = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
OUR_IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}


@pytest.mark.parametrize(
    ("theirs", "messages", "ours"),
    [
        ({}, [], {}),
        ({"system": "Be brief.", "stop_sequences": ["END"]}, [{"role": "system", "content": "Be brief."}, *HELLO],
         {"stop": "END"}),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}}, [],
         {"tools": [OUR_TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}),
        ({"tools": [TOOL], "messages": [
            *HELLO,
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]},
         ]},
         [*HELLO, {"role": "assistant", "content": None, "tool_calls": [OUR_CALL]},
          {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"}],
         {"tools": [OUR_TOOL]}),
        ({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "What?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]}]},
         [{"role": "user", "content": [{"type": "text", "text": "What?"}, OUR_IMAGE]}], {}),
        ({"output_config": {"format": {"type": "json_schema", "schema": WEATHER}, "effort": "low"}}, [],
         {"response_format": FORMAT, "reasoning_effort": "low"}),
        ({"thinking": {"type": "adaptive"}, "metadata": {"user_id": "u"}}, [],
         {"thinking": {"type": "adaptive"}, "user": "u"}),
    ],
    ids=["plain", "system", "tools", "tool result", "image", "schema", "thinking"],
)  # fmt: skip
def test_we_send_what_the_sdk_sends(theirs: Any, messages: Any, ours: Any) -> None:
    assert our_request(*messages, **ours) == sdk_request(**theirs)


# Our adapter and the simulator

CONF = """\
name: {name}
config:
  served_entities:
    - name: main
      external_model:
        name: {model}
        provider: anthropic
        task: llm/v1/chat
        anthropic_config:
          anthropic_api_key_plaintext: sk-ant-ours
      aiq: {{api_base: {url}}}
ai_gateway:
  usage_tracking_config: {{enabled: true}}
"""


@pytest.fixture
def session(tmp_path: Path, simulator: SimulatorProcess) -> Iterator[aiq.Session]:
    folder = tmp_path / "conf" / "endpoints"
    folder.mkdir(parents=True)
    for name, model in (("claude", MODEL), ("refused", "sim-refusal"), ("once", "sim-529-once"), ("old", "claude-3-5")):
        (folder / f"{name}.yml").write_text(CONF.format(name=name, model=model, url=simulator.url))
    (tmp_path / "conf" / "aiq.yml").write_text("progress: false\n")
    simulator.reset()
    with aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home") as session:
        yield session


def test_the_ledger_has_what_the_provider_bills(session: aiq.Session, simulator: SimulatorProcess) -> None:
    rows = session.sql("SELECT ai_query('claude', 'Number ' || i) FROM range(200) t(i)").fetchall()
    assert len({row[0] for row in rows}) == 200
    counted = session.sql("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM system.aiq.calls").fetchall()
    stats = simulator.stats()
    assert counted == [(200, stats["prompt_tokens"], stats["completion_tokens"])]


def test_a_schema_is_answered_as_a_struct(session: aiq.Session) -> None:
    [(answer,)] = session.sql(
        "SELECT ai_query('claude', 'Who?', responseFormat => 'STRUCT<p: STRUCT<name: STRING, age: INT>>')"
    ).fetchall()
    assert set(answer if isinstance(answer, dict) else orjson.loads(answer)) == {"name", "age"}


def test_a_model_without_schemas_is_asked_in_words(session: aiq.Session, simulator: SimulatorProcess) -> None:
    session.sql(
        "SELECT ai_query('old', 'Number ' || i, responseFormat => 'STRUCT<p: STRUCT<name: STRING>>', "
        "failOnError => false) FROM range(20) t(i)"
    ).fetchall()
    statuses = simulator.stats()["by_status"]
    assert statuses["200"] >= 20 and statuses["400"] <= 20


def test_parameters_reach_the_model(session: aiq.Session) -> None:
    [(answer,)] = session.sql(
        "SELECT ai_query('claude', 'Say a lot of words.', modelParameters => "
        "named_struct('max_tokens', 3, 'temperature', 0.5, 'top_k', 5))"
    ).fetchall()
    assert len(answer.encode()) <= 12


def test_a_parameter_without_a_meaning_is_refused_before_any_call(
    session: aiq.Session, simulator: SimulatorProcess
) -> None:
    with pytest.raises(aiq.FunctionError, match="`seed` cannot be honoured by provider anthropic"):
        session.sql("SELECT ai_query('claude', 'x', modelParameters => named_struct('seed', 1))")
    assert simulator.stats()["requests"] == 0


def test_a_refusal_is_a_blocked_row_and_not_asked_again(session: aiq.Session, simulator: SimulatorProcess) -> None:
    [(row,)] = session.sql("SELECT ai_query('refused', 'x', failOnError => false)").fetchall()
    assert row["result"] is None and "the model refused" in row["errorMessage"]
    assert simulator.stats()["requests"] == 1


def test_an_overload_is_waited_out(session: aiq.Session, simulator: SimulatorProcess) -> None:
    [(answer,)] = session.sql("SELECT ai_query('once', 'Say hello.')").fetchall()
    assert answer.startswith("[simulated]")
    assert simulator.stats()["by_status"] == {"200": 1, "529": 1}
