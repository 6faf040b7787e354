"""`ai_query` in every place of a statement where an expression may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiq.errors import StatementError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "registered", "spark")

BODIES = ["Red apple.", "Green pear.", "Blue plum."]


@pytest.fixture
def fruit(engine: Engine) -> Engine:
    """The engine with a table `t` of three rows."""
    engine.load("t", body=BODIES)
    return engine


def test_a_statement_without_an_ai_call_passes_through(fruit: Engine) -> None:
    assert fruit.sql("SELECT id, upper(body) AS b FROM t WHERE id = 1") == [(1, "GREEN PEAR.")]
    assert fruit.requests() == 0


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'ai_query(''chat'', ''x'')' AS r",
        "SELECT 1 AS r -- ai_query('chat', 'x')",
        "SELECT /* ai_query('chat', 'x') */ 1 AS r",
        "SELECT 1 AS ai_query",
        "SELECT r.ai_query AS r FROM (SELECT 1 AS ai_query) AS r",
    ],
)
def test_words_that_only_look_like_a_call_are_none(engine: Engine, text: str) -> None:
    assert len(engine.sql(text)) == 1
    assert engine.requests() == 0


def test_a_prompt_may_hold_the_text_of_a_call(engine: Engine) -> None:
    ((r,),) = engine.sql("SELECT ai_query('chat', 'Explain ai_query(''chat'', x).') AS r")
    assert r.endswith("Explain ai_query('chat', x).")


def test_create_table_as_keeps_the_answers(fruit: Engine) -> None:
    fruit.sql("CREATE TABLE enriched AS SELECT id, ai_query('chat', body) AS r FROM t")
    assert fruit.requests() == 3
    rows = dict(fruit.sql("SELECT id, r FROM enriched"))
    assert [rows[i].endswith(BODIES[i]) for i in range(3)] == [True] * 3
    assert fruit.requests() == 0


def test_insert_select_keeps_the_answers(fruit: Engine) -> None:
    fruit.sql("CREATE TABLE enriched (id INT, r STRING)")
    fruit.sql("INSERT INTO enriched SELECT id, ai_query('chat', body) FROM t WHERE id < 2")
    assert [i for i, r in fruit.sql("SELECT id, r FROM enriched ORDER BY id") if r] == [0, 1]
    assert fruit.requests() == 2


@pytest.mark.engines("duckdb")  # for Spark see test_spark_session.py
def test_insert_values_keeps_the_answers(fruit: Engine) -> None:
    fruit.sql("CREATE TABLE enriched (id INT, r STRING)")
    fruit.sql("INSERT INTO enriched VALUES (9, ai_query('chat', 'Yellow lemon.'))")
    assert [i for i, r in fruit.sql("SELECT id, r FROM enriched") if r] == [9]
    assert fruit.requests() == 1


def test_a_common_table_expression_is_asked_once(fruit: Engine) -> None:
    rows = fruit.sql(
        "WITH a AS (SELECT id, ai_query('chat', body) AS r FROM t) "
        "SELECT x.id, x.r, y.r FROM a AS x JOIN a AS y ON x.id = y.id"
    )
    assert len(rows) == 3 and all(left == right for _, left, right in rows)
    assert fruit.requests() == 3


def test_a_subquery_in_from_where_and_select(fruit: Engine) -> None:
    rows = fruit.sql(
        "SELECT (SELECT max(ai_query('chat', body)) FROM t) AS m, s.r "
        "FROM (SELECT ai_query('chat', body) AS r FROM t) AS s "
        "WHERE s.r IN (SELECT ai_query('chat', body) FROM t WHERE id = 1)"
    )
    assert len(rows) == 1 and rows[0][1].endswith("Green pear.")
    assert fruit.requests() == 3


def test_a_call_in_a_call(fruit: Engine) -> None:
    rows = fruit.sql("SELECT ai_query('chat', 'Again: ' || ai_query('chat', body)) AS r FROM t")
    assert len(rows) == 3 and fruit.requests() == 6


def test_calls_that_differ_only_in_quotes_are_two(fruit: Engine) -> None:
    rows = fruit.sql("SELECT ai_query('chat', 'body') AS lit, ai_query('chat', body) AS col FROM t")
    assert all(lit.endswith("body") for lit, _ in rows)
    assert sorted(col.split(" ")[-1] for _, col in rows) == ["apple.", "pear.", "plum."]
    assert fruit.requests() == 4


def test_calls_of_several_endpoints_in_one_row(fruit: Engine) -> None:
    rows = fruit.sql(
        "SELECT ai_query('chat', body) AS a, ai_query('emb', body) AS b, ai_query('complete', body) AS c, "
        "ai_query('model', body, returnType => 'STRING') AS d FROM t WHERE id = 0"
    )
    assert [type(value) for value in rows[0]] == [str, list, str, str]


def test_in_aggregates_groups_and_having(fruit: Engine) -> None:
    assert fruit.sql("SELECT count(ai_query('chat', body)) AS n FROM t") == [(3,)]
    rows = fruit.sql(
        "SELECT ai_query('chat', 'Same.') AS k, count(*) AS n FROM t "
        "GROUP BY ai_query('chat', 'Same.') HAVING count(*) > 2"
    )
    assert [n for _, n in rows] == [3]


def test_in_a_window(fruit: Engine) -> None:
    rows = fruit.sql("SELECT id, max(ai_query('chat', body)) OVER () AS m FROM t")
    assert len({m for _, m in rows}) == 1 and fruit.requests() == 3


def test_in_case_only_the_rows_of_the_branch_are_asked(fruit: Engine) -> None:
    rows = dict(fruit.sql("SELECT id, CASE WHEN id = 1 THEN ai_query('chat', body) ELSE 'no' END AS r FROM t"))
    assert rows[0] == rows[2] == "no" and rows[1].endswith("Green pear.")
    assert fruit.requests() == 1


def test_in_where_a_cheap_condition_comes_first(fruit: Engine) -> None:
    assert fruit.sql("SELECT id FROM t WHERE id < 2 AND ai_query('chat', body) LIKE '%pear%'") == [(1,)]
    assert fruit.requests() == 2


def test_in_order_by_and_join(fruit: Engine) -> None:
    assert len(fruit.sql("SELECT id FROM t ORDER BY ai_query('chat', body)")) == 3
    assert (
        len(fruit.sql("SELECT a.id FROM t AS a JOIN t AS b ON ai_query('chat', a.body) = ai_query('chat', b.body)"))
        == 3
    )
    assert fruit.requests() == 6


def test_union_and_distinct(fruit: Engine) -> None:
    rows = fruit.sql(
        "SELECT DISTINCT ai_query('chat', 'Same.') AS r FROM t UNION ALL SELECT ai_query('chat', 'Other.')"
    )
    assert len(rows) == 2 and fruit.requests() == 2


def test_values_without_a_table(engine: Engine) -> None:
    assert len(engine.sql("SELECT ai_query('chat', p) AS r FROM (VALUES ('One.'), ('Two.')) AS v(p)")) == 2


def test_limit_asks_no_more_than_it_returns(engine: Engine) -> None:
    engine.load("t", body=[f"Number {i}." for i in range(5000)])
    assert len(engine.sql("SELECT ai_query('chat', body) AS r FROM t LIMIT 5")) == 5
    assert engine.requests() == 5


def test_explain_makes_no_call(fruit: Engine) -> None:
    assert fruit.sql("EXPLAIN SELECT ai_query('chat', body) AS r FROM t")
    assert fruit.requests() == 0


def test_a_column_that_nobody_reads_is_not_paid(fruit: Engine) -> None:
    assert fruit.sql("SELECT count(*) AS n FROM (SELECT ai_query('chat', body) AS r FROM t) AS s") == [(3,)]
    assert fruit.requests() == 0


def test_a_view_asks_where_it_is_used(fruit: Engine) -> None:
    fruit.sql("CREATE TEMPORARY VIEW v AS SELECT id, ai_query('chat', body) AS r FROM t")
    assert fruit.requests() == 0
    rows = dict(fruit.sql("SELECT id, r FROM v WHERE id < 2"))
    assert rows[1].endswith("Green pear.")
    assert fruit.requests() == 2


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 AS a; SELECT 2 AS b",
        "SELECT ai_query('chat', 'x') AS a; DROP TABLE t",
        "SELECT 1 AS a;; SELECT 2 AS b;",
    ],
)
def test_two_statements_in_one_text_are_refused_before_either_runs(fruit: Engine, text: str) -> None:
    with pytest.raises(StatementError, match="one statement"):
        fruit.sql(text)
    assert fruit.requests() == 0 and len(fruit.sql("SELECT id FROM t")) == 3


@pytest.mark.parametrize("end", [";", " ;\n", "; -- done", ";; "])
def test_semicolons_at_the_end_are_fine(engine: Engine, end: str) -> None:
    assert len(engine.sql(f"SELECT ai_query('chat', 'Hi; there.') AS r{end}")) == 1


def test_a_semicolon_in_a_prompt_is_text(engine: Engine) -> None:
    assert len(engine.sql("SELECT ai_query('chat', 'One; SELECT 2') AS r")) == 1


@pytest.mark.parametrize("text", ["", "   ", ";", "-- nothing"])
def test_an_empty_text_does_nothing(engine: Engine, text: str) -> None:
    assert engine.sql(text) == []


def test_columns_keep_the_names_they_are_given(fruit: Engine) -> None:
    result = fruit.session.sql("SELECT id, ai_query('chat', body) AS `the answer` FROM t")
    assert result is not None and result.columns == ["id", "the answer"]
