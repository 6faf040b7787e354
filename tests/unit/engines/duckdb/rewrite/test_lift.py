"""Which statements run in passes, which do not and why, and where LIMIT lets them run in waves."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.engines.duckdb.rewrite.lift import Lifted, LiftOptions, NotLifted, lift, reason_not_to, tells_the_time
from tests.unit.engines.duckdb.rewrite.cases import VOLATILE, database, named, numbered, printed


def plan(text: str, **how: Any) -> Lifted | NotLifted:
    """The plan of a statement in which `ai1(x)` is the call of site 1, the higher number the dearer model."""
    return lift(numbered(text), LiftOptions(float, database().describe, lambda: "made", VOLATILE, **how))


def lifted(text: str, **how: Any) -> Lifted:
    found = plan(text, **how)
    assert isinstance(found, Lifted), found
    return found


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ai1(a) AS r FROM t",
        "SELECT ai1(a) AS r FROM t UNION SELECT ai2(a) FROM u",
        "WITH c AS (SELECT ai1(a) AS r FROM t) SELECT * FROM c",
        "(SELECT ai1(a) AS r FROM t)",
        "FROM t SELECT ai1(a) AS r",
    ],
)
def test_a_query_is_itself_what_is_evaluated(text: str) -> None:
    found = lifted(text)
    assert found.query == found.single == found.text == numbered(text)
    assert not found.changed and found.span is None and found.rows is None


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("CREATE TABLE r AS SELECT ai1(a) AS r FROM t", "SELECT ai1(a) AS r FROM t"),
        ("CREATE OR REPLACE TEMP TABLE r AS (SELECT ai1(a) AS r FROM t)", "(SELECT ai1(a) AS r FROM t)"),
        ("INSERT INTO r SELECT ai1(a) FROM t", "SELECT ai1(a) FROM t"),
        ("INSERT INTO r (x) SELECT ai1(a) FROM t", "SELECT ai1(a) FROM t"),
        ("INSERT INTO r VALUES (1, ai1('a')), (2, 'b')", "VALUES (1, ai1('a')), (2, 'b')"),
        ("COPY (SELECT ai1(a) AS r FROM t) TO 'r.csv'", "SELECT ai1(a) AS r FROM t"),
    ],
)
def test_of_a_statement_that_writes_the_query_is_evaluated(text: str, query: str) -> None:
    found = lifted(text)
    assert found.text == numbered(text)
    assert found.query == found.single == numbered(query)
    assert named(found.over("<rows>")) == text.replace(query, " <rows> ")


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a = ai1(a)",
        "DELETE FROM t WHERE ai1(a) = 'x'",
        "UPDATE t SET a = ai1(a), b = now() WHERE day > 5 AND b > now()",
        "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED AND ai1(u.a) = 'x' THEN DELETE",
    ],
)
def test_a_statement_that_changes_rows_is_evaluated_itself(text: str) -> None:
    found = lifted(text)
    assert found.writes
    assert found.query == found.text == numbered(text)


def test_conditions_of_a_delete_are_ordered_as_those_of_a_query() -> None:
    found = lifted("DELETE FROM t WHERE ai1(a) = 'x' AND c > 5")
    where = printed("SELECT 1 FROM t WHERE c > 5 AND CASE WHEN c > 5 THEN ai1(a) = 'x' END").partition(" WHERE ")[2]
    assert found.changed and found.query == f"DELETE FROM t WHERE {where}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SET VARIABLE a = ai1('x')", "no query and no statement that changes a table"),
        ("INSERT INTO t SELECT a FROM u RETURNING ai1(a)", "outside of the query of the INSERT"),
        ("CREATE TABLE r (a VARCHAR DEFAULT ai1('x'))", "no query and no statement that changes a table"),
        ("INSERT INTO r SELECT no_such_column, ai1(a) FROM t", "means something only in its place"),
    ],
)
def test_what_is_not_lifted_says_why(text: str, reason: str) -> None:
    found = plan(text)
    assert isinstance(found, NotLifted)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("CREATE TABLE r AS SELECT ai1(a) AS r FROM t", ("r",)),
        ("CREATE TABLE IF NOT EXISTS s.r (x) AS SELECT ai1(a) AS r FROM t", ("s", "r")),
        ('CREATE TEMP TABLE d.s."R x" AS SELECT ai1(a) AS r FROM t', ("d", "s", "R x")),
        ("CREATE OR REPLACE TABLE r AS SELECT ai1(a) AS r FROM t", None),
        ("INSERT INTO r SELECT ai1(a) FROM t", None),
    ],
)
def test_the_table_that_must_not_be_there_is_known(text: str, made: tuple[str, ...] | None) -> None:
    assert lifted(text).made == made


def test_the_table_that_is_replaced_is_known() -> None:
    assert lifted("CREATE OR REPLACE TABLE s.r AS SELECT ai1(a) AS r FROM t").replaced == ("s", "r")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT ai1(a || random()) FROM t", "random()"),
        ("SELECT ai1(a), UUID () FROM t", "uuid()"),
        ("SELECT ai1(a) FROM t USING SAMPLE 10", "samples rows"),
        ("SELECT ai1(a) FROM t TABLESAMPLE 10%", "samples rows"),
        ("select ai1(a) from t using\n  sample 10", "samples rows"),
    ],
)
def test_a_statement_that_evaluates_differently_each_time_is_not_evaluated_twice(text: str, reason: str) -> None:
    found = reason_not_to(text, VOLATILE)
    assert found is not None and reason in found


@pytest.mark.parametrize("text", ["SELECT ai1(a) FROM t", "SELECT random FROM t", "SELECT now(), my_random(a) FROM t"])
def test_other_names_are_no_reason(text: str) -> None:
    assert reason_not_to(text, VOLATILE) is None


@pytest.mark.parametrize(
    ("text", "limit", "filters"),
    [
        ("SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 5", 5, 1),
        ("SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 5 OFFSET 3", 8, 1),
        ("SELECT ai2(a) AS r FROM t WHERE ai1(a) = 'x' LIMIT 5", 5, 1),
        ("SELECT a FROM t WHERE ai1(a) = 'x' AND ai2(a) = 'y' LIMIT 5", 5, 2),
        ("SELECT a FROM t JOIN u ON t.k = u.k WHERE ai1(a) = 'x' LIMIT 5", 5, 1),
        ("SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 0", 0, 1),
        ("SELECT a FROM (SELECT ai2(a) AS a FROM t) AS s WHERE ai1(a) = 'x' LIMIT 5", 5, 2),
        ("SELECT ai2(a) AS r FROM t WHERE r = 'x' AND ai1(b) = 'x' LIMIT 5", 5, 2),
    ],
)
def test_a_filter_with_a_limit_runs_in_waves(text: str, limit: int, filters: int) -> None:
    found = lifted(text)
    assert found.waves == (limit, filters)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ai1(a) AS r FROM t LIMIT 5",
        "SELECT a FROM t WHERE ai1(a) = 'x'",
        "SELECT a FROM t WHERE ai1(a) = 'x' ORDER BY a LIMIT 5",
        "SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 5 + 5",
        "SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 5 OFFSET (SELECT 1)",
        "SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 10%",
        "SELECT DISTINCT a FROM t WHERE ai1(a) = 'x' LIMIT 5",
        "SELECT a FROM t WHERE ai1(a) = 'x' GROUP BY a LIMIT 5",
        "SELECT count(*) FROM t WHERE ai1(a) = 'x' LIMIT 5",
        "SELECT mean(a) FROM t WHERE ai1(a) = 'x' LIMIT 5",
        "SELECT upper(a_macro_that_may_aggregate(a)) FROM t WHERE ai1(a) = 'x' LIMIT 5",
        "SELECT row_number() OVER () FROM t WHERE ai1(a) = 'x' LIMIT 5",
        "SELECT a FROM t JOIN u ON ai2(a) = u.k WHERE ai1(a) = 'x' LIMIT 5",
        "SELECT a FROM t WHERE ai1(a) = 'x' UNION ALL SELECT a FROM u LIMIT 5",
        "CREATE TABLE r AS SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 5",
    ],
)
def test_where_not_any_rows_will_do_there_are_no_waves(text: str) -> None:
    found = lifted(text)
    assert found.waves == (None, 0)


def test_a_rewritten_statement_says_so() -> None:
    found = lifted("SELECT a FROM t WHERE ai1(a) = 'x' AND c > 5")
    assert found.changed
    assert found.query == printed("SELECT a FROM t WHERE c > 5 AND CASE WHEN c > 5 THEN ai1(a) = 'x' END")
    assert found.text == found.unchanged == numbered("SELECT a FROM t WHERE ai1(a) = 'x' AND c > 5")


def test_without_rules_a_query_stays_as_it_is() -> None:
    assert not lifted("SELECT ai1(a) AS r FROM t WHERE ai1(a) = 'x' AND c > 5 LIMIT 5", rules=False).changed


def test_a_query_that_duckdb_does_not_take_is_not_rewritten() -> None:
    assert not lifted("SELECT no_such_column FROM t WHERE ai1(a) = 'x' AND c > 5").changed


def test_a_query_that_tells_the_names_of_its_columns_is_not_rewritten() -> None:
    text = "SELECT {} AS n, a FROM (SELECT id, ai1(body) AS a FROM t) AS q WHERE a = 'x' AND id > 5 ORDER BY id LIMIT 3"
    assert lifted(text.format("abs(id)")).changed
    assert not lifted(text.format("alias(id)")).changed


@pytest.mark.parametrize(
    ("text", "rows", "query"),
    [
        (
            "SELECT id, ai1(a) AS r FROM t ORDER BY k LIMIT 5",
            "SELECT * FROM (SELECT id, NULL, a AS __aiq_r1 FROM t ORDER BY k LIMIT 5) "
            "AS __aiq_rows(__aiq_c1, __aiq_c2, __aiq_c3)",
            "SELECT __aiq_c1 AS id, ai1(__aiq_c3) AS r FROM temp.made",
        ),
        (
            "SELECT DISTINCT ON (k) k, ai1(a) AS r FROM t ORDER BY k, id",
            "SELECT * FROM (SELECT DISTINCT ON (k) k, NULL, a AS __aiq_r1 FROM t ORDER BY k, id) "
            "AS __aiq_rows(__aiq_c1, __aiq_c2, __aiq_c3)",
            "SELECT __aiq_c1 AS k, ai1(__aiq_c3) AS r FROM temp.made",
        ),
        (
            "SELECT k, ai1(string_agg(a)) AS r FROM t GROUP BY k",
            "SELECT * FROM (SELECT k, NULL, string_agg(a) AS __aiq_r1 FROM t GROUP BY k) "
            "AS __aiq_rows(__aiq_c1, __aiq_c2, __aiq_c3)",
            "SELECT __aiq_c1 AS k, ai1(__aiq_c3) AS r FROM temp.made",
        ),
        (
            "INSERT INTO t (id, a) SELECT id, ai1(a) FROM u ORDER BY k LIMIT 5",
            "SELECT * FROM (SELECT id, NULL, a AS __aiq_r1 FROM u ORDER BY k LIMIT 5) "
            "AS __aiq_rows(__aiq_c1, __aiq_c2, __aiq_c3)",
            f'SELECT __aiq_c1 AS id, ai1(__aiq_c3) AS "{numbered("ai1(a)")}" FROM temp.made',
        ),
    ],
)
def test_rows_that_no_answer_decides_are_computed_once(text: str, rows: str, query: str) -> None:
    found = lifted(text)
    assert found.rows is not None
    assert (found.rows.query, found.rows.table, found.query) == (printed(rows), "made", printed(query))
    assert found.rows.stages == [] and found.stages == [{1}]


@pytest.mark.parametrize(
    "text", ["SELECT id, ai1(a) AS r FROM t", "SELECT id, ai1(a) AS r FROM t UNION ALL SELECT id, b FROM u"]
)
def test_rows_are_computed_once_where_that_is_wanted(text: str) -> None:
    assert lifted(text).rows is None
    assert lifted(text, apart=True).rows is not None
    assert lifted(text, once="it gives its rows only once").rows is not None


def test_the_filter_of_rows_that_are_computed_once_runs_in_waves_and_before_their_calls() -> None:
    found = lifted("SELECT ai2(a) AS r FROM t WHERE ai1(a) = 'x' LIMIT 5")
    assert found.rows is not None and found.rows.limit == 5
    assert found.all_stages == [{1}, {2}]


def test_answers_that_decide_on_their_own_rows_only_come_in_windows() -> None:
    assert lifted("SELECT id, ai1(a) AS r FROM t", apart=True).in_windows
    assert not lifted("SELECT id, ai1(a) AS r FROM t WHERE ai2(b) = 'x'", apart=True).in_windows
    assert not lifted("SELECT ai1(ai2(a)) AS r FROM t", apart=True).in_windows
    assert not lifted("CREATE TABLE r AS SELECT id, ai1(a) AS r FROM t", apart=True).in_windows


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM t WHERE ai1(a) = 'x'",
        "SELECT max(ai1(a)) FROM t",
        "UPDATE t SET a = ai1(a)",
        "PIVOT t ON ai1(a)",
    ],
)
def test_a_statement_whose_answers_decide_on_its_rows_is_evaluated_once_with_calls_that_wait(text: str) -> None:
    once = "it gives its rows only once"
    assert lifted(text, once=once).waits == once
    assert lifted(text).waits == ""


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a = ai1(a || now())",
        "DELETE FROM t WHERE ai1(a || current_timestamp) = 'x'",
        "UPDATE t SET a = ai1(w.n) FROM (SELECT now()::VARCHAR AS n) AS w",
    ],
)
def test_a_change_whose_requests_may_hold_the_time_is_evaluated_once(text: str) -> None:
    assert "may hold the time" in lifted(text).waits


@pytest.mark.parametrize("text", ["SELECT ai1(a || random()) AS r FROM t", "SELECT ai1(a) AS r FROM t USING SAMPLE 3"])
def test_rows_that_come_once_are_kept_and_their_calls_need_not_wait(text: str) -> None:
    found = lifted(text, once=reason_not_to(text, VOLATILE))
    assert found.rows is not None and found.waits == ""


def test_a_condition_is_not_repeated_where_it_may_be_another_value_each_time() -> None:
    text = "SELECT id FROM t WHERE random() < 0.5 AND ai1(a) = 'x'"
    found = lifted(text, once=reason_not_to(text, VOLATILE))
    assert found.query == numbered(text) and not found.changed


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("SELECT k FROM t GROUP BY k HAVING ai1(string_agg(a)) = 'x'", "string_agg"),
        ("UPDATE t SET a = ai1(w.n) FROM (SELECT string_agg(a) AS n FROM u) AS w", "string_agg"),
    ],
)
def test_a_request_that_may_be_another_each_time_is_made_once(text: str, function: str) -> None:
    waits = lifted(text).waits
    assert waits == f"its requests are made of {function}, which may give another value each time it is evaluated"


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("UPDATE t SET a = ai1(a), b = ai2(b) WHERE ai3(a) = 'x'", [{3}, {1, 2}]),
        ("UPDATE t SET a = ai1(a) RETURNING ai2(a)", [{1}, {2}]),
        ("DELETE FROM t USING (SELECT ai2(b) AS b FROM u) AS w WHERE ai1(a) = w.b", [{2}, {1}]),
        (
            "MERGE INTO t USING (SELECT ai1(a) AS a FROM u) AS s ON ai2(t.a) = s.a "
            "WHEN MATCHED AND ai3(s.a) = 'x' THEN UPDATE SET a = ai4(s.a) "
            "WHEN NOT MATCHED THEN INSERT (a) VALUES (ai5(s.a))",
            [{1}, {2}, {3}, {4}, {5}],
        ),
    ],
)
def test_the_calls_of_a_statement_that_changes_rows_are_asked_in_stages(text: str, stages: list[set[int]]) -> None:
    assert lifted(text).stages == stages


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("now()", True),
        ("CURRENT_TIMESTAMP", True),
        ("get_current_timestamp ()", True),
        ("known()", False),
        ("now", False),
        ("at_current_time", False),
    ],
)
def test_the_time_of_day_is_seen_by_its_names(text: str, tells: bool) -> None:
    assert tells_the_time(text) is tells
