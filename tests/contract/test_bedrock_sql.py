"""The adapter of Amazon Bedrock against the simulator, end to end: SQL and the gateway's streams, and what is billed.

The simulator computes every signature again from what arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import orjson
import pytest
from botocore.config import Config

import aiq
from aiq.batch.loop import submit
from aiq.config.connections import BedrockConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.errors import RequestFailed
from aiq.providers import adapter_for
from aiq.request import Caller, Request
from aiq.runtime import open_gateway
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.vendors.base import SECRET
from tests.processes import PATIENCE_S

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OLD = "anthropic.claude-3-haiku-20240307-v1:0"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8
Rows = list[dict[str, Any]]
Ledger = Callable[..., Rows]


@pytest.fixture
def served(simulator: SimulatorProcess) -> Callable[..., dict[str, Any]]:
    """A served entity on the simulated Bedrock, signed or (`key`) with an API key."""

    def entity(model: str, *, vendor: str = "anthropic", task: str = "llm/v1/chat", key: str = "") -> dict[str, Any]:
        pair = {"aws_access_key_id_plaintext": "AKIATEST", "aws_secret_access_key_plaintext": SECRET}
        own = {"api_base": simulator.url, **({"api_key_plaintext": key} if key else {})}
        config = {"aws_region": "eu-central-1", "bedrock_provider": vendor, **({} if key else pair)}
        external = {"name": model, "provider": "amazon-bedrock", "task": task, "amazon_bedrock_config": config}
        return {"name": "main", "external_model": external, "aiq": own}

    return entity


@pytest.fixture(params=["pyreqwest", "httpx"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def session(conf: Any, home: Path, served: Any) -> Iterator[Any]:
    conf.endpoint("claude", served(CLAUDE))
    conf.endpoint("old", served(OLD))
    conf.endpoint("llama", served("meta.llama3-1-8b-instruct-v1:0"))
    conf.endpoint("titan", served("amazon.titan-embed-text-v2:0", vendor="amazon", task="llm/v1/embeddings"))
    conf.endpoint("cohere", served("cohere.embed-english-v3", vendor="cohere", task="llm/v1/embeddings"))
    conf.endpoint("bearer", served("arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.m-1:0", key="bk-1"))
    yield aiq.connect(conf=str(conf.path), home=str(home))


def value(session: Any, sql: str, params: Any = None) -> Any:
    return session.sql(sql, params).fetchall()[0][0]


def check_bill(simulator: SimulatorProcess, ledger_rows: Ledger) -> None:
    """The ledger's tokens are the simulator's invoice."""
    stats = simulator.stats()
    rows = ledger_rows("system.aiq.calls", status="ok")
    assert sum(row["input_tokens"] for row in rows) == stats["prompt_tokens"]
    assert sum(row["output_tokens"] for row in rows) == stats["completion_tokens"]


@pytest.mark.parametrize("endpoint", ["claude", "bearer"])
def test_a_statement_is_answered_and_billed(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, endpoint: str
) -> None:
    rows = session.sql(f"SELECT ai_query('{endpoint}', 'Say ' || i) FROM range(20) t(i)").fetchall()
    assert len({row[0] for row in rows}) == 20 and all(row[0].startswith("[simulated] ") for row in rows)
    check_bill(simulator, ledger_rows)


def test_both_transports_send_what_was_signed(
    make_conf: Any, tmp_path: Path, home: Path, served: Any, transport: str
) -> None:
    conf = make_conf(tmp_path / "own", "unused")
    conf.settings(transport=transport)
    conf.endpoint("arn", served("arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a.b-c:1"))
    with aiq.connect(conf=str(conf.path), home=str(home)) as session:
        assert value(session, "SELECT ai_query('arn', 'Grüße 🎉')")


def test_a_wrong_secret_is_told_without_it(conf: Any, home: Path, served: Any) -> None:
    entity = served(CLAUDE)
    entity["external_model"]["amazon_bedrock_config"]["aws_secret_access_key_plaintext"] = "wrong-secret-key"
    conf.endpoint("wrong", entity)
    with aiq.connect(conf=str(conf.path), home=str(home)) as session, pytest.raises(aiq.AiqError) as caught:
        value(session, "SELECT ai_query('wrong', 'Hi')")
    assert "InvalidSignatureException" in str(caught.value) and "wrong-secret-key" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["claude", "old", "llama"])
def test_structured_output_follows_its_schema(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, endpoint: str
) -> None:
    wanted = "STRUCT<a: STRUCT<name: STRING, age: INT>>"
    sql = f"SELECT ai_query('{endpoint}', 'Who? ' || i, responseFormat => '{wanted}') FROM range(5) t(i)"
    for (text,) in session.sql(sql).fetchall():
        found = orjson.loads(text)
        assert set(found) == {"name", "age"} and isinstance(found["age"], int)
    check_bill(simulator, ledger_rows)


def test_a_model_is_asked_once_whether_it_takes_a_schema(session: Any, simulator: SimulatorProcess) -> None:
    for text in ("Who?", "Whom?"):
        value(session, f"SELECT ai_query('old', '{text}', responseFormat => 'STRUCT<a: STRUCT<b: STRING>>')")
    assert [attempt["status"] for attempt in simulator.attempts()] == [400, 200, 200]


def test_parameters_of_the_model_arrive(session: Any) -> None:
    sql = "SELECT ai_query('claude', 'Hi', modelParameters => struct_pack({}))"
    plain = value(session, sql.format("max_tokens := 50"))
    assert value(session, sql.format("max_tokens := 50, top_k := 5, temperature := 0.5, stop := ['zzz']"))
    assert value(session, sql.format("max_tokens := 1")) != plain
    with pytest.raises(aiq.AiqError, match="`seed` cannot be honoured by provider amazon-bedrock"):
        value(session, sql.format("seed := 1"))
    with pytest.raises(aiq.AiqError, match="less than or equal to 1"):
        value(session, sql.format("temperature := 1.5"))


def test_thoughts_are_billed_and_no_part_of_the_value(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger
) -> None:
    text = value(session, "SELECT ai_query('claude', 'Hi', modelParameters => struct_pack(reasoning_effort := 'low'))")
    assert "considered" not in text
    check_bill(simulator, ledger_rows)
    assert ledger_rows("system.aiq.calls")[0]["output_tokens"] > 64


def test_an_image_is_sent_as_bytes(session: Any) -> None:
    assert "image/png, 16 bytes" in value(session, "SELECT ai_query('claude', 'What?', files => ?)", [PNG])


@pytest.mark.parametrize(("endpoint", "calls"), [("titan", 5), ("cohere", 1)])
def test_embeddings_share_a_call_where_the_model_takes_several(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, endpoint: str, calls: int
) -> None:
    rows = session.sql(f"SELECT ai_query('{endpoint}', 'Text ' || i) FROM range(5) t(i)").fetchall()
    assert len({tuple(row[0]) for row in rows}) == 5
    assert len(simulator.attempts()) == calls
    check_bill(simulator, ledger_rows)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("context-length", "Input is too long"),
        ("content-filter", "blocked"),
        ("403", "AccessDeniedException"),
        ("404", "ResourceNotFoundException"),
        ("quota-exhausted", "ServiceQuotaExceededException"),
        ("redirect-private", "redirect"),
    ],
)
def test_what_will_not_get_better_is_asked_once(
    session: Any, simulator: SimulatorProcess, fault: str, words: str
) -> None:
    sql = "SELECT ai_query('claude', ?, failOnError => false).errorMessage"
    assert words in value(session, sql, [f"Hi [[fault:{fault}]]"])
    assert len(simulator.attempts()) == 1


PASSING = ["429", "429-not-ready", "408-once", "424-once", "500-once", "503-once", "reset-once", "cut-once"]


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, fault: str) -> None:
    assert value(session, "SELECT ai_query('claude', ?)", [f"Hi [[fault:{fault}]]"])
    assert len(simulator.attempts()) == 2
    check_bill(simulator, ledger_rows)


class Streamed:
    """Reads the answers of one gateway as they come."""

    def __init__(self, conf: Path, home: Path) -> None:
        self._gateway = open_gateway(str(conf), str(home))

    def __call__(self, prompt: str, endpoint: str = "claude", **body: Any) -> tuple[str, list[Any]]:
        """The text of an answer, and its choices."""
        self._gateway.open_endpoint(endpoint)
        messages = [{"role": "user", "content": prompt}]
        request = Request(endpoint, "llm/v1/chat", {"messages": messages, **body}, Caller("ann"), "st-1")

        async def read() -> tuple[str, list[Any]]:
            chunks = [chunk async for chunk in self._gateway.stream(request)]
            return "".join(chunk.text for chunk in chunks), [part for c in chunks for part in c.data["choices"]]

        return submit(read()).result(timeout=PATIENCE_S)


@pytest.fixture
def streamed(session: Any, conf: Any, home: Path) -> Streamed:
    return Streamed(conf.path, home)


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False,
}  # fmt: skip
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}


def test_a_stream_is_the_whole_answer_in_pieces(session: Any, streamed: Streamed) -> None:
    text, choices = streamed("Grüße 🎉 aus 東京, mit vielen Wörtern")
    assert len(choices) > 3 and choices[-1]["finish_reason"] == "stop"
    assert text == value(session, "SELECT ai_query('claude', 'Grüße 🎉 aus 東京, mit vielen Wörtern')")


@pytest.mark.parametrize("fault", ["odd-stream", "duplicate-usage", "middle-usage", "two-finish", "wrong-type", "gzip"])
def test_odd_streams_give_the_same_answer(streamed: Streamed, fault: str) -> None:
    prompt = "Tell me of the sea and the wind"
    assert streamed(f"{prompt} [[fault:{fault}]]")[0].split()[-2:] == streamed(prompt)[0].split()[-2:]


@pytest.mark.parametrize("fault", ["cut", "error-chunk", "malformed-chunk", "truncated", "half-close"])
def test_a_broken_stream_is_never_a_whole_answer(streamed: Streamed, fault: str) -> None:
    with pytest.raises(RequestFailed):
        streamed(f"Tell me of the sea and the wind and the sun [[fault:{fault}]]")


def test_a_streamed_tool_call_is_openais(streamed: Streamed) -> None:
    _, choices = streamed("What is the weather?", tools=[TOOL], tool_choice="required")
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert calls[0]["function"]["name"] == "weather"
    assert orjson.loads("".join(call["function"]["arguments"] for call in calls))["city"]
    assert choices[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("endpoint", ["claude", "old"])
def test_streamed_structured_output_follows_its_schema(streamed: Streamed, endpoint: str) -> None:
    text, choices = streamed("Who?", endpoint, response_format=FORMAT)
    assert set(orjson.loads(text)) == {"a"}
    assert choices[-1]["finish_reason"] == "stop"


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
CONVERSATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a prompt": (
        {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
        {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "inferenceConfig": {"maxTokens": 9}},
    ),
    "everything": (
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                    ],
                },
                {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
            ],
            "tools": [TOOL],
            "tool_choice": "required",
            "max_completion_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.25,
            "stop": ["END"],
            "top_k": 5,
            "reasoning_effort": "low",
            "response_format": FORMAT,
            "metadata": {"team": "a"},
        },
        {
            "system": [{"text": "Be kind."}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "What?"},
                        {"image": {"format": "png", "source": {"bytes": b"\x89PNG\r\n\x1a\n"}}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"text": "Let me look."},
                        {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Rome"}}},
                    ],
                },
                {
                    "role": "user",
                    "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "Sunny."}]}}],
                },
            ],
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "weather",
                            "description": "The weather of a city",
                            "inputSchema": {"json": TOOL["function"]["parameters"]},  # type: ignore[index]
                        }
                    }
                ],
                "toolChoice": {"any": {}},
            },
            "inferenceConfig": {"maxTokens": 50, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"top_k": 5},
            "outputConfig": {
                "effort": "low",
                "textFormat": {
                    "type": "json_schema",
                    "structure": {"jsonSchema": {"schema": orjson.dumps(SCHEMA).decode(), "name": "answer"}},
                },
            },
            "requestMetadata": {"team": "a"},
        },
    ),
}


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_same_conversation_goes_over_the_wire_as_from_the_sdk(
    simulator: SimulatorProcess, conversation: str
) -> None:
    ours, theirs = CONVERSATIONS[conversation]
    sent: list[Any] = []
    client = botocore.session.Session().create_client(
        "bedrock-runtime", region_name="eu-central-1", endpoint_url=simulator.url,
        aws_access_key_id="AKIATEST", aws_secret_access_key=SECRET, config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    client.meta.events.register("before-send", lambda request, **_: sent.append(request))
    client.converse(modelId=CLAUDE, **theirs)
    config = BedrockConfig(
        "eu-central-1", "anthropic", Secret("AKIATEST", "t"), Secret(SECRET, "t"), None, simulator.url
    )
    entity = ServedEntity("e", "main", "amazon-bedrock", CLAUDE, "llm/v1/chat", config)
    adapter = adapter_for(entity)
    adapter.prepare()
    request = adapter.encode(Request("claude", "llm/v1/chat", ours, Caller("ann"), "st"))
    assert orjson.loads(request.body) == orjson.loads(sent[0].body)
    assert request.url == sent[0].url
