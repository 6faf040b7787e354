"""Which statements run in passes, which do not and why, and where LIMIT lets them run in waves."""

from __future__ import annotations

import re

import pytest

from aiq.plan.lift import Lifted, NotLifted, lift, reason_not_to

VOLATILE = frozenset({"random", "uuid", "nextval"})


def plan(text: str) -> Lifted | NotLifted:
    """The plan of a statement in which `ai1(x)` is the call of site 1, the higher number the dearer model."""
    return lift(re.sub(r"\bai(\d+)\(", r"__aiq_string(\1, ", text), float)


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
    found = plan(text)
    assert isinstance(found, Lifted)
    assert found.query == found.text
    assert not found.changed


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("CREATE TABLE r AS SELECT ai1(a) AS r FROM t", "SELECT __AIQ_STRING(1, a) AS r FROM t"),
        ("CREATE OR REPLACE TEMP TABLE r AS SELECT ai1(a) AS r FROM t", "SELECT __AIQ_STRING(1, a) AS r FROM t"),
        ("INSERT INTO r SELECT ai1(a) FROM t", "SELECT __AIQ_STRING(1, a) FROM t"),
        ("INSERT INTO r (x) SELECT ai1(a) FROM t", "SELECT __AIQ_STRING(1, a) FROM t"),
        ("COPY (SELECT ai1(a) AS r FROM t) TO 'r.csv'", "SELECT __AIQ_STRING(1, a) AS r FROM t"),
    ],
)
def test_of_a_statement_that_writes_the_query_is_evaluated(text: str, query: str) -> None:
    found = plan(text)
    assert isinstance(found, Lifted)
    assert found.query.lower() in (query.lower(), f"({query})".lower())
    assert found.text == re.sub(r"\bai(\d+)\(", r"__aiq_string(\1, ", text)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a = ai1(a)",
        "DELETE FROM t WHERE ai1(a) = 'x'",
        "UPDATE t SET a = ai1(a), changed = NOW() WHERE b > NOW()",
        "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED AND ai1(u.a) = 'x' THEN DELETE",
    ],
)
def test_a_statement_that_changes_rows_is_evaluated_itself(text: str) -> None:
    found = plan(text)
    assert isinstance(found, Lifted)
    assert found.writes
    assert found.query == found.text == re.sub(r"\bai(\d+)\(", r"__aiq_string(\1, ", text)


def test_conditions_of_a_delete_are_ordered_as_those_of_a_query() -> None:
    found = plan("DELETE FROM t WHERE ai1(a) = 'x' AND b > 5")
    assert isinstance(found, Lifted)
    assert found.changed and "CASE WHEN b > 5" in found.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT ai1(a FROM t", "not understood"),
        ("SET VARIABLE a = ai1('x')", "a SET is not evaluated in passes"),
        ("INSERT INTO t SELECT a FROM u RETURNING ai1(a)", "outside the query of the INSERT"),
        ("UPDATE t SET a = ai1(a || now())", "may hold the time"),
        ("DELETE FROM t WHERE ai1(a || current_timestamp) = 'x'", "may hold the time"),
        ("UPDATE t SET a = ai1(w.n) FROM (SELECT now()::VARCHAR AS n) AS w", "may hold the time"),
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
    found = plan(text)
    assert isinstance(found, Lifted)
    assert found.made == made


@pytest.mark.parametrize(
    ("text", "into"),
    [
        ("CREATE TABLE r AS SELECT ai1(a) AS r FROM t", "CREATE TABLE r AS"),
        ("CREATE OR REPLACE TEMP TABLE r (x) AS (SELECT ai1(a) FROM t)", "CREATE OR REPLACE TEMP TABLE r (x) AS"),
        ("CREATE TABLE r AS WITH c AS (SELECT 1 AS k) SELECT ai1(k) AS r FROM c", "CREATE TABLE r AS"),
        ("CREATE TABLE r AS SELECT ai1(a) AS r FROM t WITH NO DATA", None),
        ("INSERT INTO r SELECT ai1(a) FROM t", None),
        ("SELECT ai1(a) AS r FROM t", None),
    ],
)
def test_a_table_is_made_of_rows_that_are_there(text: str, into: str | None) -> None:
    found = plan(text)
    assert isinstance(found, Lifted)
    assert found.into == into


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
    ],
)
def test_a_filter_with_a_limit_runs_in_waves(text: str, limit: int, filters: int) -> None:
    found = plan(text)
    assert isinstance(found, Lifted)
    assert (found.limit, found.filters) == (limit, filters)


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
        "SELECT a FROM (SELECT ai2(a) AS a FROM t) AS s WHERE ai1(a) = 'x' LIMIT 5",
        "SELECT a FROM t WHERE ai1(a) = 'x' UNION ALL SELECT a FROM u LIMIT 5",
        "CREATE TABLE r AS SELECT a FROM t WHERE ai1(a) = 'x' LIMIT 5",
    ],
)
def test_where_not_any_rows_will_do_there_are_no_waves(text: str) -> None:
    found = plan(text)
    assert isinstance(found, Lifted)
    assert found.limit is None


def test_a_rewritten_statement_says_so() -> None:
    found = plan("SELECT a FROM t WHERE ai1(a) = 'x' AND b > 5")
    assert isinstance(found, Lifted)
    assert found.changed and "CASE WHEN b > 5" in found.text
