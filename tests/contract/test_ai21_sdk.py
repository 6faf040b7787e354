"""AI21's own SDK against the simulator, our adapter against the same, and the requests of both side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ai21.errors
import httpx
import orjson
import pytest
from ai21 import AI21Client
from ai21.models.chat import AssistantMessage, ChatMessage, SystemMessage, ToolMessage, UserMessage

import aiq
from aiq.config.connections import KeyConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.providers import adapter_for
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Profile, Quota
from tests.processes import PATIENCE_S

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MODEL = "jamba-mini"
HELLO: list[Any] = [UserMessage(content="Say hello to the world.")]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER}}
DOCUMENT: Any = {"content": "Schnoodel grew by 15 %.", "metadata": {"topic": "revenue"}}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    profile = Profile(quotas=(Quota(rpm=3, models=("limited",)),), split_utf8=True, retry_after_ms=10)
    with SimulatorProcess.start(profile) as process:
        yield process


def client_of(simulator: SimulatorProcess, key: str = "a21-test", retries: int = 0) -> AI21Client:
    return AI21Client(api_key=key, api_host=f"{simulator.url}/studio/v1", num_retries=retries, timeout_sec=PATIENCE_S)


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> AI21Client:
    return client_of(simulator)


def ask(client: AI21Client, *, model: str = MODEL, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": model, "messages": HELLO, **more})


# The SDK and the simulator


def test_a_chat_is_answered(client: AI21Client) -> None:
    answer = ask(client, messages=[SystemMessage(content="Be brief."), *HELLO])
    assert answer.choices[0].message.content.startswith("[simulated] ")
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens > 0) == ("stop", True)


def test_an_answer_has_as_many_choices_as_asked(client: AI21Client) -> None:
    assert [choice.index for choice in ask(client, n=3, temperature=0.7).choices] == [0, 1, 2]


def test_an_answer_ends_at_its_limit(client: AI21Client) -> None:
    assert ask(client, max_tokens=2).choices[0].finish_reason == "length"


def test_a_stream_adds_up_to_the_whole_answer(client: AI21Client) -> None:
    messages: list[Any] = [UserMessage(content="Grüße 🎉 aus 東京, mit vielen Wörtern")]
    chunks = list(ask(client, messages=messages, stream=True))
    whole = ask(client, messages=messages)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage and chunks[-1].choices[0].finish_reason == "stop"


def test_a_call_of_a_tool_goes_round(client: AI21Client) -> None:
    asked: list[Any] = [UserMessage(content="Use weather for Rome.")]
    called = ask(client, messages=asked, tools=[TOOL]).choices[0]
    (call,) = called.message.tool_calls
    assert called.finish_reason == "tool_calls" and isinstance(orjson.loads(call.function.arguments)["city"], str)
    said = AssistantMessage(content=None, tool_calls=[call])
    told = ToolMessage(tool_call_id=call.id, content="It is sunny.")
    answered = ask(client, messages=[*asked, said, told], tools=[TOOL])
    assert "It is sunny." in answered.choices[0].message.content


def test_json_mode_answers_json(client: AI21Client) -> None:
    answer = ask(client, response_format={"type": "json_object"})
    assert isinstance(orjson.loads(answer.choices[0].message.content), dict)


def test_documents_are_counted(client: AI21Client) -> None:
    plain, more = ask(client), ask(client, documents=[DOCUMENT])
    assert more.usage.prompt_tokens > plain.usage.prompt_tokens


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("sim-400", ai21.errors.BadRequest),
        ("sim-context-length", ai21.errors.UnprocessableEntity),
        ("sim-401", ai21.errors.Unauthorized),
        ("sim-403", ai21.errors.AI21APIError),
        ("sim-404", ai21.errors.AI21APIError),
        ("sim-429-forever", ai21.errors.TooManyRequestsError),
        ("sim-quota-exhausted", ai21.errors.TooManyRequestsError),
        ("sim-500", ai21.errors.AI21ServerError),
        ("sim-503", ai21.errors.ServiceUnavailable),
        ("sim-html-502", ai21.errors.AI21APIError),
        ("sim-reset", httpx.TransportError),
    ],
)
def test_a_fault_raises_the_error_the_sdk_has_for_it(client: AI21Client, model: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(client, model=model)
    if model not in ("sim-reset", "sim-html-502"):
        with pytest.raises(error):
            list(ask(client, model=model, stream=True))


def test_a_wrong_key_is_refused(simulator: SimulatorProcess) -> None:
    with pytest.raises(ai21.errors.Unauthorized, match="API token"):
        ask(client_of(simulator, "sk-invalid"))


def test_an_overload_passes_when_the_sdk_asks_again(simulator: SimulatorProcess) -> None:
    simulator.reset()
    assert ask(client_of(simulator, retries=2), model="sim-503-once").choices[0].finish_reason == "stop"
    assert simulator.stats()["requests"] == 2


def test_a_limit_says_nothing_until_it_refuses(client: AI21Client, simulator: SimulatorProcess) -> None:
    simulator.reset()
    for number in range(3):
        ask(client, model="limited", messages=[UserMessage(content=f"Number {number}")])
    with pytest.raises(ai21.errors.TooManyRequestsError):
        ask(client, model="limited")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": []}, "at least 1 items"),
        ({"messages": [ChatMessage(role="function", content="x")]}, "unexpected value"),
        (
            {"messages": [UserMessage.model_construct(role="user", content=[{"type": "text", "text": "x"}])]},
            "str type expected",
        ),
        ({"messages": [ToolMessage(content="x", tool_call_id="x")]}, "previous tool call"),
        ({"temperature": 2.5}, "less than or equal to 2"),
        ({"n": 17}, "less than or equal to 16"),
        ({"max_tokens": 5000}, "less than or equal to 4096"),
        ({"seed": 1}, "extra fields"),
        ({"response_format": {"type": "json_schema"}}, "permitted: 'text', 'json_object'"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {}}}]}, "field required"),
        ({"documents": [{"text": "a"}]}, "content: field required"),
    ],
)
def test_what_ai21_refuses_is_refused(client: AI21Client, body: Any, words: str) -> None:
    with pytest.raises(ai21.errors.UnprocessableEntity) as caught:
        ask(client, **body)
    assert words in str(caught.value.details)


# The SDK's request and ours


def sdk_request(**parameters: Any) -> Any:
    """What the SDK sends."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((str(request.url), request.headers["authorization"], orjson.loads(request.content)))
        return httpx.Response(500, json={"detail": "no"})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = AI21Client(api_key="k", api_host="http://a.test/studio/v1", http_client=http)
    with pytest.raises(ai21.errors.AI21ServerError):
        ask(client, **parameters)
    return sent[0]


def our_request(stream: bool = False, **body: Any) -> Any:
    config = KeyConfig(Secret("k", "test"), "http://a.test/studio/v1")
    adapter = adapter_for(ServedEntity("e", "main", "ai21labs", MODEL, "llm/v1/chat", config))
    adapter.prepare()
    sent = adapter.encode(Request("chat", "llm/v1/chat", body, Caller("ann"), "st"), stream=stream)
    return sent.url, dict(sent.headers)["authorization"], orjson.loads(sent.body)


OURS: list[Any] = [{"role": "user", "content": "Say hello to the world."}]
CALL: Any = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        ({"max_tokens": 9, "top_p": 0.5, "stop": ["END"], "temperature": 0.1},
         {"max_tokens": 9, "top_p": 0.5, "stop": ["END"], "temperature": 0.1}),
        ({"messages": [SystemMessage(content="Be brief."), *HELLO]},
         {"messages": [{"role": "developer", "content": "Be brief."}, *OURS]}),
        ({"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "auto"}),
        ({"messages": [*HELLO, ToolMessage(tool_call_id="call_1", content="sunny")]},
         {"messages": [*OURS, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]}),
        ({"messages": [*HELLO, AssistantMessage(content=None, tool_calls=[CALL])]},
         {"messages": [*OURS, {"role": "assistant", "content": None, "tool_calls": [CALL]}]}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"documents": [DOCUMENT], "n": 2}, {"documents": [DOCUMENT], "n": 2}),
    ],
    ids=["plain", "parameters", "system", "tools", "tool result", "tool call", "json", "documents"],
)  # fmt: skip
def test_we_send_what_the_sdk_sends(theirs: Any, ours: Any) -> None:
    assert our_request(**{"messages": OURS, **ours}) == without_nulls(sdk_request(**theirs))
    assert our_request(True, **{"messages": OURS, **ours}) == without_nulls(sdk_request(stream=True, **theirs))


def without_nulls(sent: Any) -> Any:
    """The SDK writes fields of its messages that are not set as null, but for the content of a call."""
    url, key, body = sent
    for message in body["messages"]:
        for name in [name for name, value in message.items() if value is None and name != "content"]:
            del message[name]
    return url, key, body


# Our adapter and the simulator

CONF = """\
name: {name}
config:
  served_entities:
    - name: main
      external_model:
        name: {model}
        provider: ai21labs
        task: llm/v1/chat
        ai21labs_config:
          ai21labs_api_key_plaintext: a21-ours
      aiq: {{api_base: {url}}}
ai_gateway:
  usage_tracking_config: {{enabled: true}}
  aiq: {own}
"""
MODELS = {"chat": MODEL, "spent": "sim-quota-exhausted", "once": "sim-503-once", "odd": "sim-odd-stream"}
MODELS |= {"cut": "sim-cut-once", "undone": "sim-no-done"}


@pytest.fixture
def session(tmp_path: Path, simulator: SimulatorProcess) -> Iterator[aiq.Session]:
    folder = tmp_path / "conf" / "endpoints"
    folder.mkdir(parents=True)
    for name, model in MODELS.items():
        own = "{idle_timeout_s: 5}" if name in ("odd", "cut", "undone") else "{}"
        (folder / f"{name}.yml").write_text(CONF.format(name=name, model=model, url=simulator.url, own=own))
    (tmp_path / "conf" / "aiq.yml").write_text("progress: false\n")
    simulator.reset()
    with aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home") as session:
        yield session


def test_the_ledger_has_what_the_provider_bills(session: aiq.Session, simulator: SimulatorProcess) -> None:
    rows = session.sql("SELECT ai_query('chat', 'Number ' || i) FROM range(200) t(i)").fetchall()
    assert len({row[0] for row in rows}) == 200
    counted = session.sql("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM system.aiq.calls").fetchall()
    stats = simulator.stats()
    assert counted == [(200, stats["prompt_tokens"], stats["completion_tokens"])]


SCHEMA = "responseFormat => 'STRUCT<p: STRUCT<name: STRING, ages: ARRAY<INT>>>'"


def test_a_schema_is_kept_to(session: aiq.Session) -> None:
    [(answer,)] = session.sql(f"SELECT ai_query('chat', 'Who?', {SCHEMA})").fetchall()
    assert set(orjson.loads(answer)) == {"name", "ages"}


def test_an_answer_that_does_not_keep_to_a_schema_is_put_right(
    session: aiq.Session, simulator: SimulatorProcess
) -> None:
    simulator.set_faults(FaultRate("bad-schema", 0.5))
    try:
        query = f"SELECT ai_query('chat', 'Number ' || i, {SCHEMA}, failOnError => false) FROM range(40) t(i)"
        rows = [row[0] for row in session.sql(query).fetchall()]
    finally:
        simulator.set_faults()
    good = [row for row in rows if row["errorMessage"] is None]
    assert 20 < len(good) < 40 and all(set(orjson.loads(row["result"])) == {"name", "ages"} for row in good)
    assert all("$" in row["errorMessage"] for row in rows if row["errorMessage"] is not None)


def test_parameters_reach_the_model(session: aiq.Session) -> None:
    [(answer,)] = session.sql(
        "SELECT ai_query('chat', 'Say a lot of words.', modelParameters => named_struct('max_tokens', 3, "
        "'temperature', 0.5, 'stop', array('END')))"
    ).fetchall()
    assert len(answer.encode()) <= 12


def test_what_has_no_meaning_is_refused_before_any_call(session: aiq.Session, simulator: SimulatorProcess) -> None:
    with pytest.raises(aiq.FunctionError, match="`seed` cannot be honoured by provider ai21labs"):
        session.sql("SELECT ai_query('chat', 'x', modelParameters => named_struct('seed', 1))")
    image = r"'\x89PNG\x0D\x0A\x1A\x0A'::BLOB"
    with pytest.raises(aiq.ProviderError, match="takes text only"):
        session.sql(f"SELECT ai_query('chat', 'x', files => {image})")
    assert simulator.stats()["requests"] == 0


def test_credits_that_are_used_up_are_asked_for_once(session: aiq.Session, simulator: SimulatorProcess) -> None:
    [(row,)] = session.sql("SELECT ai_query('spent', 'x', failOnError => false)").fetchall()
    assert row["result"] is None and "credits" in row["errorMessage"]
    assert simulator.stats()["requests"] == 1


@pytest.mark.parametrize("endpoint", ["once", "odd", "cut", "undone"])
def test_an_answer_is_whole_whatever_it_took(session: aiq.Session, endpoint: str) -> None:
    [(answer,)] = session.sql(f"SELECT ai_query('{endpoint}', 'Say hello to all.')").fetchall()
    assert answer.startswith("[simulated]")
