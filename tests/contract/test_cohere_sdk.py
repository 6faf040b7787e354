"""Cohere's own SDK against the simulator, our adapter against the same, and the requests of both side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohere
import httpx
import orjson
import pytest
from cohere.core.api_error import ApiError

import aiq
from aiq.config.connections import KeyConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.providers import adapter_for
from aiq.request import Caller, Request, Task
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile, Quota
from tests.processes import PATIENCE_S

MODEL = "command-a-03-2025"
HELLO: list[Any] = [{"role": "user", "content": "Say hello to the world."}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER}}
CALL: Any = {"id": "w_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    profile = Profile(quotas=(Quota(rpm=3, models=("limited",)),), split_utf8=True, retry_after_ms=10)
    with SimulatorProcess.start(profile) as process:
        yield process


def client_of(simulator: SimulatorProcess, key: str = "co-test", retries: int = 0) -> cohere.ClientV2:
    return cohere.ClientV2(
        key, base_url=simulator.url, timeout=PATIENCE_S, max_retries=retries, log_warning_experimental_features=False
    )


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> cohere.ClientV2:
    return client_of(simulator)


def ask(client: cohere.ClientV2, *, model: str = MODEL, **more: Any) -> Any:
    return client.chat(**{"model": model, "messages": HELLO, **more})


def events(client: cohere.ClientV2, *, model: str = MODEL, **more: Any) -> list[Any]:
    return list(client.chat_stream(**{"model": model, "messages": HELLO, **more}))


# The SDK and the simulator


def test_a_chat_is_answered(client: cohere.ClientV2) -> None:
    answer = ask(client, messages=[{"role": "system", "content": "Be brief."}, *HELLO])
    assert answer.message.content[0].text.startswith("[simulated] ")
    assert answer.finish_reason == "COMPLETE"
    assert isinstance(answer.usage.billed_units.input_tokens, float)
    assert answer.usage.tokens.input_tokens > answer.usage.billed_units.input_tokens


def test_an_answer_ends_at_a_sequence_or_its_limit(client: cohere.ClientV2) -> None:
    assert ask(client, stop_sequences=["]"]).finish_reason == "STOP_SEQUENCE"
    assert ask(client, max_tokens=2).finish_reason == "MAX_TOKENS"


def test_a_stream_adds_up_to_the_whole_answer(client: cohere.ClientV2) -> None:
    messages = [{"role": "user", "content": "Grüße 🎉 aus 東京, mit vielen Wörtern"}]
    seen = events(client, messages=messages)
    whole = ask(client, messages=messages)
    assert (
        "".join(e.delta.message.content.text for e in seen if e.type == "content-delta")
        == whole.message.content[0].text
    )
    assert seen[0].type == "message-start" and seen[-1].type == "message-end"
    assert seen[-1].delta.usage == whole.usage and seen[-1].delta.finish_reason == "COMPLETE"


def test_thoughts_come_as_blocks_of_their_own(client: cohere.ClientV2) -> None:
    answer = ask(client, thinking={"type": "enabled"})
    assert [block.type for block in answer.message.content] == ["thinking", "text"]
    plain = ask(client, model="command-a-reasoning", thinking={"type": "disabled"})
    assert [block.type for block in plain.message.content] == ["text"]


def test_a_call_of_a_tool_goes_round(client: cohere.ClientV2) -> None:
    called = ask(client, tools=[TOOL], tool_choice="REQUIRED", strict_tools=True)
    (call,) = called.message.tool_calls
    assert called.finish_reason == "TOOL_CALL" and isinstance(orjson.loads(call.function.arguments)["city"], str)
    result = {"role": "tool", "tool_call_id": call.id, "content": "It is sunny."}
    answered = ask(client, tools=[TOOL], messages=[*HELLO, called.message, result])
    assert "It is sunny." in answered.message.content[0].text


def test_a_streamed_call_of_a_tool_has_its_arguments(client: cohere.ClientV2) -> None:
    seen = events(client, tools=[TOOL], tool_choice="REQUIRED")
    (whole,) = ask(client, tools=[TOOL], tool_choice="REQUIRED").message.tool_calls
    start = next(e for e in seen if e.type == "tool-call-start")
    assert start.delta.message.tool_calls.function.name == "weather" and start.delta.message.tool_calls.id == whole.id
    parts = [e.delta.message.tool_calls.function.arguments for e in seen if e.type == "tool-call-delta"]
    assert "".join(parts) == whole.function.arguments
    assert any(e.type == "tool-plan-delta" for e in seen)


def test_structured_output_conforms(client: cohere.ClientV2) -> None:
    answer = ask(client, response_format={"type": "json_object", "json_schema": PERSON})
    assert orjson.loads(answer.message.content[0].text).keys() == {"name", "age"}
    anything = ask(client, response_format={"type": "json_object"})
    assert isinstance(orjson.loads(anything.message.content[0].text), dict)


def test_an_image_is_seen(client: cohere.ClientV2) -> None:
    answer = ask(client, messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]}])
    assert "image/png, 8 bytes" in answer.message.content[0].text


def test_texts_are_embedded_in_every_form(client: cohere.ClientV2) -> None:
    forms = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    found = client.embed(
        model="embed-v4.0", texts=["a", "b"], input_type="search_document", embedding_types=forms, output_dimension=256
    )
    vectors = found.embeddings
    assert [len(vector) for vector in vectors.float_] == [256, 256] and len(vectors.binary[0]) == 32
    assert min(vectors.int8[0]) >= -127 and max(vectors.uint8[0]) <= 255 and isinstance(vectors.base64[0], str)
    assert found.meta.billed_units.input_tokens == 2.0


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("sim-context-length", cohere.BadRequestError),
        ("sim-content-filter", cohere.InvalidTokenError),
        ("sim-401", cohere.UnauthorizedError),
        ("sim-403", cohere.ForbiddenError),
        ("sim-404", cohere.NotFoundError),
        ("sim-429-forever", cohere.TooManyRequestsError),
        ("sim-quota-exhausted", cohere.TooManyRequestsError),
        ("sim-500", cohere.InternalServerError),
        ("sim-503", cohere.ServiceUnavailableError),
        ("sim-504", cohere.GatewayTimeoutError),
        ("sim-402", ApiError),
        ("sim-html-502", ApiError),
        ("sim-reset", httpx.TransportError),
    ],
)
def test_a_fault_raises_the_error_the_sdk_has_for_it(
    client: cohere.ClientV2, model: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        ask(client, model=model)


def test_a_wrong_key_is_refused(simulator: SimulatorProcess) -> None:
    with pytest.raises(cohere.UnauthorizedError) as caught:
        ask(client_of(simulator, "sk-invalid"))
    assert caught.value.body["message"] == "invalid api token"


def test_an_overload_passes_when_the_sdk_asks_again(simulator: SimulatorProcess) -> None:
    simulator.reset()
    assert ask(client_of(simulator, retries=2), model="sim-429-retry-after").finish_reason == "COMPLETE"
    assert simulator.stats()["requests"] == 2


def test_the_limit_of_a_trial_key_is_told_in_headers_until_it_is_used_up(
    client: cohere.ClientV2, simulator: SimulatorProcess
) -> None:
    simulator.reset()
    left = []
    for number in range(3):
        said: Any = [{"role": "user", "content": f"Number {number}"}]
        raw = client.with_raw_response.chat(model="limited", messages=said)
        left.append(raw.headers["x-trial-endpoint-call-remaining"])
    assert left == ["2", "1", "0"]
    with pytest.raises(cohere.TooManyRequestsError) as caught:
        ask(client, model="limited")
    assert "limited to 3 API calls / minute" in caught.value.body["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": []}, "must not be empty"),
        ({"messages": [{"role": "user", "content": ""}]}, "must not be empty in a turn"),
        ({"messages": [{"role": "function", "content": "x"}]}, "invalid role"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "x"}]}, "tool call id not found"),
        ({"temperature": 1.5}, "between 0 and 1.0"),
        ({"p": 1.0}, "between 0.01 and 0.99"),
        ({"frequency_penalty": 0.5, "presence_penalty": 0.5}, "cannot specify both"),
        ({"stop_sequences": list("abcdef")}, "at most 5"),
        ({"tool_choice": "REQUIRED"}, "together with tools"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "not supported with tools"),
        ({"response_format": {"type": "json_object"}, "documents": ["a"]}, "not supported with RAG"),
        ({"response_format": {"type": "json_object", "json_schema": {"type": "array"}}}, "schema must be an object"),
        (
            {"response_format": {"type": "json_object", "json_schema": {"type": "object", "properties": {"a": {}}}}},
            "required field",
        ),
    ],
)
def test_what_cohere_refuses_is_refused(client: cohere.ClientV2, body: Any, words: str) -> None:
    with pytest.raises(cohere.BadRequestError) as caught:
        ask(client, **body)
    assert words in caught.value.body["message"]


def test_a_field_that_is_none_is_refused(client: cohere.ClientV2) -> None:
    with pytest.raises(cohere.UnprocessableEntityError) as caught:
        ask(client, request_options={"additional_body_parameters": {"top_p": 0.5}})
    assert "'top_p' is not a valid field" in caught.value.body["message"]


# The SDK's request and ours


def sdk_request(method: str = "chat", **parameters: Any) -> Any:
    """What the SDK sends."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((str(request.url), request.headers["authorization"], orjson.loads(request.content)))
        return httpx.Response(500, json={"message": "no"})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = cohere.ClientV2("k", base_url="http://a.test", httpx_client=http, max_retries=0)
    with pytest.raises(cohere.InternalServerError):
        if method == "chat_stream":
            list(client.chat_stream(**{"model": MODEL, "messages": HELLO, **parameters}))
        elif method == "embed":
            client.embed(**{"model": MODEL, "texts": ["a", "b"], "input_type": "search_document", **parameters})
        else:
            ask(client, **parameters)
    return sent[0]


def our_request(task: Task = "llm/v1/chat", stream: bool = False, **body: Any) -> Any:
    config = KeyConfig(Secret("k", "test"), "http://a.test")
    adapter = adapter_for(ServedEntity("e", "main", "cohere", MODEL, task, config))
    adapter.prepare()
    sent = adapter.encode(Request("chat", task, body, Caller("ann"), "st"), stream=stream)
    return sent.url, dict(sent.headers)["authorization"], orjson.loads(sent.body)


FORMAT = {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}
TOLD = {"role": "tool", "tool_call_id": "w_1", "content": "sunny"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        ({"max_tokens": 9, "p": 0.5, "stop_sequences": ["END"], "seed": 3, "temperature": 0.1},
         {"max_tokens": 9, "top_p": 0.5, "stop": "END", "seed": 3, "temperature": 0.1}),
        ({"messages": [{"role": "system", "content": "Be brief."}, *HELLO]},
         {"messages": [{"role": "developer", "content": "Be brief."}, *HELLO]}),
        ({"tools": [TOOL], "tool_choice": "REQUIRED"}, {"tools": [TOOL], "tool_choice": "required"}),
        ({"tools": [TOOL], "messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, TOLD]},
         {"tools": [TOOL], "messages": [*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}, TOLD]}),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}]},
         {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}]}),
        ({"response_format": {"type": "json_object", "json_schema": PERSON}}, {"response_format": FORMAT}),
        ({"thinking": {"type": "disabled"}, "safety_mode": "STRICT"},
         {"reasoning_effort": "none", "safety_mode": "STRICT"}),
    ],
    ids=["plain", "parameters", "system", "tools", "tool result", "image", "schema", "own"],
)  # fmt: skip
def test_we_send_what_the_sdk_sends(theirs: Any, ours: Any) -> None:
    assert our_request(**{"messages": HELLO, **ours}) == sdk_request(**theirs)
    assert our_request(stream=True, **{"messages": HELLO, **ours}) == sdk_request("chat_stream", **theirs)


def test_we_ask_for_embeddings_as_the_sdk_does() -> None:
    ours = our_request("llm/v1/embeddings", input=["a", "b"], dimensions=256, truncate="NONE")
    assert ours == sdk_request("embed", embedding_types=["float"], output_dimension=256, truncate="NONE")


# Our adapter and the simulator

CONF = """\
name: {name}
config:
  served_entities:
    - name: main
      external_model:
        name: {model}
        provider: cohere
        task: {task}
        cohere_config:
          cohere_api_key_plaintext: co-ours
          cohere_api_base: {url}
ai_gateway:
  usage_tracking_config: {{enabled: true}}
  aiq: {own}
"""
MODELS = {"chat": MODEL, "filtered": "sim-content-filter", "spent": "sim-quota-exhausted", "once": "sim-503-once"}
MODELS |= {"thinking": "command-a-reasoning", "trial": "limited", "odd": "sim-odd-stream", "cut": "sim-cut-once"}


@pytest.fixture
def session(tmp_path: Path, simulator: SimulatorProcess) -> Iterator[aiq.Session]:
    folder = tmp_path / "conf" / "endpoints"
    folder.mkdir(parents=True)
    for name, model in MODELS.items():
        own = "{idle_timeout_s: 5}" if name in ("odd", "cut") else "{}"
        text = CONF.format(name=name, model=model, url=simulator.url, task="llm/v1/chat", own=own)
        (folder / f"{name}.yml").write_text(text)
    text = CONF.format(name="emb", model="embed-v4.0", url=f"{simulator.url}/v1", task="llm/v1/embeddings", own="{}")
    (folder / "emb.yml").write_text(text)
    (tmp_path / "conf" / "aiq.yml").write_text("progress: false\n")
    simulator.reset()
    with aiq.connect(conf=tmp_path / "conf", home=tmp_path / "home") as session:
        yield session


def test_the_ledger_has_what_the_provider_bills(session: aiq.Session, simulator: SimulatorProcess) -> None:
    rows = session.sql("SELECT ai_query('chat', 'Number ' || i) FROM range(200) t(i)").fetchall()
    assert len({row[0] for row in rows}) == 200
    session.sql("SELECT ai_query('emb', 'Number ' || i) FROM range(200) t(i)").fetchall()
    counted = session.sql("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM system.aiq.calls").fetchall()
    stats = simulator.stats()
    assert counted == [(203, stats["prompt_tokens"], stats["completion_tokens"])]


def test_a_schema_is_kept_to(session: aiq.Session) -> None:
    [(answer,)] = session.sql(
        "SELECT ai_query('chat', 'Who?', responseFormat => 'STRUCT<p: STRUCT<name: STRING, ages: ARRAY<INT>>>')"
    ).fetchall()
    assert set(orjson.loads(answer)) == {"name", "ages"}


def test_a_schema_that_cohere_has_no_words_for_is_kept_to_as_well(session: aiq.Session) -> None:
    bounded = (
        '{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","required":["n"],'
        '"properties":{"n":{"type":"integer","minimum":0,"maximum":1000},"code":{"type":"string","pattern":"^.*"}}}}}'
    )
    [(answer,)] = session.sql(f"SELECT ai_query('chat', 'How many?', responseFormat => '{bounded}')").fetchall()
    assert isinstance(orjson.loads(answer)["n"], int)


def test_a_map_is_asked_for_in_words(session: aiq.Session) -> None:
    mapped = "STRUCT<p: STRUCT<scores: MAP<STRING, INT>>>"
    [(answer,)] = session.sql(f"SELECT ai_query('chat', 'Who?', responseFormat => '{mapped}')").fetchall()
    assert isinstance(orjson.loads(answer)["scores"], dict)


def test_parameters_reach_the_model(session: aiq.Session) -> None:
    [(answer,)] = session.sql(
        "SELECT ai_query('chat', 'Say a lot of words.', modelParameters => named_struct('max_tokens', 3, "
        "'temperature', 0.5, 'top_p', 1.0, 'k', 5, 'extra_params', named_struct('safety_mode', 'STRICT')))"
    ).fetchall()
    assert len(answer.encode()) <= 12


def test_a_query_is_embedded_as_one(session: aiq.Session) -> None:
    [(vector,)] = session.sql(
        "SELECT ai_query('emb', 'x', modelParameters => named_struct('dimensions', 512, 'input_type', 'search_query'))"
    ).fetchall()
    assert len(vector) == 512


def test_a_parameter_without_a_meaning_is_refused_before_any_call(
    session: aiq.Session, simulator: SimulatorProcess
) -> None:
    with pytest.raises(aiq.FunctionError, match="`logit_bias` cannot be honoured by provider cohere"):
        session.sql("SELECT ai_query('chat', 'x', modelParameters => named_struct('logit_bias', map {'1': 1}))")
    assert simulator.stats()["requests"] == 0


@pytest.mark.parametrize(("endpoint", "words"), [("filtered", "deny-listed"), ("spent", "1000 API calls / month")])
def test_what_does_not_pass_by_itself_is_not_asked_again(
    session: aiq.Session, simulator: SimulatorProcess, endpoint: str, words: str
) -> None:
    [(row,)] = session.sql(f"SELECT ai_query('{endpoint}', 'x', failOnError => false)").fetchall()
    assert row["result"] is None and words in row["errorMessage"]
    assert simulator.stats()["requests"] == 1


@pytest.mark.parametrize("endpoint", ["once", "odd", "cut", "thinking"])
def test_an_answer_is_whole_whatever_it_took(session: aiq.Session, endpoint: str) -> None:
    [(answer,)] = session.sql(f"SELECT ai_query('{endpoint}', 'Say hello to all.')").fetchall()
    assert answer.startswith("[simulated]") and "think" not in answer


def test_a_trial_keys_limit_paces_who_asks_in_person(session: aiq.Session, simulator: SimulatorProcess) -> None:
    rows = session.sql("SELECT ai_query('trial', 'Number ' || i, failOnError => false) FROM range(3) t(i)").fetchall()
    assert all(row[0]["errorMessage"] is None for row in rows)
    assert simulator.stats()["by_status"] == {"200": 3}
