"""Each distinct request is paid once a statement, whatever the engine does with the expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "registered", "spark")

ROWS = 6000
"""Three of DuckDB's chunks of 2,048 rows."""


@pytest.fixture
def table(engine: Engine) -> Engine:
    """The engine with a table `t` of 6,000 rows and 10 distinct prompts."""
    engine.load("t", body=[f"Number {i % 10}." for i in range(ROWS)])
    return engine


def test_duplicates_in_different_chunks_are_paid_once(table: Engine) -> None:
    rows = table.sql("SELECT id, ai_query('chat', body) AS r FROM t")
    assert all(r.endswith(f"Number {i % 10}.") for i, r in rows) and len(rows) == ROWS
    assert table.requests() == 10


def test_the_same_expression_twice_is_paid_once(table: Engine) -> None:
    table.sql(
        "SELECT ai_query('chat', body) AS a, ai_query('chat', body) AS b, length(ai_query('chat', body)) AS c FROM t"
    )
    assert table.requests() == 10


def test_an_answer_is_paid_once_when_the_filter_reads_it(table: Engine) -> None:
    table.sql("SELECT a FROM (SELECT ai_query('chat', body) AS a FROM t) AS s WHERE a <> 'x' AND a LIKE '%1.'")
    assert table.requests() == 10


def test_an_answer_is_paid_once_when_select_and_where_ask_for_it(table: Engine) -> None:
    table.sql("SELECT ai_query('chat', body) AS a FROM t WHERE ai_query('chat', body) <> 'x'")
    assert table.requests() == 10


def test_order_by_and_limit_pay_no_more_than_the_distinct_prompts(table: Engine) -> None:
    assert len(table.sql("SELECT ai_query('chat', body) AS a FROM t ORDER BY id LIMIT 5")) == 5
    assert table.requests() <= 10


def test_a_self_join_pays_once(table: Engine) -> None:
    table.sql(
        "WITH a AS (SELECT id, ai_query('chat', body) AS r FROM t) "
        "SELECT count(*) AS n FROM a AS x JOIN a AS y ON x.id = y.id WHERE x.r = y.r"
    )
    assert table.requests() == 10


def test_a_constant_prompt_is_one_request(table: Engine) -> None:
    table.sql("SELECT ai_query('chat', 'The same.') AS r FROM t")
    assert table.requests() == 1


def test_a_failed_request_is_not_asked_again_for_the_next_row(engine: Engine) -> None:
    engine.load("t", body=["Bad. [[fault:400]]"] * ROWS)
    rows = engine.sql("SELECT ai_query('chat', body, failOnError => false) AS r FROM t")
    assert len(rows) == ROWS and all(r["errorMessage"] for (r,) in rows)
    assert engine.requests() == 1


def test_options_that_do_not_change_the_request_do_not_change_the_bill(table: Engine) -> None:
    table.sql("SELECT ai_query('chat', body) AS a, ai_query('chat', body, failOnError => false) AS b FROM t")
    assert table.requests() == 10


def test_another_endpoint_is_another_request(engine: Engine) -> None:
    engine.sql("SELECT ai_query('chat', 'Hi.') AS a, ai_query('complete', 'Hi.') AS b")
    assert engine.requests() == 2


def test_the_next_statement_asks_anew(engine: Engine) -> None:
    for _ in range(2):
        engine.sql("SELECT ai_query('chat', 'Hi.') AS r")
    assert engine.requests() == 2


@pytest.mark.engines("duckdb")
def test_reading_a_result_twice_costs_nothing(table: Engine) -> None:
    result = table.session.sql("SELECT ai_query('chat', body) AS r FROM t")
    assert result is not None
    assert table.requests() == 10
    assert result.fetchall() == result.fetchall() and repr(result) and len(result) == ROWS
    assert table.requests() == 0
