"""What an alert finds: one value of its query's result, compared as SQL compares."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

import aiq
from aiq.alerts.alert import OPERATORS, Alert, Operand, Parameter
from aiq.alerts.evaluate import compare, evaluate
from aiq.engines.duckdb.session import DuckDBSession
from aiq.errors import StatementError

NAN, INF = float("nan"), float("inf")
NUMBERS: list[Any] = [None, 0, 1, -1, 10**18, 0.1, 1e308, -INF, INF, NAN, Decimal("0.1"), Decimal("1.00")]
OTHERS: list[list[Any]] = [
    ["", "a", "B", "ä", None],
    [True, False, None],
    [date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), None],
]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("values", [NUMBERS, *OTHERS], ids=["numbers", "texts", "truth", "times"])
def test_values_are_compared_as_a_database_does(operator: str, values: list[Any]) -> None:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for left, right in itertools.product(values, values):
            if operator.startswith("IS_"):
                (said,) = con.execute(f"SELECT ($1 {OPERATORS[operator]})", [left]).fetchall()[0]
            else:
                (said,) = con.execute(f"SELECT COALESCE($1 {OPERATORS[operator]} $2, false)", [left, right]).fetchall()[
                    0
                ]
            assert compare(left, operator, right) == said, (left, operator, right)


@pytest.mark.parametrize(
    ("value", "operator", "threshold", "holds"),
    [
        ("12", "GREATER_THAN", Decimal("9"), True),
        (12, "GREATER_THAN", "9", True),
        (0.1, "EQUAL", Decimal("0.1"), True),
        (Decimal("0.1"), "EQUAL", Decimal("0.1"), True),
        (True, "EQUAL", "TRUE", True),
        (date(2026, 3, 1), "LESS_THAN", "2026-03-02", True),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "GREATER_THAN", "2026-03-01 11:59:59", True),
    ],
)
def test_a_text_stands_for_what_it_is_compared_with(value: Any, operator: str, threshold: Any, holds: bool) -> None:
    assert compare(value, operator, threshold) is holds


@pytest.mark.parametrize(
    ("value", "threshold", "words"),
    [
        ("many", Decimal(1), "'many' is no number"),
        (True, Decimal(1), "truth value cannot be compared with number"),
        (date(2026, 1, 1), "soon", "'soon' is no date"),
        ([1], Decimal(1), "list cannot be compared"),
    ],
)
def test_what_cannot_be_compared_is_said(value: Any, threshold: Any, words: str) -> None:
    with pytest.raises(StatementError, match=words):
        compare(value, "GREATER_THAN", threshold)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBSession]:
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "conf" / "endpoints").mkdir(parents=True)
    endpoint = {"name": "chat", "config": {"served_entities": [{"external_model": MODEL}]}}
    (folder / "conf" / "endpoints" / "chat.json").write_text(json.dumps(endpoint))
    with aiq.connect(conf=folder / "conf", home=folder / "home") as session:
        session.sql("CREATE VIEW asking AS SELECT ai_query('chat', 'x') AS a")
        yield session


MODEL = {
    "name": "gpt-4o-mini",
    "provider": "openai",
    "task": "llm/v1/chat",
    "openai_config": {"openai_api_base": "http://127.0.0.1:9/v1", "openai_api_key_plaintext": "k"},
}


def alert(query: str, operator: str = "GREATER_THAN", threshold: Any = Decimal(0), **more: Any) -> Alert:
    source = more.pop("source", Operand("v"))
    return Alert("a", "A", "a.dbalert.json", query, source, operator, threshold, **more)


ROWS = [3.5, 1.0, None, 9.25, 1.0, -4.0]
VALUES = "SELECT * FROM VALUES (3.5), (1.0), (NULL), (9.25), (1.0), (-4.0) AS t(v)"
GIVEN = [value for value in ROWS if value is not None]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (None, ROWS[0]),
        ("AVG", statistics.fmean(GIVEN)),
        ("COUNT", len(GIVEN)),
        ("COUNT_DISTINCT", len(set(GIVEN))),
        ("MAX", max(GIVEN)),
        ("MEDIAN", statistics.median(GIVEN)),
        ("MIN", min(GIVEN)),
        ("STDDEV", statistics.stdev(GIVEN)),
        ("SUM", sum(GIVEN)),
    ],
)
def test_an_aggregate_is_over_all_rows_and_none_is_the_first(
    session: DuckDBSession, aggregation: str | None, expected: float
) -> None:
    found = evaluate(alert(VALUES, source=Operand("V", aggregation)), session)
    assert (found.error, float(found.value)) == (None, pytest.approx(expected))
    assert found.state == ("TRIGGERED" if expected > 0 else "OK")


@pytest.mark.parametrize("state", ["OK", "TRIGGERED", "ERROR", "UNKNOWN"])
@pytest.mark.parametrize("aggregation", [None, "COUNT", "SUM"])
def test_without_a_row_the_state_is_the_one_for_that(
    session: DuckDBSession, state: Any, aggregation: str | None
) -> None:
    source = Operand("v", aggregation)
    assert evaluate(alert("SELECT 1 AS v WHERE false", empty_state=state, source=source), session).state == state


def test_null_is_no_empty_result(session: DuckDBSession) -> None:
    """A SUM over nothing has a row, and NULL is above nothing."""
    query = "SELECT SUM(v) AS v FROM VALUES (1) AS t(v) WHERE v > 2"
    assert evaluate(alert(query, empty_state="TRIGGERED"), session).state == "OK"
    assert evaluate(alert(query, "IS_NULL", None), session).state == "TRIGGERED"


def test_a_column_may_be_the_threshold(session: DuckDBSession) -> None:
    query = "SELECT * FROM VALUES (5, 4), (1, 9) AS t(v, most)"
    assert evaluate(alert(query, threshold=Operand("most")), session).state == "TRIGGERED"
    assert evaluate(alert(query, threshold=Operand("most", "MAX")), session).state == "OK"


def test_databricks_sql_and_parameters_are_read(session: DuckDBSession) -> None:
    query = "SELECT COUNT_IF(`v` > :least) AS v FROM VALUES (1), (2), (30) AS t(v)"
    found = evaluate(alert(query, parameters=(Parameter("least", "10", "INT"),)), session)
    assert (found.error, found.value) == (None, 1)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT 1 AS w", "the query has no column v; it has w"),
        ("SELECT 1 AS v, 2 AS v", "2 columns v"),
        ("SELECT v FROM nowhere", "nowhere"),
        ("SELECT 1 AS v; SELECT 2 AS v", "is not one statement"),
        ("DELETE FROM t", "is no SELECT"),
        ("WITH a AS (SELECT 1) DELETE FROM t", "is no SELECT"),
        ("FROM t INSERT INTO u SELECT *", "is no SELECT"),
        ("  -- a comment\n", "is not one statement"),
        ("SELECT 'x' AS v", "'x' is no number"),
        ("SELECT CAST('soon' AS DATE) AS v", "soon"),
        ("SELECT 'unclosed AS v", ""),
    ],
)
def test_a_query_that_fails_is_the_state_error(session: DuckDBSession, query: str, words: str) -> None:
    found = evaluate(alert(query, empty_state="OK"), session)
    assert found.state == "ERROR" and found.error is not None and words in found.error
    assert "__aiq" not in found.error


def test_numbers_are_needed_where_they_are_added(session: DuckDBSession) -> None:
    found = evaluate(alert("SELECT true AS v", source=Operand("v", "SUM")), session)
    assert (found.state, found.error) == ("ERROR", "SUM(v) needs numbers, and v is bool")


@pytest.mark.parametrize("query", ["SELECT ai_query('chat', 'x') AS v", "SELECT a AS v FROM asking"])
def test_a_query_that_asks_needs_a_budget(session: DuckDBSession, query: str) -> None:
    """Before a call: the endpoint has no server."""
    found = evaluate(alert(query), session)
    assert found.state == "ERROR" and "SET aiq_max_cost_usd = 0.10" in (found.error or "")
    assert session.settings.needs_budget is False


@pytest.mark.parametrize(
    "query",
    ["SET aiq_max_cost_usd = 1e-9; {}", "/*+ aiq_max_cost_usd(1e-9) */ {}", "SELECT /*+ aiq_max_cost_usd(1e-9) */ {}"],
)
def test_its_own_budget_holds(session: DuckDBSession, query: str) -> None:
    text = query.format("SELECT ai_query('chat', 'x') AS v".removeprefix("SELECT " if "SELECT" in query else ""))
    found = evaluate(alert(text), session)
    assert found.state == "ERROR" and "0.10" not in (found.error or "") and "$" in (found.error or "")
    assert session.settings.max_cost_usd is None


def test_a_setting_of_the_alert_is_gone_after_it(session: DuckDBSession, tmp_path: Path) -> None:
    evaluate(alert("SET aiq_reuse = 'session'; SELECT 1 AS v"), session)
    assert session.settings.reuse is None
