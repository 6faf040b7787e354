"""DuckDB's own spelling of `ai_query`, and Databricks' spelling of a part or of the whole statement on DuckDB."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import aiq
from aiq.errors import StatementError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

Ledger = Callable[..., list[dict[str, Any]]]


def body_of(ledger_rows: Ledger) -> dict[str, Any]:
    (row,) = ledger_rows("main.ai.chat_payload")
    body: dict[str, Any] = json.loads(row["request"])
    return body


@pytest.mark.parametrize(
    "parameters",
    [
        "{'temperature': 0.5, 'stop': ['#']}",
        "struct_pack(temperature := 0.5, stop := ['#'])",
        "named_struct('temperature', 0.5, 'stop', array('#'))",
        "named_struct('temperature', 0.5D, 'stop', ['#'])",
        "NAMED_STRUCT('temperature', CAST(0.5 AS DOUBLE), 'stop', ARRAY('#'))",
    ],
)
def test_a_struct_in_either_spelling_sends_the_same(engine: Engine, ledger_rows: Ledger, parameters: str) -> None:
    engine.sql(f"SELECT ai_query('chat', 'Hi.', modelParameters => {parameters}) AS r")
    body = body_of(ledger_rows)
    assert (body["temperature"], body["stop"]) == (0.5, ["#"])


@pytest.mark.parametrize("arrow", ["=>", ":="])
def test_both_arrows_name_an_argument(engine: Engine, arrow: str) -> None:
    assert engine.sql(f"SELECT ai_query('chat', 'Hi.', failOnError {arrow} false).errorMessage AS r") == [(None,)]


@pytest.mark.parametrize(
    "messages",
    [
        "{'messages': [{'role': 'user', 'content': 'Hi.'}]}",
        "named_struct('messages', array(named_struct('role', 'user', 'content', 'Hi.')))",
        "named_struct('messages', array(map('role', 'user', 'content', 'Hi.')))",
        "{'messages': [MAP {'role': 'user', 'content': 'Hi.'}]}",
    ],
)
def test_messages_in_either_spelling_send_the_same(engine: Engine, ledger_rows: Ledger, messages: str) -> None:
    engine.sql(f"SELECT ai_query('chat', {messages}) AS r")
    assert body_of(ledger_rows)["messages"] == [{"role": "user", "content": "Hi."}]


def test_backticks_and_double_quotes_name_columns(session: aiq.Session) -> None:
    session.sql('CREATE TABLE "my table" ("my body" VARCHAR, "from" VARCHAR)')
    session.sql("""INSERT INTO "my table" VALUES ('Hi.', 'Ann')""")
    double = session.sql("""SELECT ai_query('chat', "my body" || "from") AS "my r" FROM "my table" """)
    ticks = session.sql("SELECT ai_query('chat', `my body` || `from`) AS `my r` FROM `my table`")
    assert double is not None and ticks is not None
    assert double.columns == ticks.columns == ["my r"] and double.fetchall() == ticks.fetchall()


def test_duckdb_functions_in_an_argument_stay_as_they_are(engine: Engine) -> None:
    engine.load("t", body=["a"])
    ((r,),) = engine.sql("SELECT ai_query('chat', printf('%s-%d', body, 7) || list_sum([1, 2])::VARCHAR) AS r FROM t")
    assert r.endswith("a-73")


def test_duckdb_syntax_around_a_call_stays_as_it_is(engine: Engine) -> None:
    engine.load("t", body=["One.", "Two."])
    rows = engine.sql(
        "FROM t SELECT * EXCLUDE (id), ai_query('chat', body) AS r QUALIFY row_number() OVER (ORDER BY id) = 1"
    )
    assert len(rows) == 1 and rows[0][1].endswith("One.")
    assert len(engine.sql("SELECT COLUMNS('bo.*'), ai_query('chat', body) AS r FROM t USING SAMPLE 2 ROWS")) == 2


def test_a_whole_databricks_statement(session: aiq.Session, engine: Engine) -> None:
    engine.load("reviews", body=["Nice.", "Bad. [[fault:400]]"])
    result = session.sql(
        """SELECT `id`, r.result, r.errorMessage FROM (
             SELECT id, ai_query('chat', concat('Extract: ', body),
               responseFormat  => '{"type":"json_schema","json_schema":{"name":"o","strict":true,"schema":{
                 "type":"object",
                 "properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}}',
               modelParameters => named_struct('temperature', 0.0D, 'max_tokens', 500),
               failOnError     => false) AS r FROM reviews) ORDER BY id""",
        dialect="databricks",
    )
    assert result is not None
    good, bad = result.fetchall()
    assert list(json.loads(good[1])) == ["a"] and good[2] is None
    assert bad[1] is None and "code 400" in bad[2]


def test_from_json_with_a_ddl_schema(session: aiq.Session) -> None:
    result = session.sql(
        "SELECT from_json(ai_query('chat', 'Hi.', responseFormat => 'STRUCT<x:STRUCT<a:STRING,b:DOUBLE>>'), "
        "'a STRING, b DOUBLE') AS j",
        dialect="databricks",
    )
    assert result is not None
    ((value,),) = result.fetchall()
    assert isinstance(value["a"], str) and isinstance(value["b"], float)


def test_a_custom_model_in_databricks_words(session: aiq.Session, engine: Engine) -> None:
    engine.load("mail", body=["Buy"], subj=["Now"])
    result = session.sql(
        "SELECT ai_query('model', named_struct('text', body, 'subject', subj), returnType => "
        "'STRUCT<text: STRING, subject: STRING>') AS r FROM mail",
        dialect="databricks",
    )
    assert result is not None and result.fetchall() == [({"text": "Buy", "subject": "Now"},)]


def test_named_endpoint_and_request_in_databricks_words(session: aiq.Session, engine: Engine) -> None:
    engine.load("features", a=[1], b=[2])
    result = session.sql(
        "SELECT ai_query(endpoint => 'model', request => struct(a, b), "
        "returnType => 'STRUCT<a: INT, b: INT>') AS r FROM features",
        dialect="databricks",
    )
    assert result is not None and result.fetchall() == [({"a": 1, "b": 2},)]


def test_databricks_create_table_as(session: aiq.Session, engine: Engine) -> None:
    engine.load("t", body=["One."])
    session.sql("CREATE OR REPLACE TABLE e AS SELECT `id`, ai_query('chat', body) AS r FROM t", dialect="databricks")
    assert len(engine.sql("SELECT r FROM e")) == 1


def test_a_session_may_speak_databricks_by_default(conf: Any, home: Any) -> None:
    with aiq.connect(conf=conf.path, home=home, dialect="databricks") as session:
        result = session.sql("SELECT ai_query('chat', concat_ws(' ', array('Hi', 'there.'))) AS r")
        assert result is not None and result.fetchall()[0][0].endswith("Hi there.")


def test_an_unreadable_databricks_statement_is_told(session: aiq.Session) -> None:
    with pytest.raises(StatementError, match="Databricks SQL"):
        session.sql("SELECT FROM WHERE (", dialect="databricks")


def test_an_unknown_dialect_is_told(session: aiq.Session) -> None:
    with pytest.raises(StatementError, match="'duckdb' or 'databricks', not 'oracle'"):
        session.sql("SELECT 1", dialect="oracle")


@pytest.mark.parametrize(
    "text",
    [
        "SHOW TABLES",
        "VACUUM t",
        "CALL pragma_version()",
        "CREATE TABLE made (a INT) USING DELTA TBLPROPERTIES ('a' = 'b')",
        "SELECT /*+ BROADCAST(t) */ ai_query('chat', 'x') AS `a b` FROM t",
        "SELECT get_json_object('{}', '$.a') AS `a b`",
    ],
)
def test_a_translation_writes_to_nobodys_log(engine: Engine, caplog: pytest.LogCaptureFixture, text: str) -> None:
    engine.sql("CREATE TABLE t AS SELECT 1 AS i")
    engine.session.sql(text, dialect="databricks")
    assert caplog.records == []


@pytest.mark.parametrize("call", ["rand(1)", "levenshtein('a', 'b', 2)", "hash(1)", "parse_url('a', 'HOST')"])
def test_what_a_translation_would_lose_is_told_before_any_call(engine: Engine, call: str) -> None:
    with pytest.raises(StatementError, match="cannot be translated"):
        engine.session.sql(f"SELECT {call} AS a, ai_query('chat', 'x') AS b", dialect="databricks")
    assert engine.requests() == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("xyz(1)", "xyz has no exact counterpart"),
        ("CAST(price AS BOOLEAN) + 1", "operator \\+ of these types has no exact counterpart"),
        ("price / 3L", "operator / of these types has no exact counterpart"),
    ],
)
def test_what_has_another_value_on_spark_is_refused_in_the_users_words(engine: Engine, call: str, words: str) -> None:
    engine.sql("CREATE TABLE priced AS SELECT 1.50 AS price")
    with pytest.raises((StatementError, duckdb.BinderException), match=words) as refused:
        engine.session.sql(f"SELECT ai_query('chat', 'costs ' || ({call})) AS a FROM priced", dialect="databricks")
    assert "aiq_spark" not in str(refused.value) and engine.requests() == 0


@pytest.mark.parametrize(
    ("sql", "prompts"),
    [
        ("SELECT {} FROM priced GROUP BY k HAVING CAST(max(price) AS DOUBLE) > 2", ["r 2.5 2024-02-29 NULL"]),
        (
            "SELECT {} FROM priced GROUP BY k ORDER BY CAST(sum(price) AS DOUBLE) DESC LIMIT 1",
            ["r 2.5 2024-02-29 NULL"],
        ),
        ("SELECT {} FROM priced GROUP BY k", ["r 1.5 2024-03-01 NULL", "r 2.5 2024-02-29 NULL"]),
    ],
)
def test_a_request_over_an_aggregate_has_its_text(engine: Engine, sql: str, prompts: list[str]) -> None:
    engine.sql(
        "CREATE TABLE priced AS SELECT * FROM "
        "(VALUES (1, 1.50, DATE '2024-02-01'), (2, 2.50, DATE '2024-01-31')) AS v(k, price, d)"
    )
    text = (
        "concat_ws(' ', 'r', CAST(max(price) AS DOUBLE), max(d) + INTERVAL 1 MONTH, "
        "coalesce(CAST(TRY_CAST(max(CAST(d AS STRING)) AS INT) AS STRING), 'NULL'))"
    )
    rows = engine.session.sql(sql.format(f"{text} AS p, ai_query('chat', {text}) AS r"), dialect="databricks")
    assert rows is not None and sorted(row[0] for row in rows.fetchall()) == prompts
    assert engine.requests() == len(prompts)


def test_a_prompt_has_the_text_that_spark_gives_its_values(engine: Engine) -> None:
    engine.sql("CREATE TABLE timed AS SELECT DATE '2024-01-31' AS day, 1e10 AS size, 3 AS n")
    result = engine.session.sql(
        "SELECT ai_query('chat', concat('on ', day + INTERVAL 1 MONTH, ' size ', size, ' n ', n)) AS a FROM timed",
        dialect="databricks",
    )
    assert result is not None and result.fetchall()[0][0].endswith("on 2024-02-29 size 1.0E10 n 3")


def test_a_prompt_has_the_digits_that_spark_computes(engine: Engine) -> None:
    engine.sql("CREATE TABLE priced AS SELECT unnest([1.50, -0.25]) AS price")
    result = engine.session.sql(
        "SELECT ai_query('chat', 'of ' || price / 3 || ' and ' || avg(price) OVER ()) AS a FROM priced ORDER BY price",
        dialect="databricks",
    )
    assert result is not None
    assert [answer.partition("of ")[2] for (answer,) in result.fetchall()] == [
        "-0.083333 and 0.625000",
        "0.500000 and 0.625000",
    ]


def test_a_parameter_of_a_translated_expression_is_one_parameter(engine: Engine) -> None:
    result = engine.session.sql("SELECT ? / 2 + ? AS a, left(?, 2) AS b", [3, 0.25, "xyz"], dialect="databricks")
    assert result is not None and result.fetchall() == [(1.75, "xy")]


def test_an_answer_in_a_chain_of_operators_is_asked_for_once(engine: Engine) -> None:
    engine.sql("CREATE TABLE spoken AS SELECT 'a' || i AS word, i FROM range(3) r(i)")
    result = engine.session.sql(
        "SELECT length(ai_query('chat', word)) * 2 / 4 + i - i - 0.5 AS half FROM spoken WHERE i + i + i >= 0",
        dialect="databricks",
    )
    assert result is not None and all(half > 0 for (half,) in result.fetchall()) and engine.requests() == 3
