"""Functions and views that people define with AI calls in them: kept in the home, read as if their text stood there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import aiq
from aiq.errors import AiqError, StatementError
from tests.conformance.conftest import Engine, simulated_answer
from tests.conftest import ConfFolder

ENGINES = ("duckdb", "spark")


@pytest.fixture
def texts(engine: Engine) -> Engine:
    """`t`: six rows, three keys; `notes`: one a key."""
    engine.load("t", k=[i % 3 for i in range(6)], body=[f"text {i}" for i in range(6)])
    engine.load("notes", nk=[0, 1, 2], note=["n0", "n1", "n2"])
    return engine


def answers(*prompts: str) -> list[str]:
    return [simulated_answer(prompt) for prompt in prompts]


GIST = "CREATE FUNCTION gist(x STRING) RETURNS STRING RETURN ai_query('chat', concat('Gist: ', x))"


SPELLINGS = {
    "return select": "CREATE FUNCTION gist(x STRING) RETURNS STRING RETURN SELECT ai_query('chat', 'Gist: ' || x)",
    "select in parentheses": "CREATE FUNCTION gist(x STRING) RETURN (SELECT ai_query('chat', 'Gist: ' || x) AS r)",
    "all clauses, comments": """-- title
        CREATE /* or */ OR REPLACE FUNCTION `gist` (x STRING COMMENT 'the text', p STRING DEFAULT 'Gist: ')
        RETURNS STRING LANGUAGE SQL NOT DETERMINISTIC COMMENT 'it\\'s one' READS SQL DATA
        RETURN ai_query('chat', -- asks
            concat(p, gist.X));""",
    "temporary": "create temporary function Gist(x string) returns string return ai_query('chat', 'Gist: ' || x)",
    "over another": "CREATE FUNCTION gist(x STRING) RETURN ask(prompt => concat('Gist: ', x))",
    "query over a table": """CREATE FUNCTION gist(x STRING) RETURNS STRING
        RETURN ai_query('chat', concat('Gist: ', x, (SELECT max(substr(note, 1, 0)) FROM notes WHERE note <> x)))""",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_function_is_read_as_if_its_text_stood_there(texts: Engine, spelling: str) -> None:
    texts.sql("CREATE FUNCTION ask(prompt STRING) RETURNS STRING RETURN ai_query('chat', prompt)")
    texts.sql(SPELLINGS[spelling])
    assert texts.requests() == 0
    found = texts.sql("SELECT GIST(body), upper(gist(body)) FROM t WHERE id < 2 AND gist(body) IS NOT NULL ORDER BY id")
    expected = answers("Gist: text 0", "Gist: text 1")
    assert found == [(one, one.upper()) for one in expected]
    assert texts.requests() == 2


def test_a_function_with_rows_is_read_in_from(texts: Engine) -> None:
    texts.sql(
        "CREATE FUNCTION main.ai.about(n INT DEFAULT 2) RETURNS TABLE(id INT, said STRING COMMENT 'c') "
        "RETURN SELECT nk, ai_query('chat', note) FROM notes WHERE nk < n"
    )
    assert sorted(texts.sql("SELECT said FROM main.ai.about() WHERE id > 0")) == [tuple(answers("n1"))]
    found = texts.sql("SELECT t.id, q.b FROM t, LATERAL ai.about(t.k) AS q(a, b) WHERE t.id < 3 ORDER BY 1, q.a")
    n0, n1 = answers("n0", "n1")
    assert found == [(1, n0), (2, n0), (2, n1)]


def test_later_sessions_have_what_was_defined_and_not_what_was_temporary(
    texts: Engine, conf: ConfFolder, home: Path
) -> None:
    texts.sql(GIST)
    texts.sql("CREATE VIEW gists AS SELECT k, gist('a view') AS g FROM (SELECT 1 AS k)")
    texts.sql("CREATE TEMPORARY FUNCTION passing(x STRING) RETURN ai_query('chat', x)")
    with aiq.connect(conf=conf.path, home=home) as other:
        relation = other.sql("SELECT g, gist('two') FROM gists")
        assert relation is not None
        assert relation.fetchall() == [tuple(answers("Gist: a view", "Gist: two"))]
        with pytest.raises(Exception, match="passing"):
            other.sql("SELECT passing('x')")


def test_typed_calls_keep_their_types(texts: Engine) -> None:
    texts.sql(
        "CREATE FUNCTION safe(x STRING) RETURNS STRUCT<result: STRING, errorMessage: STRING> RETURN "
        "ai_query('chat', x, failOnError => false)"
    )
    texts.sql("CREATE FUNCTION vector(x STRING) RETURNS ARRAY<FLOAT> RETURN ai_query('emb', x)")
    texts.sql(
        "CREATE FUNCTION ask(model STRING, x STRING) RETURNS STRING RETURN ai_query(model, x, modelParameters => "
        "named_struct('max_tokens', 9))"
    )
    ((row, vector, said),) = texts.sql("SELECT safe('a'), vector('b'), ask('chat', 'c')")
    assert row == {"result": simulated_answer("a"), "errorMessage": None}
    assert len(vector) == 64 and isinstance(vector[0], float)
    assert said


def test_a_function_returns_the_structs_of_from_json(texts: Engine) -> None:
    texts.sql(
        "CREATE FUNCTION stars(x STRING) RETURNS ARRAY<STRUCT<star: INT, why: STRING>> RETURN "
        "from_json(ai_query('chat', concat('[', x, ']')), 'array<struct<star: int, why: string>>')"
    )
    texts.sql(
        "CREATE FUNCTION star(x STRING) RETURNS STRUCT<star: INT, why: STRING> RETURN "
        "(SELECT from_json(ai_query('chat', x), 'STRUCT<star INT, why STRING>'))"
    )
    ((one, first),) = texts.sql("SELECT star('a'), star('b').star FROM t WHERE id = 0")
    assert (one or {"star": None, "why": None}) == {"star": None, "why": None} and first is None
    assert texts.sql("SELECT stars('a') AS a FROM t WHERE id = 0") == [(None,)]
    exploded = "SELECT one.* FROM (SELECT explode(from_json(ai_query('chat', 'a'), 'ARRAY<STRUCT<s: INT>>')) AS `one`)"
    assert texts.sql(exploded) == []  # the answer is no JSON, and a constant


def test_arguments_are_cast_and_never_captured(texts: Engine) -> None:
    texts.sql("CREATE FUNCTION f(id INT, k INT) RETURNS STRING RETURN ai_query('chat', concat(id * 2, ':', k))")
    assert texts.sql("SELECT f(k + 1, id) FROM t WHERE id = 5") == [tuple(answers("6:5"))]
    texts.sql(
        "CREATE FUNCTION g(k INT) RETURNS STRING RETURN (SELECT ai_query('chat', max(note)) FROM notes WHERE nk = k)"
    )
    texts.requests()
    found = texts.sql("SELECT g(nk + 1) FROM (SELECT k AS nk FROM t WHERE id < 2) AS notes ORDER BY nk")
    assert found == [(one,) for one in answers("n1", "n2")]
    assert texts.requests() == 2


WRONG = [
    ("SELECT gist() FROM t", "needs a value for x"),
    ("SELECT gist('a', 'b') FROM t", "takes 1 argument, not 2"),
    ("SELECT gist(y => 'a') FROM t", "no parameter y"),
    ("SELECT gist(x => 'a', x => 'b') FROM t", "twice"),
    ("SELECT * FROM gist('a')", "call it in SELECT"),
    ("SELECT twice(uuid())", "another value each time"),
    ("CREATE FUNCTION gist(x STRING) RETURN x", "already"),
    ("CREATE FUNCTION g(x STRING) RETURNS STRING", "no body"),
    ("CREATE FUNCTION g(x STRING, X INT) RETURN ai_query('chat', x)", "two parameters"),
    ("CREATE FUNCTION g(x STRING DEFAULT 'a', y INT) RETURN ai_query('chat', x)", "needs a DEFAULT"),
    ("CREATE FUNCTION g(x STRING) RETURN ai_query('chat', body)", "no parameter"),
    ("CREATE FUNCTION g(x STRING) RETURN g(ai_query('chat', x))", "reads itself"),
    ("CREATE OR REPLACE FUNCTION gist(x STRING) RETURN twice(x)", "reads itself"),
    ("CREATE FUNCTION upper(x STRING) RETURN ai_query('chat', x)", "another name"),
    ("CREATE FUNCTION g(x STRING) RETURN ai_query('gone', x)", "gone"),
    ("CREATE VIEW v AS SELECT ai_query('chat', nothing) FROM t", "nothing"),
    ("CREATE OR REPLACE VIEW v AS SELECT gist(body) FROM v", "."),
]


def test_what_is_wrong_is_said_before_any_call(texts: Engine) -> None:
    texts.sql(GIST)
    texts.sql("CREATE FUNCTION twice(x STRING) RETURN concat(gist(x), x)")
    for statement, words in WRONG:
        with pytest.raises(Exception, match=words) as raised:
            texts.sql(statement)
        assert "__aiq" not in str(raised.value), statement
    assert texts.requests() == 0


def test_dropped_and_replaced_definitions_are_gone(texts: Engine) -> None:
    texts.sql(GIST)
    texts.sql("CREATE VIEW v (said) COMMENT 'c' AS SELECT gist(body) FROM t WHERE id = 0")
    assert texts.sql("SELECT v.said FROM v") == [tuple(answers("Gist: text 0"))]
    texts.sql("CREATE OR REPLACE FUNCTION gist(x STRING) RETURNS STRING RETURN ai_query('chat', x)")
    assert texts.sql("SELECT said FROM v AS w") == [tuple(answers("text 0"))]
    texts.sql("ALTER VIEW v AS SELECT gist('new') AS said")
    assert texts.sql("SELECT * FROM v") == [tuple(answers("new"))]
    texts.sql("DROP FUNCTION IF EXISTS gist")
    for statement in ("SELECT gist('a')", "SELECT * FROM v", "DROP FUNCTION gist"):
        with pytest.raises(Exception, match="gist"):
            texts.sql(statement)
    texts.sql("DROP VIEW v")
    with pytest.raises(Exception, match="v"):
        texts.sql("SELECT * FROM v")


def test_a_with_query_of_the_name_of_a_table_that_a_view_reads_is_refused(texts: Engine) -> None:
    texts.sql(GIST)
    texts.sql("CREATE VIEW v AS SELECT gist(body) AS g FROM t")
    with pytest.raises(StatementError, match="WITH query"):
        texts.sql("WITH t AS (SELECT 'x' AS body) SELECT * FROM v, t")
    assert texts.requests() == 0


def test_definitions_are_described_and_listed(texts: Engine) -> None:
    texts.sql(GIST)
    assert ("gist",) in texts.sql("SHOW USER FUNCTIONS LIKE 'g*'")
    text = "\n".join(line for (line,) in texts.sql("DESCRIBE FUNCTION EXTENDED gist"))
    assert "x STRING" in text and "ann@example.com" in text and "ai_query('chat'" in text


def test_an_endpoint_that_is_gone_is_said_at_the_call(texts: Engine, conf: ConfFolder) -> None:
    conf.endpoint("fleeting")
    texts.sql("CREATE FUNCTION g(x STRING) RETURN ai_query('fleeting', x)")
    (conf.path / "endpoints" / "fleeting.yml").unlink()
    with pytest.raises(AiqError, match="fleeting"):
        texts.sql("SELECT g('a')")


@pytest.mark.engines("duckdb")
def test_the_same_text_reads_on_both_dialects(texts: Any) -> None:
    texts.sql(GIST)
    texts.sql("CREATE VIEW v AS SELECT id, ai_query('chat', body) AS a FROM t")
    found = texts.session.sql('SELECT gist("body"), v.a FROM t JOIN v USING (id) WHERE id = 1').fetchall()
    assert found == [tuple(answers("Gist: text 1", "text 1"))]
    again = texts.session.sql("SELECT gist(`body`), v.a FROM t JOIN v USING (id) WHERE id = 1").fetchall()
    assert again == found


@pytest.mark.engines("duckdb")
@pytest.mark.parametrize("dialect", ["duckdb", "databricks"])
def test_an_error_shows_no_text_that_the_user_did_not_write(texts: Engine, dialect: str) -> None:
    texts.sql(GIST)
    texts.sql("CREATE VIEW gists AS SELECT gist(body) AS g FROM t")
    for text, words in {
        "SELECT * FROM gists WHERE nope = 1": "nope",
        "SELECT gists.nothing FROM gists": "nothing",
        "SELECT * FROM ai_query('chat', 'a')": "call it in SELECT, not in FROM",
        "SELECT a.* FROM t, LATERAL ai_query('chat', body) AS a": "call it in SELECT, not in FROM",
    }.items():
        with pytest.raises(Exception, match=words) as raised:
            texts.session.sql(text, dialect=dialect)
        assert "aiq_" not in str(raised.value).replace("ai_query", "") and "Gist:" not in str(raised.value)
    assert texts.requests() == 0


NESTED = {
    "STRUCT<a: STRING, b: STRING>": ("s.a", "{'a': 'x', 'b': 'y'}", "{'b': 'y', 'a': 'x'}"),
    "STRUCT<a: STRUCT<b: STRING, c: DECIMAL(3,1)>, d: INT>": (
        "s.a.b",
        "{'a': {'b': 'x', 'c': 1.5}, 'd': 1}",
        "{'a': {'c': 1.5, 'b': 'x'}, 'd': 1}",
    ),
    "ARRAY<STRUCT<b: STRING, c: STRING>>": ("s[0].b", "[{'b': 'x', 'c': 'y'}]", "[{'c': 'y', 'b': 'x'}]"),
}


@pytest.mark.engines("duckdb")
@pytest.mark.parametrize("kind", NESTED)
def test_the_fields_of_a_parameter_are_those_of_its_type_in_their_order(texts: Engine, kind: str) -> None:
    field, right, wrong = NESTED[kind]
    texts.sql(f"CREATE FUNCTION fst(s {kind}) RETURNS STRING RETURN ai_query('chat', {field})")
    for value in (wrong, f"(SELECT {wrong})"):
        with pytest.raises(Exception, match="these fields, in this order"):
            texts.sql(f"SELECT fst({value})")
    assert texts.requests() == 0
    assert texts.sql(f"SELECT fst({right}), fst(NULL)") == [(simulated_answer("x"), None)]


LONG = {
    "a word": "x" * 200_000,
    "spaces": " " * 200_000,
    "brackets": "(" * 200_000,
    "words": "ab " * 70_000,
}


@pytest.mark.parametrize("kind", LONG)
def test_a_text_of_200_kb_is_read_like_a_short_one(texts: Engine, kind: str) -> None:
    texts.sql(GIST)
    ((length,),) = texts.sql(f"SELECT length(gist('{LONG[kind]}')) FROM t WHERE id = 0")
    assert length > 0
    assert texts.requests() == 1
    texts.sql("/* one */" * 60 + "CREATE OR REPLACE FUNCTION gist(x STRING) RETURNS STRING RETURN ai_query('chat', x)")
