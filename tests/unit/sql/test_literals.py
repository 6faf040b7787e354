"""Parameters become literals, wherever they stand, and nothing else does."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest

from aiq.errors import StatementError
from aiq.sql.literals import literal, with_values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "TRUE"),
        (3, "3"),
        (-(2**40), "-1099511627776L"),
        (2**70, "1180591620717411303424BD"),
        (0.5, "0.5D"),
        (float("nan"), "CAST('nan' AS DOUBLE)"),
        (decimal.Decimal("1.50"), "1.50BD"),
        ("it's a \\n", "'it\\'s a \\\\n'"),
        (b"\x00\xff", "X'00ff'"),
        (datetime.date(2024, 2, 29), "DATE '2024-02-29'"),
        (datetime.datetime(2024, 2, 29, 1, 2, 3), "TIMESTAMP_NTZ '2024-02-29 01:02:03'"),
        (datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC), "TIMESTAMP '2024-02-29 00:00:00+00:00'"),
        ([1, "a"], "array(1, 'a')"),
        ({"k": 1}, "map('k', 1)"),
    ],
)
def test_a_value_is_written_as_spark_reads_it(value: Any, text: str) -> None:
    assert literal(value) == text


def test_names_are_replaced_and_text_and_paths_are_not() -> None:
    text = "SELECT ':x', j:x, a::INT, :x || :y -- :x"
    assert with_values(text, {"x": "v", "y": 2}, "databricks") == "SELECT ':x', j:x, a::INT, 'v' || 2 -- :x"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT f(:x), g(1,:x)", "SELECT f(7), g(1,7)"),
        ("SELECT a FROM t WHERE a IN (:x,:x) AND a=:x AND b>:x LIMIT :x", None),
        ("SELECT a FROM t LIMIT:x OFFSET:x", "SELECT a FROM t LIMIT 7 OFFSET 7"),
        ("SELECT INTERVAL :x DAY, array(:x)[:x], -:x, [:x]", "SELECT INTERVAL 7 DAY, array(7)[7], -7, [7]"),
        ("SELECT (a):x, a[0]:x, `a b`:x, f(a):x, a:x.y", "SELECT (a):x, a[0]:x, `a b`:x, f(a):x, a:x.y"),
        ("SELECT a::x, /* (:x) */ '(:x)', (:x)", "SELECT a::x, /* (:x) */ '(:x)', (7)"),
    ],
)
def test_a_name_is_a_parameter_wherever_a_value_may_stand(text: str, found: str | None) -> None:
    expected = text.replace(":x", "7") if found is None else found
    params = {"x": 7} if expected != text else {}
    assert with_values(text, params, "databricks") == expected


def test_question_marks_are_replaced_in_order() -> None:
    assert with_values("SELECT ?, '?', ?", [1, "b"], "databricks") == "SELECT 1, '?', 'b'"


@pytest.mark.parametrize(
    ("text", "params", "words"),
    [
        ("SELECT :x", {}, "no value for parameter x"),
        ("SELECT :x", {"x": 1, "y": 2}, "which the statement does not use"),
        ("SELECT ?", [], "no value for parameter 1"),
        ("SELECT ?", [object()], "cannot be of type object"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, params: Any, words: str) -> None:
    with pytest.raises(StatementError, match=words):
        with_values(text, params, "databricks")
