"""Inputs that change with every evaluation: the rows are some that DuckDB could give, and each request is paid once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine


@pytest.fixture
def numbers(engine: Engine) -> Engine:
    """`n(id, body)`: 50 distinct prompts."""
    engine.load("n", body=[f"Number {i}." for i in range(50)])
    return engine


def test_a_random_prompt_is_answered_as_it_was_drawn(numbers: Engine) -> None:
    rows = numbers.sql(
        "SELECT x, ai_query('chat', x) AS r FROM (SELECT CASE WHEN random() < 0.5 THEN 'Heads.' ELSE 'Tails.' "
        "END AS x FROM n)"
    )
    assert len(rows) == 50 and all(r.endswith(x) for x, r in rows)
    assert numbers.requests() == len({x for x, _ in rows})


def test_a_prompt_that_differs_in_every_row_and_run_is_asked_once_a_row(numbers: Engine) -> None:
    rows = numbers.sql("SELECT ai_query('chat', 'Draw ' || uuid()::VARCHAR) AS r FROM n")
    assert len(set(rows)) == 50
    assert numbers.requests() == 50


def test_a_random_filter_asks_no_more_than_the_table(numbers: Engine) -> None:
    rows = numbers.sql("SELECT id, ai_query('chat', body) AS r FROM n WHERE random() < 0.5")
    assert len({i for i, _ in rows}) == len(rows) <= 50 and all(r.endswith(f"Number {i}.") for i, r in rows)
    assert len(rows) <= numbers.requests() <= 50


def test_a_sample_gives_its_rows(numbers: Engine) -> None:
    rows = numbers.sql("SELECT id, ai_query('chat', body) AS r FROM n USING SAMPLE 5 ROWS")
    assert len(rows) == 5 and all(r.endswith(f"Number {i}.") for i, r in rows)
    assert 5 <= numbers.requests() <= 50


def test_a_sample_below_the_call_gives_its_rows(numbers: Engine) -> None:
    rows = numbers.sql("SELECT id, ai_query('chat', body) AS r FROM (SELECT * FROM n USING SAMPLE 5 ROWS) AS s")
    assert len(rows) == 5 and all(r.endswith(f"Number {i}.") for i, r in rows)
    assert numbers.requests() == 5


def test_rows_in_random_order_keep_their_answers(numbers: Engine) -> None:
    rows = numbers.sql("SELECT id, ai_query('chat', body) AS r FROM n ORDER BY random() LIMIT 5")
    assert len(rows) == 5 and all(r.endswith(f"Number {i}.") for i, r in rows)
    assert 5 <= numbers.requests() <= 50


def test_a_sequence_advances_once_a_row(numbers: Engine) -> None:
    numbers.sql("CREATE SEQUENCE s")
    rows = numbers.sql("SELECT nextval('s') AS k, ai_query('chat', body) AS r FROM n")
    assert sorted(k for k, _ in rows) == list(range(1, 51))
    assert numbers.sql("SELECT nextval('s') AS k") == [(51,)]
    assert numbers.requests() == 50


def test_a_default_from_a_sequence_advances_once_a_row(numbers: Engine) -> None:
    numbers.sql("CREATE SEQUENCE s")
    numbers.sql("CREATE TABLE o (k BIGINT DEFAULT nextval('s'), r VARCHAR)")
    numbers.sql("INSERT INTO o (r) SELECT ai_query('chat', body) FROM n")
    assert numbers.sql("SELECT min(k) AS a, max(k) AS b, count(*) AS n FROM o") == [(1, 50, 50)]
    assert numbers.requests() == 50


def test_a_macro_with_a_random_prompt_is_answered_as_it_was_drawn(numbers: Engine) -> None:
    numbers.sql("CREATE MACRO coin() AS CASE WHEN random() < 0.5 THEN 'Heads.' ELSE 'Tails.' END")
    rows = numbers.sql("SELECT x, ai_query('chat', x) AS r FROM (SELECT coin() AS x FROM n) AS s")
    assert len(rows) == 50 and all(r.endswith(x) for x, r in rows)
    assert numbers.requests() == len({x for x, _ in rows})


def test_a_view_over_random_rows_is_answered_as_it_was_drawn(numbers: Engine) -> None:
    numbers.sql("CREATE VIEW v AS SELECT id, body, 'Draw ' || uuid()::VARCHAR AS x FROM n")
    rows = numbers.sql("SELECT x, ai_query('chat', x) AS r FROM v")
    assert len(rows) == 50 and all(r.endswith(x) for x, r in rows)
    assert numbers.requests() == 50


def test_the_time_of_the_statement_is_one_prompt(numbers: Engine) -> None:
    rows = numbers.sql("SELECT now()::VARCHAR AS t, ai_query('chat', 'It is ' || now()::VARCHAR || '.') AS r FROM n")
    ((time, answer),) = set(rows)
    assert time in answer
    assert numbers.requests() == 1


def test_a_random_condition_before_a_call_gives_rows_it_could_have_drawn(numbers: Engine) -> None:
    rows = numbers.sql("SELECT id, CASE WHEN random() < 0.5 THEN ai_query('chat', body) ELSE 'none' END AS r FROM n")
    assert len(rows) == 50 and all(r == "none" or r.endswith(f"Number {i}.") for i, r in rows)
    assert sum(r != "none" for _, r in rows) <= numbers.requests() <= 50
