"""The four tables, read with `deltalake` and with plain DuckDB over their files, against what the simulator counted."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pytest
from deltalake import DeltaTable

import aiq
from aiq.batch.loop import submit
from aiq.errors import PolicyError
from aiq.request import Answer, Caller, Request
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from aiq.gateway import Gateway
    from tests.conftest import ConfFolder

Rows = list[dict[str, Any]]
CALLS, USAGE = "system.aiq.calls", "system.serving.endpoint_usage"
ENTITIES, PAYLOAD = "system.serving.served_entities", "main.ai.chat_payload"
TABLE = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}


def by_deltalake(home: Path, table: str) -> Rows:
    rows: Rows = pa.table(DeltaTable(home / "tables" / Path(*table.split("."))).to_pyarrow_table()).to_pylist()
    return rows


def by_duckdb(home: Path, table: str) -> Rows:
    files = DeltaTable(home / "tables" / Path(*table.split("."))).file_uris()
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        relation = con.execute("SELECT * FROM read_parquet($files, union_by_name = true)", {"files": files})
        names = [column[0] for column in relation.description or ()]
        return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


class Billed(NamedTuple):
    """A home after a day's work, and what the provider saw of it."""

    home: Path
    stats: dict[str, Any]
    attempts: Rows


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory, make_conf: Callable[[Path, str], ConfFolder]) -> Billed:
    """Statements of every kind of end: answers, retries, a fallback, failures, refused texts."""
    folder = tmp_path_factory.mktemp("billed")
    with SimulatorProcess.start() as simulator:
        conf = make_conf(folder / "conf", simulator.url)
        conf.settings(
            retries=2,
            retries_before_fallback=1,
            prices={
                "gpt-4o-mini": {"input_per_mtok": 0.15, "output_per_mtok": 0.6},
                "gpt-4o": {"input_per_mtok": 2.5, "output_per_mtok": 10},
                "text-embedding-3-small": {"input_per_mtok": 0.02, "output_per_mtok": 0},
            },
        )
        conf.endpoint("chat", gateway={"inference_table_config": TABLE})
        conf.endpoint("emb", task="llm/v1/embeddings", model="text-embedding-3-small")
        conf.endpoint("complete", task="llm/v1/completions", model="gpt-3.5-turbo-instruct")
        both = [conf.entity("weak", "sim-500"), conf.entity("strong", "gpt-4o")]
        conf.endpoint("pair", *both, traffic={"weak": 100, "strong": 0}, gateway={"fallback_config": {"enabled": True}})
        context = {"project": "p1", "end_user": "u7"}
        home = folder / "home"
        with aiq.connect(conf=conf.path, home=home, user="ann@example.com", usage_context=context) as session:
            session.con.execute(
                "CREATE TABLE t AS SELECT i AS id, 'Row ' || (i % 40) || '.' AS body FROM range(3000) AS r(i)"
            )
            session.sql("SELECT ai_query('chat', body), ai_query('emb', body), ai_query('complete', body) FROM t")
            faults = ["", "500-once", "429-retry-after", "400", "500", "reset-once", "malformed-once", "html-502-once"]
            session.con.execute(
                "CREATE TABLE f AS SELECT unnest($1) AS mark", [[f and f"[[fault:{f}]]" for f in faults]]
            )
            session.sql("SELECT ai_query('chat', body || mark, failOnError => false) FROM t, f WHERE id < 3")
            session.sql("SELECT ai_query('pair', body) FROM t WHERE id < 10")
            session.sql(
                "SELECT ai_query('emb', CASE WHEN id = 5 THEN '' ELSE body END, failOnError => false) FROM t LIMIT 20"
            )
        return Billed(home, simulator.stats(), simulator.attempts())


@pytest.mark.parametrize("read", [by_deltalake, by_duckdb], ids=["deltalake", "duckdb"])
def test_calls_equal_what_the_provider_saw_to_the_token(billed: Billed, read: Callable[[Path, str], Rows]) -> None:
    calls = read(billed.home, CALLS)
    seen: dict[str, Counter[str]] = {}
    for row in calls:
        # What was asked for, not what the answer calls itself: an error has no answer.
        count = seen.setdefault(row["model"], Counter())
        ok = row["status"] == "ok"
        count["requests"] += 1
        count["ok"] += ok
        count["errors"] += not ok
        count["prompt_tokens"] += row["input_tokens"] or 0
        count["completion_tokens"] += row["output_tokens"] or 0
    assert {model: dict(count) for model, count in seen.items()} == billed.stats["by_model"]
    assert len(calls) == billed.stats["requests"]
    statuses = Counter(str(row["status_code"]) for row in calls)
    expected = Counter(billed.stats["by_status"])
    expected["503"] += expected.pop("0")  # the simulator sent no status where it reset the connection
    assert statuses == expected


@pytest.mark.parametrize("read", [by_deltalake, by_duckdb], ids=["deltalake", "duckdb"])
def test_usage_has_one_row_a_request_and_the_same_tokens(billed: Billed, read: Callable[[Path, str], Rows]) -> None:
    calls, usage = read(billed.home, CALLS), read(billed.home, USAGE)
    requests = {row["request_id"] for row in calls}
    assert {row["databricks_request_id"] for row in usage} == requests and len(usage) == len(requests)
    assert sum(row["input_token_count"] or 0 for row in usage) == billed.stats["prompt_tokens"]
    assert sum(row["output_token_count"] or 0 for row in usage) == billed.stats["completion_tokens"]
    assert {row["requester"] for row in usage} == {"ann@example.com"}
    assert [dict(row["usage_context"]) for row in usage] == [{"project": "p1", "end_user": "u7"}] * len(usage)
    assert {row["request_streaming"] for row in usage} == {False}


@pytest.mark.parametrize("read", [by_deltalake, by_duckdb], ids=["deltalake", "duckdb"])
def test_payloads_hold_the_request_and_the_response_of_every_final_call(
    billed: Billed, read: Callable[[Path, str], Rows]
) -> None:
    payloads = read(billed.home, PAYLOAD)
    final = {r["request_id"]: r for r in read(billed.home, CALLS) if r["final"] and r["endpoint_name"] == "chat"}
    assert {row["databricks_request_id"] for row in payloads} == final.keys() and len(payloads) == len(final)
    for row in payloads:
        call = final[row["databricks_request_id"]]
        assert "messages" in json.loads(row["request"])
        assert (row["status_code"], row["served_entity_id"]) == (call["status_code"], call["served_entity_id"])
        assert (row["sampling_fraction"], row["logging_error_codes"]) == (1.0, [])
        assert row["request_date"] == row["request_time"].date()
        response = json.loads(row["response"])
        if row["status_code"] == 200:
            assert response["usage"]["prompt_tokens"] == call["input_tokens"]
            assert response["usage"]["completion_tokens"] == call["output_tokens"]
        else:
            assert response


@pytest.mark.parametrize("read", [by_deltalake, by_duckdb], ids=["deltalake", "duckdb"])
def test_served_entities_name_what_every_call_was_served_by(billed: Billed, read: Callable[[Path, str], Rows]) -> None:
    entities = {row["served_entity_id"]: row for row in read(billed.home, ENTITIES)}
    for call in read(billed.home, CALLS):
        entity = entities[call["served_entity_id"]]
        assert (entity["endpoint_name"], entity["served_entity_name"]) == (
            call["endpoint_name"],
            call["served_entity_name"],
        )
        assert (entity["entity_name"], entity["task"]) == (call["model"], call["task"])
    assert all(row["external_model_config"] == {"provider": "openai"} for row in entities.values())


def test_both_readers_see_the_same_rows(billed: Billed) -> None:
    for table, key in [(CALLS, "request_id"), (USAGE, "databricks_request_id"), (PAYLOAD, "databricks_request_id")]:
        one, other = by_deltalake(billed.home, table), by_duckdb(billed.home, table)
        assert [list(row) for row in one] == [list(row) for row in other]
        assert sorted((row[key], row.get("attempt", 0)) for row in one) == sorted(
            (row[key], row.get("attempt", 0)) for row in other
        )


def test_cost_is_price_times_tokens(billed: Billed) -> None:
    prices = {"gpt-4o-mini": (0.15, 0.6), "gpt-4o": (2.5, 10.0), "text-embedding-3-small": (0.02, 0.0)}
    priced = [row for row in by_deltalake(billed.home, CALLS) if row["status"] == "ok" and row["model"] in prices]
    assert priced
    for row in priced:
        per_input, per_output = prices[row["model"]]
        expected = (row["input_tokens"] * per_input + row["output_tokens"] * per_output) / 1e6
        assert row["cost_usd"] == pytest.approx(expected) and row["price_version"] == "conf/aiq.yml"


def test_a_fallback_says_which_entity_it_stands_in_for(billed: Billed) -> None:
    rows = [row for row in by_deltalake(billed.home, CALLS) if row["endpoint_name"] == "pair"]
    attempts: dict[str, list[Any]] = {}
    for row in sorted(rows, key=lambda row: row["attempt"]):
        attempts.setdefault(row["request_id"], []).append(
            (row["served_entity_name"], row["fallback_from"], row["final"])
        )
    assert len(attempts) == 10
    for (
        *failed,
        last,
    ) in attempts.values():  # fewer and fewer fail: an entity that keeps failing is left out for a while
        assert last == ("strong", "weak", True) and len(failed) <= 2 and set(failed) <= {("weak", None, False)}


def test_every_request_has_one_final_attempt_and_numbers_from_one(billed: Billed) -> None:
    attempts: dict[str, list[tuple[int, bool]]] = {}
    for row in by_deltalake(billed.home, CALLS):
        attempts.setdefault(row["request_id"], []).append((row["attempt"], row["final"]))
    for found in attempts.values():
        numbers, finals = zip(*sorted(found), strict=True)
        assert numbers == tuple(range(1, len(found) + 1)) and finals == (False,) * (len(found) - 1) + (True,)


def test_the_payload_table_has_the_columns_of_databricks_in_their_order(billed: Billed) -> None:
    table = DeltaTable(billed.home / "tables" / "main" / "ai" / "chat_payload")
    assert [(field.name, str(field.type)) for field in pa.schema(table.schema().to_arrow())] == [
        ("databricks_request_id", "string"),
        ("request_date", "date32[day]"),
        ("client_request_id", "string"),
        ("request_time", "timestamp[us, tz=UTC]"),
        ("status_code", "int32"),
        ("sampling_fraction", "double"),
        ("execution_duration_ms", "int64"),
        ("request", "string"),
        ("response", "string"),
        ("logging_error_codes", "list<element: string>"),
        ("served_entity_id", "string"),
        ("requester", "string"),
    ]


def test_usage_context_is_not_sent_to_the_provider(billed: Billed) -> None:
    sent = {attempt["body_hash"] for attempt in billed.attempts if attempt["model"] == "gpt-4o-mini"}
    for row in by_deltalake(billed.home, PAYLOAD):
        body = orjson.dumps({"model": "gpt-4o-mini", **json.loads(row["request"])})
        assert blake2b(body, digest_size=8).hexdigest() in sent
        assert "usage_context" not in row["request"] and "end_user" not in row["request"]


def test_no_table_holds_a_credential(billed: Billed) -> None:
    for file in (billed.home / "tables").rglob("*.parquet"):
        assert b"sk-test" not in file.read_bytes()


def ask(conf: ConfFolder, home: Path, text: str, **identity: Any) -> Any:
    with aiq.connect(conf=conf.path, home=home, **identity) as session:
        result = session.sql(text)
        return None if result is None else result.fetchall()


def test_a_payload_above_one_mebibyte_is_null_with_its_code(conf: ConfFolder, home: Path) -> None:
    ask(conf, home, "SELECT ai_query('chat', repeat('word ', 230000)) AS r")
    (row,) = by_deltalake(home, PAYLOAD)
    assert row["request"] is None and row["logging_error_codes"] == ["MAX_REQUEST_SIZE_EXCEEDED"]
    assert json.loads(row["response"])["usage"]["prompt_tokens"] > 250_000


def test_payloads_are_kept_only_where_the_inference_table_is_enabled(conf: ConfFolder, home: Path) -> None:
    conf.endpoint("chat", gateway={"inference_table_config": {**TABLE, "enabled": False}})
    ask(conf, home, "SELECT ai_query('chat', 'Off.') AS r")
    assert not (home / "tables" / "main").exists()
    conf.endpoint("chat", gateway={"inference_table_config": TABLE})
    ask(conf, home, "SELECT ai_query('chat', 'On.') AS r")
    assert [json.loads(row["request"])["messages"][0]["content"] for row in by_deltalake(home, PAYLOAD)] == ["On."]


def test_usage_is_kept_only_where_tracking_is_enabled(conf: ConfFolder, home: Path) -> None:
    conf.endpoint("chat", gateway={"usage_tracking_config": {"enabled": False}})
    ask(conf, home, "SELECT ai_query('chat', 'Off.') AS r")
    assert (
        len(by_deltalake(home, CALLS)) == 1 and not (home / "tables" / "system" / "serving" / "endpoint_usage").exists()
    )


def test_a_change_of_configuration_is_a_row_of_served_entities(conf: ConfFolder, home: Path) -> None:
    for model in ("gpt-4o-mini", "gpt-4o-mini", "gpt-4o"):
        conf.endpoint("chat", model=model)
        ask(conf, home, "SELECT ai_query('chat', 'Hi.') AS r")
    rows = [row for row in by_deltalake(home, ENTITIES) if row["endpoint_name"] == "chat"]
    versions = sorted((row["endpoint_config_version"], row["entity_name"]) for row in rows)
    assert versions == [(1, "gpt-4o-mini"), (2, "gpt-4o")]


def test_a_refused_request_is_a_row_without_a_call(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> None:
    conf.endpoint("chat", permissions=[{"level": "CAN_QUERY", "user_name": "ann@example.com"}])
    with pytest.raises(PolicyError):
        ask(conf, home, "SELECT ai_query('chat', 'Hi.') AS r", user="bob@example.com")
    (row,) = by_deltalake(home, CALLS)
    assert (row["status"], row["status_code"], row["attempt"], row["requester"]) == (
        "refused",
        403,
        0,
        "bob@example.com",
    )
    assert simulator.stats()["requests"] == 0


def test_each_of_many_refusals_in_a_row_is_counted(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> None:
    many, limit = 500, {"calls": 1, "key": "endpoint", "renewal_period": "minute"}
    conf.endpoint("chat", gateway={"rate_limits": [limit]})
    body = {"messages": [{"role": "user", "content": "Is 1 odd?"}]}
    request = Request("chat", "llm/v1/chat", body, Caller("ann"), "st", interactive=True)

    async def all_of_them(gateway: Gateway) -> list[BaseException | Answer]:
        return [(await asyncio.gather(gateway.answer(request), return_exceptions=True))[0] for _ in range(many)]

    with aiq.connect(conf=conf.path, home=home) as session:
        session.gateway.open_endpoint("chat")
        ended = submit(all_of_them(session.gateway)).result(timeout=60)
    refused = sum(isinstance(end, PolicyError) for end in ended)
    answered = sum(isinstance(end, Answer) for end in ended)  # a second one where a minute ends meanwhile
    assert refused + answered == many and answered == simulator.stats()["requests"] <= 2
    counted = Counter((row["status"], row["attempt"], row["status_code"]) for row in by_deltalake(home, CALLS))
    assert counted == {("ok", 1, 200): answered, ("refused", 0, 429): refused}


def test_tokens_are_estimated_where_the_provider_sends_none(conf: ConfFolder, home: Path) -> None:
    ((answer,),) = ask(conf, home, "SELECT ai_query('chat', 'Twelve chars [[fault:no-usage]]') AS r")
    (row,) = by_deltalake(home, CALLS)
    assert row["tokens_estimated"] is True
    prompt = "Twelve chars [[fault:no-usage]]"
    assert (row["input_tokens"], row["output_tokens"]) == ((len(prompt) + 1) // 4, (len(answer) + 1) // 4)
