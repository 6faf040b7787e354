"""The adapters of the Gemini API and of Vertex AI against the simulator, end to end: SQL and the gateway's streams, and
what is billed. The simulator verifies the signature of what asks for a token.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import aiq
from aiq.batch.loop import submit
from aiq.errors import RequestFailed
from aiq.request import Caller, Request
from aiq.runtime import open_gateway
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Profile
from aiq.simulator.vendors.vertex import KEY_FILE
from tests.processes import PATIENCE_S

FLASH = "gemini-2.5-flash"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8
BOTH = pytest.mark.parametrize("endpoint", ["api", "vertex"])
Rows = list[dict[str, Any]]
Ledger = Callable[..., Rows]
Served = Callable[..., dict[str, Any]]


@pytest.fixture
def served(simulator: SimulatorProcess) -> Served:
    """A served entity on the simulated Gemini API, or (`account`) on Vertex AI with a service account of that name."""

    def entity(model: str, *, task: str = "llm/v1/chat", account: str = "", **key: Any) -> dict[str, Any]:
        external: dict[str, Any] = {"name": model, "task": task}
        if account:
            with urllib.request.urlopen(simulator.url + KEY_FILE.decode(), timeout=PATIENCE_S) as response:
                found = {**json.load(response), "client_email": f"{account}@p.iam.gserviceaccount.com", **key}
            external["provider"] = "google-cloud-vertex-ai"
            external["google_cloud_vertex_ai_config"] = {
                "project_id": "p",
                "region": "global",
                "private_key_plaintext": json.dumps(found, indent=2),
            }
        else:
            external |= {"provider": "palm", "palm_config": {"palm_api_key_plaintext": key.get("key", "AIza-test")}}
        return {"name": "main", "external_model": external, "aiq": {"api_base": simulator.url}}

    return entity


@pytest.fixture
def session(conf: Any, home: Path, served: Served, simulator: SimulatorProcess) -> Iterator[Any]:
    embeds = "llm/v1/embeddings"
    conf.endpoint("api", served(FLASH))
    conf.endpoint("vertex", served(FLASH, account="aiq"))
    conf.endpoint("three", served("gemini-3-flash"))
    conf.endpoint("batch", served("gemini-embedding-001", task=embeds))
    conf.endpoint("predict", served("text-embedding-005", task=embeds, account="aiq"))
    conf.endpoint("one", served("gemini-embedding-001", task=embeds, account="aiq"))
    conf.endpoint("two", served("gemini-embedding-2", task=embeds, account="aiq"))
    simulator.reset()
    yield aiq.connect(conf=str(conf.path), home=str(home))


def value(session: Any, sql: str, params: Any = None) -> Any:
    return session.sql(sql, params).fetchall()[0][0]


def asked(simulator: SimulatorProcess) -> list[dict[str, Any]]:
    """The attempts, without those that asked for a token or the key."""
    return [attempt for attempt in simulator.attempts() if ":" in attempt["path"]]


def check_bill(simulator: SimulatorProcess, ledger_rows: Ledger) -> None:
    """The ledger's tokens are the simulator's invoice."""
    stats = simulator.stats()
    rows = ledger_rows("system.aiq.calls")
    assert sum(row["input_tokens"] or 0 for row in rows) == stats["prompt_tokens"]
    assert sum(row["output_tokens"] or 0 for row in rows) == stats["completion_tokens"]


@BOTH
def test_a_statement_is_answered_and_billed(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, endpoint: str
) -> None:
    rows = session.sql(f"SELECT ai_query('{endpoint}', 'Say ' || i) FROM range(200) t(i)").fetchall()
    assert len({row[0] for row in rows}) == 200 and all(row[0].startswith("[simulated] ") for row in rows)
    check_bill(simulator, ledger_rows)
    assert all(row["cost_usd"] > 0 for row in ledger_rows("system.aiq.calls"))
    tokens = [attempt for attempt in simulator.attempts() if attempt["path"] == "/token"]
    assert len(tokens) == (1 if endpoint == "vertex" else 0)


@BOTH
def test_structured_output_follows_its_schema(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, endpoint: str
) -> None:
    wanted = "STRUCT<a: STRUCT<name: STRING, age: INT>>"
    sql = f"SELECT ai_query('{endpoint}', 'Who? ' || i, responseFormat => '{wanted}') FROM range(5) t(i)"
    for (text,) in session.sql(sql).fetchall():
        found = orjson.loads(text)
        assert set(found) == {"name", "age"} and isinstance(found["age"], int)
    check_bill(simulator, ledger_rows)
    assert len(asked(simulator)) == 5


def test_parameters_of_the_model_arrive(session: Any) -> None:
    sql = "SELECT ai_query('api', 'Hi', modelParameters => struct_pack({}))"
    plain = value(session, sql.format("max_tokens := 50"))
    assert value(session, sql.format("max_tokens := 50, top_k := 5, temperature := 0.5, stop := ['zzz'], seed := 3"))
    assert value(session, sql.format("max_tokens := 1")) != plain
    with pytest.raises(aiq.AiqError, match="`logit_bias` cannot be honoured by provider palm"):
        value(session, sql.format("logit_bias := map {'1': 1.0}"))
    with pytest.raises(aiq.AiqError, match="Unknown name"):
        value(session, sql.format("extra_params := struct_pack(no_such_thing := 1)"))


@pytest.mark.parametrize("endpoint", ["api", "vertex", "three"])
def test_thoughts_are_billed_and_no_part_of_the_value(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, endpoint: str
) -> None:
    thinking = "reasoning_effort := 'low', thinking_config := struct_pack(includeThoughts := true)"
    text = value(session, f"SELECT ai_query('{endpoint}', 'Hi', modelParameters => struct_pack({thinking}))")
    assert "pretends" not in text
    check_bill(simulator, ledger_rows)
    assert ledger_rows("system.aiq.calls")[0]["output_tokens"] > 64


@BOTH
def test_an_image_is_seen(session: Any, endpoint: str) -> None:
    assert "image/png, 16 bytes" in value(session, f"SELECT ai_query('{endpoint}', 'What?', files => ?)", [PNG])


def test_a_gif_is_refused_before_the_call(session: Any, simulator: SimulatorProcess) -> None:
    sql = "SELECT ai_query('api', 'What?', files => ?, failOnError => false).errorMessage"
    assert "takes no GIF" in value(session, sql, [b"GIF89a" + b"\x00" * 8])
    assert asked(simulator) == []


@pytest.mark.parametrize(("endpoint", "calls"), [("batch", 2), ("predict", 1), ("one", 101), ("two", 101)])
def test_embeddings_share_a_call_where_the_model_takes_several(
    session: Any, simulator: SimulatorProcess, ledger_rows: Ledger, endpoint: str, calls: int
) -> None:
    rows = session.sql(f"SELECT ai_query('{endpoint}', 'Text ' || i) FROM range(101) t(i)").fetchall()
    assert len({tuple(row[0]) for row in rows}) == 101
    assert len(asked(simulator)) == calls
    check_bill(simulator, ledger_rows)


def test_long_texts_share_a_call_as_far_as_vertex_takes_their_tokens(session: Any, simulator: SimulatorProcess) -> None:
    session.sql("SELECT ai_query('predict', repeat('word ', 2000) || i) FROM range(12) t(i)")
    assert [attempt["status"] for attempt in asked(simulator)] == [200, 200, 200]


@BOTH
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("context-length", "input token count"),
        ("content-filter", "PROHIBITED_CONTENT"),
        ("refusal", "SAFETY"),
        ("402", "credits are depleted"),
        ("403", "Permission denied"),
        ("404", "is not found"),
        ("quota-exhausted", "credits are depleted"),
        ("redirect-private", "redirect"),
    ],
)
def test_what_will_not_get_better_is_asked_once(
    session: Any, simulator: SimulatorProcess, endpoint: str, fault: str, words: str, ledger_rows: Ledger
) -> None:
    sql = f"SELECT ai_query('{endpoint}', ?, failOnError => false).errorMessage"
    assert words in value(session, sql, [f"Hi [[fault:{fault}]]"])
    assert len(asked(simulator)) == 1
    check_bill(simulator, ledger_rows)


PASSING = ["429", "429-retry-after", "500-once", "503-once", "504-once", "reset-once", "cut-once", "html-once"]


@BOTH
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(session: Any, simulator: SimulatorProcess, endpoint: str, fault: str) -> None:
    assert value(session, f"SELECT ai_query('{endpoint}', ?)", [f"Hi [[fault:{fault}]]"])
    assert len(asked(simulator)) == 2


# Keys and tokens


def test_a_wrong_key_is_told_without_it(conf: Any, home: Path, served: Served) -> None:
    conf.endpoint("wrong", served(FLASH, key="sk-invalid"))
    with aiq.connect(conf=str(conf.path), home=str(home)) as session, pytest.raises(aiq.AiqError) as caught:
        value(session, "SELECT ai_query('wrong', 'Hi')")
    assert "API key not valid" in str(caught.value) and "sk-invalid" not in str(caught.value)


def test_the_key_of_another_account_gets_no_token(conf: Any, home: Path, served: Served) -> None:
    with SimulatorProcess.start(Profile(keys=("someone@else.test",))) as strict:
        entity = served(FLASH, account="aiq", token_uri=f"{strict.url}/token")
        entity["aiq"]["api_base"] = strict.url
        conf.endpoint("wrong", entity)
        with aiq.connect(conf=str(conf.path), home=str(home)) as session, pytest.raises(aiq.AiqError) as caught:
            value(session, "SELECT ai_query('wrong', 'Hi')")
    assert "no access token was granted: invalid_grant" in str(caught.value)


def test_a_key_that_asks_elsewhere_is_not_used(
    conf: Any, home: Path, served: Served, simulator: SimulatorProcess
) -> None:
    conf.endpoint("wrong", served(FLASH, account="aiq", token_uri="https://evil.test/token"))
    simulator.reset()
    with aiq.connect(conf=str(conf.path), home=str(home)) as session, pytest.raises(aiq.AiqError, match=r"evil\.test"):
        value(session, "SELECT ai_query('wrong', 'Hi')")
    assert simulator.attempts() == []


def test_a_token_that_runs_out_in_the_middle_is_renewed(
    conf: Any, home: Path, served: Served, simulator: SimulatorProcess
) -> None:
    conf.endpoint("short", served(FLASH, account="aiq-1s"))
    with aiq.connect(conf=str(conf.path), home=str(home)) as session:
        for number in range(3):
            rows = session.sql(f"SELECT ai_query('short', 'Round {number} of ' || i) FROM range(300) t(i)").fetchall()
            assert len(rows) == 300
        failed = session.sql("SELECT count(*) FROM system.aiq.calls WHERE final AND status <> 'ok'").fetchall()
    assert failed == [(0,)]


# Streams


class Streamed:
    """Reads the answers of one gateway as they come."""

    def __init__(self, conf: Path, home: Path) -> None:
        self._gateway = open_gateway(str(conf), str(home))

    def __call__(self, prompt: Any, endpoint: str = "api", **body: Any) -> tuple[str, list[Any]]:
        """The text of an answer, and its choices. `prompt` is a user's text, or messages."""
        self._gateway.open_endpoint(endpoint)
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        request = Request(endpoint, "llm/v1/chat", {"messages": messages, **body}, Caller("ann"), "st-1")

        async def read() -> tuple[str, list[Any]]:
            chunks = [chunk async for chunk in self._gateway.stream(request)]
            return "".join(chunk.text for chunk in chunks), [part for c in chunks for part in c.data["choices"]]

        return submit(read()).result(timeout=PATIENCE_S)


@pytest.fixture
def streamed(session: Any, conf: Any, home: Path) -> Streamed:
    return Streamed(conf.path, home)


@BOTH
def test_a_stream_is_the_whole_answer_in_pieces(session: Any, streamed: Streamed, endpoint: str) -> None:
    text, choices = streamed("Grüße 🎉 aus 東京, mit vielen Wörtern", endpoint)
    assert len(choices) > 3 and choices[-1]["finish_reason"] == "stop"
    assert text == value(session, f"SELECT ai_query('{endpoint}', 'Grüße 🎉 aus 東京, mit vielen Wörtern')")


ODD = ["odd-stream", "duplicate-usage", "middle-usage", "two-finish", "wrong-type", "gzip", "cr-stream", "no-done"]


@pytest.mark.parametrize("fault", ODD)
def test_odd_streams_give_the_same_answer(streamed: Streamed, fault: str) -> None:
    prompt = "Tell me of the sea and the wind"
    assert streamed(f"{prompt} [[fault:{fault}]]")[0].split()[-2:] == streamed(prompt)[0].split()[-2:]


@pytest.mark.parametrize("fault", ["cut", "error-chunk", "malformed-chunk", "truncated", "half-close"])
def test_a_broken_stream_is_never_a_whole_answer(streamed: Streamed, fault: str) -> None:
    with pytest.raises(RequestFailed):
        streamed(f"Tell me of the sea and the wind and the sun [[fault:{fault}]]")


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.mark.parametrize("endpoint", ["api", "vertex", "three"])
def test_a_tool_is_called_and_its_result_goes_back(streamed: Streamed, endpoint: str) -> None:
    _, choices = streamed("What is the weather?", endpoint, tools=[TOOL], tool_choice="required")
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert choices[-1]["finish_reason"] == "tool_calls" and calls[0]["function"]["name"] == "weather"
    assert orjson.loads(calls[0]["function"]["arguments"])["city"]
    assert ("extra_content" in calls[0]) == (endpoint == "three")
    messages = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "rain"},
    ]
    text, _ = streamed(messages, endpoint, tools=[TOOL])
    assert "The tool says" in text and "rain" in text


def test_a_call_that_another_provider_made_is_taken(streamed: Streamed) -> None:
    call = {"id": "call_of_openai", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_of_openai", "content": '{"sky": "blue"}'},
    ]
    assert "blue" in streamed(messages, "three", tools=[TOOL])[0]
