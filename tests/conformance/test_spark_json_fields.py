"""`text:field` on Spark: as Spark's own get_json_object gives it, of a STRING as of a VARIANT, wherever it stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aiq.errors import StatementError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("spark",)
DOCUMENTS = ['{"a":"x","b":{"c":[1,2],"d e":"it\'s"},"t:u":5}', '{"a":"y","b":null}', "no JSON"]


@pytest.fixture
def t(engine: Engine) -> Engine:
    """The engine with a table `t` of documents `j`."""
    engine.load("t", j=DOCUMENTS)
    return engine


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("SELECT id, j:a AS r FROM t", "SELECT id, get_json_object(j, '$.a') AS r FROM t"),
        ("SELECT j:a, j:b.c FROM t", "SELECT get_json_object(j, '$.a') AS a, get_json_object(j, '$.b.c') AS c FROM t"),
        (
            "SELECT t.j:b.c[1]::INT + 1 AS r, j:b['d e'] AS q, j:['t:u'] AS u FROM t -- a:b",
            "SELECT get_json_object(j, '$.b.c[1]')::INT + 1 AS r, get_json_object(j, \"$.b['d e']\") AS q, "
            "get_json_object(j, \"$['t:u']\") AS u FROM t",
        ),
        (
            "WITH c AS (SELECT '😀' || j:a AS r FROM t) SELECT r, (SELECT max(j:b:c) FROM t) AS m FROM c "
            "WHERE substr(r, 2) IN (SELECT (j):a FROM t WHERE j:b IS NOT NULL)",
            "WITH c AS (SELECT '😀' || get_json_object(j, '$.a') AS r FROM t) SELECT r, (SELECT max(get_json_object("
            "get_json_object(j, '$.b'), '$.c')) FROM t) AS m FROM c WHERE substr(r, 2) IN "
            "(SELECT get_json_object(j, '$.a') FROM t WHERE get_json_object(j, '$.b') IS NOT NULL)",
        ),
        (
            "SELECT count(*) AS n, j:a FROM t GROUP BY j:a",
            "SELECT count(*) AS n, get_json_object(j, '$.a') AS a FROM t GROUP BY get_json_object(j, '$.a')",
        ),
        (
            "SELECT from_json(j, 'STRUCT<a:STRING>').a || parse_json(j):a::STRING AS r FROM t WHERE id < 2",
            "SELECT from_json(j, 'STRUCT<a:STRING>').a || parse_json(j):a::STRING AS r FROM t WHERE id < 2",
        ),
        (
            "SELECT transform(array(j), x -> x:a) AS r FROM t",
            "SELECT transform(array(j), x -> get_json_object(x, '$.a')) AS r FROM t",
        ),
        ("SELECT j:b.c:[1] AS r FROM t", "SELECT get_json_object(j, '$.b.c[1]') AS r FROM t"),
        ("BEGIN SELECT j:a FROM t; END", "SELECT get_json_object(j, '$.a') AS a FROM t"),
    ],
)
def test_a_path_is_what_get_json_object_gives(t: Engine, query: str, plain: str) -> None:
    found, expected = t.session.sql(query), t.session.spark.sql(plain)
    assert found.columns == expected.columns
    assert sorted(map(str, found.collect())) == sorted(map(str, expected.collect()))


def test_a_path_into_an_answer_and_one_in_a_request(t: Engine) -> None:
    schema = "STRUCT<r: STRUCT<label: STRING>>"
    call = f"ai_query('chat', 'Label ' || j:a, responseFormat => '{schema}')"
    rows = t.sql(f"SELECT id, {call}:label AS r, {call} AS whole FROM t WHERE j:a > ''")
    assert [(key, label) for key, label, _ in rows] == [(key, json.loads(text)["label"]) for key, _, text in rows]
    assert len(rows) == t.requests() == 2


def test_definitions_keep_a_path(t: Engine) -> None:
    t.sql("CREATE FUNCTION letter(doc STRING) RETURNS STRING RETURN doc:a")
    t.sql("CREATE FUNCTION gist(doc STRING) RETURNS STRING RETURN ai_query('chat', 'Gist of ' || doc:a)")
    t.sql("CREATE TEMPORARY VIEW letters AS SELECT id, j:a AS letter FROM t")
    rows = t.sql("SELECT letter(j), v.letter, gist(j) FROM t JOIN letters v USING (id) WHERE id = 0")
    assert [row[:2] for row in rows] == [("x", "x")] and rows[0][2].endswith("Gist of x")
    assert t.requests() == 1


def test_what_a_path_is_to_spark_is_not_shown(t: Engine) -> None:
    call, _ = (row.asDict() for row in t.session.sql("EXPLAIN AI SELECT ai_query('chat', j:a) FROM t").collect())
    assert call["call"] == "ai_query('chat', j:a)"
    with pytest.raises(Exception, match="nothing") as refused:
        t.sql("SELECT nothing:a FROM t")
    assert "json_field" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "words"), [("id:a", "id is INTEGER"), ("j:b.`d e`", "no exact counterpart"), ("j:`it's`", "counterpart")]
)
def test_what_has_no_counterpart_is_refused_before_any_call(t: Engine, path: str, words: str) -> None:
    with pytest.raises(StatementError, match=words):
        t.sql(f"SELECT ai_query('chat', {path}) AS r FROM t")
    assert t.requests() == 0
