"""Parameters become literals, wherever they stand, and nothing else does."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest

from aiq.errors import StatementError
from aiq.statements.literals import literal, with_values


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
