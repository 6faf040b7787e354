"""Texts as Databricks notebooks have them, on both engines: cells, widgets, catalogs, volumes, session variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import FunctionError, StatementError
from aiq.simulator.process import SimulatorProcess
from tests.conformance.conftest import simulated_answer

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Rows = list[tuple[Any, ...]]
Ask = Callable[..., Rows]
LETTERS = "SELECT * FROM (VALUES (1, 'hello'), (2, 'order 7'), (3, NULL)) AS v(id, body)"
WIDGETS = {"catalog": "main", "schema": "default", "endpoint": "chat", "most": 2, "table": "main.default.letters"}


@pytest.fixture(params=["duckdb", "spark"])
def ask(
    request: pytest.FixtureRequest, conf: ConfFolder, home: Path, tmp_path: Path, simulator: SimulatorProcess
) -> Iterator[Ask]:
    """Runs a text as its author wrote it, over the table `letters` (id, body): three rows."""
    volume = tmp_path / "raw"
    (volume / "in").mkdir(parents=True)
    (volume / "note.txt").write_bytes(b"first\r\nsecond\n")
    (volume / "in" / "more.txt").write_text("third")
    (volume / "people.csv").write_text('name,said\nAda,"a, b"\nBob,c\n')
    (volume / "people.json").write_text('{"name": "Ada", "age": 3}\n{"name": "Bob", "age": 4}\n')
    conf.settings(
        catalogs={"main": None},
        volumes={"/Volumes/main/mail/raw": str(volume)},
        endpoints={"model": {"return_type": "STRING", "model_server": {"url": f"{simulator.url}/invocations"}}},
    )
    conf.endpoint("system.ai.small-one")
    who: dict[str, Any] = {"conf": conf.path, "home": home, "user": "ann@example.com", "variables": WIDGETS}
    if request.param == "spark":
        spark = request.getfixturevalue("spark")
        if not spark.catalog.tableExists("letters"):  # once for all tests: making it takes longer than most of them
            spark.sql(f"CREATE TABLE letters USING PARQUET AS {LETTERS}")
        with aiq.connect(spark, **who) as on_spark:
            yield lambda text, params=None: [tuple(row) for row in on_spark.sql(text, params).collect()]
        spark.sql("USE spark_catalog.default")
        spark.sql("DROP SCHEMA IF EXISTS work CASCADE")
        for name in ("model", "most", "who", "k"):
            spark.sql(f"DROP TEMPORARY VARIABLE IF EXISTS {name}")
        return
    with aiq.connect(dialect="databricks", **who) as session:
        session.con.execute(f"CREATE TABLE letters AS {LETTERS}")

        def on_duckdb(text: str, params: Any = None) -> Rows:
            found = session.sql(text, params)
            return [] if found is None else found.fetchall()

        yield on_duckdb


ANSWERS = [(1, simulated_answer("hello")), (2, simulated_answer("order 7")), (3, None)]
PLAIN = "SELECT id, ai_query('chat', body) AS a FROM letters ORDER BY id"

SAME = {
    "byte order mark": "\ufeff" + PLAIN,
    "no-break and zero-width spaces": PLAIN.replace(" ", "\u00a0").replace(",", ",\u200b"),
    "Windows lines and a comment at the end": PLAIN.replace("FROM", "-- it's the mail\r\nFROM") + " -- done\r\n;\r\n",
    "old Mac lines": PLAIN.replace("FROM", "-- mail\rFROM"),
    "magic": "%sql\n" + PLAIN,
    "magic in one line": "%sql " + PLAIN + ";",
    "SQL notebook": "-- Databricks notebook source\n-- MAGIC %md\n-- MAGIC ## It's mail; all of it\n\n"
    f"-- COMMAND ----------\n\n-- DBTITLE 1,Ask\n{PLAIN}\n",
    "cell of a Python notebook": "# MAGIC %sql\n# MAGIC " + PLAIN.replace("FROM", "\n# MAGIC FROM"),
    "comments in the call": "/* mail */ -- and more\nSELECT id, AI_QUERY( -- which\n 'chat' /* one */, -- what, (\n"
    " body -- last\n) AS a FROM letters ORDER BY id /* ; */ ;;",
    "widgets as text": "SELECT id, ai_query('${endpoint}', body) AS a FROM ${catalog}.${schema}.letters ORDER BY id",
    "widgets as templates": "SELECT id, ai_query({{ endpoint }}, body) a\n"
    "FROM {{catalog}}.{{schema}}.letters ORDER BY id",
    "widgets as parameters": "SELECT id, ai_query(:endpoint, body) AS a FROM IDENTIFIER(:table) ORDER BY id",
    "getArgument": "SELECT id, ai_query(getArgument('endpoint'), body) AS a FROM letters ORDER BY id",
    "IDENTIFIER of parts": "SELECT id, ai_query('chat', body) a\n"
    "FROM IDENTIFIER(:catalog || '.default.' || 'letters') ORDER BY 1",
    "catalog of each column": "SELECT main.default.letters.id, ai_query('chat', main.default.letters.body) AS a\n"
    "FROM main.default.letters ORDER BY 1",
    "catalog after a comma": "SELECT l.id, ai_query('chat', l.body) AS a\n"
    "FROM (SELECT 1) o, `main`.`default`.letters l ORDER BY 1",
    "request first": 'SELECT id, ai_query(request => body, endpoint => "chat") AS a FROM letters ORDER BY id',
    "mixed arguments": "SELECT id, Ai_Query('chat', body, failOnError => true,\n"
    "modelParameters => named_struct('temperature', 0.0D)) AS a FROM letters ORDER BY id",
    "response": "SELECT id, r.response\n"
    "FROM (SELECT id, ai_query('chat', body, failOnError => false) AS r FROM letters) ORDER BY id",
    "response of a call": "SELECT id, ai_query('chat', body, failOnError => FALSE).response AS a\n"
    "FROM letters ORDER BY id",
    "response of an alias of that name": "WITH asked AS (SELECT id,\n"
    "ai_query('chat', body, failOnError => false) response FROM letters) SELECT id, asked.response.response AS a\n"
    "FROM asked WHERE response.error IS NULL ORDER BY id",
    "result, with a column that is called error": "SELECT id, r.result AS a, error FROM (SELECT id, 'x' AS error,\n"
    "ai_query('chat', body, failOnError => false) AS r FROM letters) ORDER BY id",
    "model service": "SELECT id, ai_query('system.ai.small-one', body) AS a FROM letters ORDER BY id",
}


ON_SPARK = ("SQL notebook", "widgets as text", "IDENTIFIER of parts", "response of an alias of that name")
"""Those of the texts that run on Spark, too: what reads them is the same."""
EACH = [*(("duckdb", name) for name in SAME), *(("spark", name) for name in ON_SPARK)]


@pytest.mark.parametrize(
    ("ask", "text"), [(on, SAME[name]) for on, name in EACH], ids=[" ".join(each) for each in EACH], indirect=["ask"]
)
def test_what_surrounds_a_statement_does_not_change_it(ask: Ask, text: str) -> None:
    found = [row[:2] for row in ask(text)]
    if "system.ai" in text:
        assert [row[1] is None for row in found] == [False, False, True]
    elif "temperature" in text:  # asked with other parameters
        assert [row[0] for row in found] == [1, 2, 3] and found[2][1] is None
    else:
        assert found == ANSWERS


def test_errors_have_all_their_names(ask: Ask) -> None:
    select = (
        "SELECT r.error, r.errorStatus, r.errorMessage, r.error IS NULL AS fine FROM (SELECT ai_query('chat', body, "
    )
    assert ask(f"{select} failOnError => false) AS r FROM letters WHERE id = 1)") == [(None, None, None, True)]


def test_a_field_keeps_the_name_that_was_written(ask: Ask) -> None:
    text = (
        "WITH a AS (SELECT ai_query('chat', body, failOnError => false) AS r FROM letters WHERE id = 1),\n"
        "b AS (SELECT r.response, a.r.error FROM a) SELECT response, error FROM b"
    )
    assert ask(text) == [(ANSWERS[0][1], None)]


def test_quotes_and_dollars_of_a_prompt_stay(ask: Ask) -> None:
    prompt = 'it\'s "due" for {{name}}: ${price} \\ ${a b}'
    text = "SELECT ai_query('chat', 'it''s \"due\" for {{name}}: ${price} \\\\ ${a b}') AS a"
    assert ask(text) == [(simulated_answer(prompt),)]
    assert ask('SELECT ai_query(\'chat\', "say ""hi""") AS a') == [(simulated_answer('say "hi"'),)]


def test_variables_of_a_session_are_seen_by_later_statements(ask: Ask) -> None:
    ask("DECLARE OR REPLACE VARIABLE model STRING DEFAULT 'chat'")
    ask("DECLARE k INT = 1")
    ask("SET VAR k = k + 1")
    assert ask("SELECT ai_query(model, body) AS a, k FROM letters WHERE id = k") == [(ANSWERS[1][1], 2)]
    text = "SELECT ai_query(session.model, concat(session.k, ' ', body)) AS a FROM letters WHERE id = 1"
    assert ask(text) == [(simulated_answer("2 hello"),)]
    ask("SET VAR k = CAST(nullif(trim(:text), '') AS INT)", {"text": " 2 "})
    ask("DECLARE who STRING")
    assert ask("SELECT who") == [(None,)]
    ask("SET VAR (k, who) = (SELECT id, body FROM letters WHERE id = 1)")
    assert ask("SELECT k, who AS w") == [(1, "hello")]
    ask("SET VARIABLE who = (SELECT ai_query('chat', body) FROM letters WHERE id = 2)")
    assert ask("SELECT concat(who, '!') AS w") == [(f"{ANSWERS[1][1]}!",)]
    ask("DROP TEMPORARY VARIABLE k")
    with pytest.raises(Exception, match="k"):
        ask("SET VAR k = 3")


def test_a_statement_in_a_text_runs_as_if_it_stood_there(ask: Ask, simulator: SimulatorProcess) -> None:
    ask("DECLARE OR REPLACE VARIABLE model STRING DEFAULT 'chat'")
    ask("DECLARE OR REPLACE VARIABLE who STRING")
    ask("SET VAR who = 'SELECT ai_query(:m, concat(:w, body)) AS a FROM letters WHERE id <= :n ORDER BY id'")
    named = [(simulated_answer(prompt),) for prompt in ("It's hello", "It's order 7")]
    assert ask("EXECUTE IMMEDIATE who USING (session.model AS m, 'It''s ' AS w, 1 + 1 AS n)") == named
    assert ask("-- run\nEXECUTE IMMEDIATE who USING model m, :w w, 2 AS n", {"w": "It's "}) == named
    counted = "SELECT count(*), max(ai_query(?, body)) FROM ${table} WHERE id = ?"
    assert ask(f'EXECUTE IMMEDIATE "{counted}" || " OR false" USING \'chat\', 1') == [(1, ANSWERS[0][1])]
    ask("DECLARE OR REPLACE VARIABLE k INT")
    ask("EXECUTE IMMEDIATE 'SELECT id, ai_query(''chat'', body) FROM letters WHERE id = ?' INTO k, who USING 2")
    assert ask("SELECT k, who AS w") == [ANSWERS[1]]
    ask("EXECUTE IMMEDIATE 'SELECT id, body FROM letters WHERE id > 9' INTO k, who")
    assert ask("SELECT k, who AS w") == [(None, None)]
    simulator.reset()
    with pytest.raises(Exception, match=r"one row|more than one row"):
        ask("EXECUTE IMMEDIATE 'SELECT id, body FROM letters' INTO k, who")
    assert simulator.stats()["requests"] == 0


@pytest.mark.parametrize("ask", ["spark"], indirect=True)
def test_a_script_runs_on_spark_with_calls_that_wait(ask: Ask, simulator: SimulatorProcess) -> None:
    script = """-- each once
        BEGIN
          DECLARE i INT DEFAULT 1;
          DECLARE said STRING DEFAULT '';
          WHILE i <= :most DO
            SET said = concat(said, (SELECT max(ai_query('chat', body)) FROM letters WHERE id = i));
            SET i = i + 1;
          END WHILE;
          SELECT said;
        END"""
    assert ask(script) == [(f"{ANSWERS[0][1]}{ANSWERS[1][1]}",)]
    assert ask('EXECUTE IMMEDIATE \'BEGIN SELECT ai_query("chat", "hello") AS a; END\'') == [(ANSWERS[0][1],)]
    asked = simulator.stats()["requests"]
    for statement in ("SELECT ai_query('nowhere', 'x')", "DELETE FROM letters WHERE ai_query('chat', body) = 'x'"):
        with pytest.raises(StatementError, match=r"nowhere|session\.sql"):
            ask(f"BEGIN {statement}; END")
    ask("SET aiq_max_cost_usd = 1")
    with pytest.raises(StatementError, match="one by one"):
        ask("BEGIN SELECT ai_query('chat', 'x'); END")
    assert simulator.stats()["requests"] == asked


@pytest.mark.parametrize("ask", ["spark"], indirect=True)
def test_what_spark_has_no_words_for_is_said_in_ours(ask: Ask, simulator: SimulatorProcess) -> None:
    for text, words in (
        ("SELECT * FROM ai_query('chat', 'x')", "in SELECT, not in FROM"),
        ("SELECT ai_query('chat', body) FROM letters\nQUALIFY row_number() OVER (ORDER BY id) = 1", "no QUALIFY"),
    ):
        with pytest.raises(StatementError, match=words):
            ask(text)
    assert simulator.stats()["requests"] == 0


@pytest.mark.parametrize("ask", ["duckdb"], indirect=True)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT uuid() AS u, upper(u) AS v FROM letters", "compute that in a subquery first"),
        ("SELECT corr(id, id) FROM letters GROUP BY round(body)", "corr has no exact counterpart"),
        ("SELECT round(body) FROM letters", "round has no exact counterpart"),
    ],
)
def test_what_is_refused_when_it_is_bound_is_said_without_our_names(ask: Ask, text: str, words: str) -> None:
    with pytest.raises(Exception, match=words) as refused:
        ask(text)
    assert not any(name in str(refused.value) for name in ("aiq", "Candidate", "Macro"))


def test_later_columns_read_an_answer_by_its_name_which_is_asked_once(ask: Ask, simulator: SimulatorProcess) -> None:
    rows = ask(
        "SELECT id, 'Echo ' || body AS prompt, ai_query('chat', prompt) AS answer, upper(answer) AS loud, "
        "concat(length(loud), '') AS n FROM letters WHERE id < 3 ORDER BY length(answer) * -1, id"
    )
    answers = {i: simulated_answer(f"Echo {body}") for i, body in ((1, "hello"), (2, "order 7"))}
    expected = [
        (i, f"Echo {body}", answers[i], answers[i].upper(), str(len(answers[i])))
        for i, body in ((1, "hello"), (2, "order 7"))
    ]
    assert rows == sorted(expected, key=lambda row: (-len(row[2]), row[0]))
    assert len(simulator.attempts()) == 2


def test_schemas_and_use(ask: Ask) -> None:
    ask("CREATE DATABASE IF NOT EXISTS ${catalog}.work")
    ask("CREATE TABLE main.work.asked USING DELTA AS SELECT id, ai_query('chat', body) AS a FROM main.default.letters")
    ask("USE CATALOG main")
    ask("USE SCHEMA work")
    assert ask("SELECT id, a FROM asked ORDER BY id") == ANSWERS
    ask("USE main.default")
    assert ask("SELECT count(*) FROM letters JOIN main.work.asked USING (id)") == [(3,)]


def test_files_of_a_volume(ask: Ask) -> None:
    raw = "/Volumes/main/mail/raw"
    binary = (
        f"SELECT path, length FROM read_files('{raw}', format => 'binaryFile', fileNamePattern => '*.txt') ORDER BY 1"
    )
    assert ask(binary) == [(f"dbfs:{raw}/in/more.txt", 5), (f"dbfs:{raw}/note.txt", 14)]
    lines = "read_files('/Volumes/${catalog}/mail/raw/*.txt', format => 'text')"
    assert sorted(ask(f"SELECT value, ai_query('chat', value) AS a FROM {lines}")) == [
        (word, simulated_answer(word)) for word in ("first", "second")
    ]
    people = f"SELECT * FROM read_files('{raw}/people.csv', format => 'csv', header => true) ORDER BY name"
    assert ask(people) == [("Ada", "a, b", None), ("Bob", "c", None)]
    assert ask(f"SELECT _c1 FROM csv.`{raw}/people.csv` ORDER BY 1") == [("a, b",), ("c",), ("said",)]
    typed = f"SELECT age + 1 FROM read_files('{raw}/people.json', schema => 'name STRING, age INT') ORDER BY 1"
    assert ask(typed) == [(4,), (5,)]


def test_what_is_known_of_files_is_read_beside_their_rows(ask: Ask) -> None:
    raw = "/Volumes/main/mail/raw"
    known = "_metadata.file_path, _metadata.file_name AS n, _metadata.file_size AS s"
    people = (
        f"SELECT *, {known} FROM read_files('{raw}/people.csv', format => 'csv', header => true) WHERE name = 'Bob'"
    )
    assert ask(people) == [("Bob", "c", None, f"dbfs:{raw}/people.csv", "people.csv", 27)]
    lines = f"read_files('{raw}', format => 'text', fileNamePattern => '*.txt') AS f"
    asked = "ai_query('chat', concat(_metadata.file_name, ': ', value)) AS a"
    named = [(simulated_answer(words),) for words in ("more.txt: third", "note.txt: first", "note.txt: second")]
    assert sorted(ask(f"SELECT f.* EXCEPT (value), {asked} FROM {lines}")) == sorted(named)
    assert ask(f"SELECT count(*) FROM (SELECT DISTINCT *, _metadata.file_name FROM {lines})") == [(3,)]
    found = f"SELECT length, _metadata.file_modification_time = modificationTime FROM binaryFile.`{raw}/note.txt`"
    assert ask(found) == [(14, True)]


def test_definitions_over_files_read_those_that_are_there(
    ask: Ask, conf: ConfFolder, home: Path, tmp_path: Path, simulator: SimulatorProcess
) -> None:
    files = "read_files('/Volumes/main/mail/raw/in', format => 'text')"
    asked = "ai_query('chat', value) AS said"
    ask(f"CREATE STREAMING TABLE mails AS SELECT *, _metadata.file_name AS n, {asked} FROM STREAM {files}")
    ask(f"CREATE MATERIALIZED VIEW lines AS SELECT {asked} FROM {files}")
    ask(f"CREATE VIEW recent AS SELECT {asked} FROM {files}")
    ask(
        f"CREATE FUNCTION of_file(n STRING) RETURNS TABLE (said STRING) RETURN SELECT {asked} FROM {files} "
        "WHERE _metadata.file_name = n"
    )
    assert simulator.stats()["requests"] == 1
    (tmp_path / "raw" / "in" / "next.txt").write_text("fourth")
    ask("REFRESH STREAMING TABLE mails")
    ask("REFRESH MATERIALIZED VIEW lines")
    assert simulator.stats()["requests"] == 2
    third, fourth = simulated_answer("third"), simulated_answer("fourth")
    assert sorted(ask("SELECT * FROM mails")) == [("fourth", "next.txt", fourth), ("third", "more.txt", third)]
    assert sorted(ask("SELECT said FROM lines")) == sorted([(third,), (fourth,)])
    with aiq.connect(conf=conf.path, home=home, dialect="databricks") as later:
        found = later.sql("SELECT said FROM recent UNION ALL SELECT said FROM of_file('next.txt')")
        assert found is not None and sorted(found.fetchall()) == sorted([(third,), (fourth,), (fourth,)])
    for kind, name in (("STREAMING TABLE", "mails"), ("MATERIALIZED VIEW", "lines"), ("FUNCTION", "of_file")):
        ask(f"DROP {kind} {name}")
    ask("DROP VIEW recent")


def test_a_custom_model_needs_no_return_type_where_the_configuration_has_one(ask: Ask) -> None:
    rows = [("hello",)]
    assert ask("SELECT ai_query('model', body) AS a FROM letters WHERE id = 1") == rows
    assert ask("SELECT ai_query('model', body, 'returnType', 'STRING') AS a FROM letters WHERE id = 1") == rows


REFUSED = {
    "widgets without a value": ("SELECT ai_query('${who}', body) FROM ${cat}.letters", "no value for who, cat"),
    "a template without a value": ("SELECT ai_query('chat', body) FROM letters WHERE id = {{n}}", "no value for n"),
    "a widget that was not given": ("SELECT ai_query(getArgument('x'), body) FROM letters", "no value for x"),
    "a cell of Python": ("%python\nprint(1)", "cell of %python"),
    "two cells": (f"{PLAIN}\n-- COMMAND ----------\n{PLAIN}", "one statement"),
    "a volume that is nowhere": (
        "SELECT ai_query('chat', value) FROM read_files('/Volumes/main/mail/other', format => 'text')",
        "no volume /Volumes/main/mail/other",
    ),
    "a file that is not there": ("SELECT * FROM csv.`/Volumes/main/mail/raw/none.csv`", "no file"),
    "a path out of its volume": ("SELECT * FROM csv.`/Volumes/main/mail/raw/../x.csv`", "leaves its volume"),
    "an option that is not known": (
        "SELECT * FROM read_files('/Volumes/main/mail/raw', format => 'csv', skipRows => 1)",
        "option skiprows",
    ),
    "files as an argument": (
        "SELECT ai_query('chat', 'What?', files => read_files('/Volumes/main/mail/raw', format => 'binaryFile'))",
        "read the files in FROM",
    ),
    "a statement in a text in a text": ("EXECUTE IMMEDIATE 'EXECUTE IMMEDIATE \"SELECT 1\"'", "run the inner one"),
    "an answer as a statement": ("EXECUTE IMMEDIATE ai_query('chat', 'SQL?')", "without AI calls"),
    "no statement": ("EXECUTE IMMEDIATE CAST(NULL AS STRING)", "is NULL"),
    "a value too few": ("EXECUTE IMMEDIATE 'SELECT ai_query(?, ?)' USING 'chat'", "no value for parameter 2"),
    "values half named": ("EXECUTE IMMEDIATE 'SELECT ai_query(:m, ?)' USING 'chat' AS m, 'x'", "all of its values"),
    "a value without a literal": ("EXECUTE IMMEDIATE 'SELECT ?' USING CAST(0.1 AS FLOAT)", "CAST\\(.. AS DOUBLE\\)"),
    "a value with fields": ("EXECUTE IMMEDIATE 'SELECT ?' USING array(named_struct('a', 1))", "one by one"),
    "a variable for no row": ("EXECUTE IMMEDIATE 'DROP TABLE letters' INTO who", "the row of a query"),
    "a script": ("-- all\nBEGIN DECLARE x INT; SELECT ai_query('chat', 'x'); END", "one by one"),
    "a script in a text": ("EXECUTE IMMEDIATE 'BEGIN SELECT ai_query(\"chat\", 1); END'", "one by one"),
    "a refresh of nothing": ("REFRESH MATERIALIZED VIEW nothing", "no materialized view nothing"),
    "a stream of nothing": ("REFRESH STREAMING TABLE main.work.nothing FULL", "no streaming table"),
    "rows that replace others": (
        "INSERT INTO letters REPLACE WHERE ai_query('chat', body) = 'yes' SELECT 1 AS id, 'x' AS body",
        "not by a call",
    ),
    "a parameter too far in": (
        "CREATE FUNCTION f(d INT) RETURNS TABLE (a ARRAY<INT>) RETURN SELECT x FROM (SELECT sequence(1, d) AS x)",
        "one query further out",
    ),
    "an unknown format": ("SELECT * FROM read_files('/Volumes/main/mail/raw', format => 'xml')", "not xml"),
}


@pytest.mark.parametrize("ask", ["duckdb"], indirect=True)
@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused_before_any_call(
    ask: Ask, simulator: SimulatorProcess, text: str, words: str
) -> None:
    with pytest.raises((StatementError, FunctionError), match=words):
        ask(text)
    assert simulator.stats()["requests"] == 0
