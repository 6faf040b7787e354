"""Which share of rows a condition of DuckDB's parse tree is expected to let pass, before its answers are there.

Pure arithmetic over a parse tree; knows neither a table nor an endpoint.
"""

from __future__ import annotations

import math
from functools import reduce

from aiq.engines.duckdb.rewrite.tree import Node, name_of
from aiq.sql.selectivity import BETWEEN, EQUALITY, IS_NULL, MATCH, MOST_OF_A_LIST, RANGE, UNKNOWN

_MATCHING = frozenset(
    [
        "~~",
        "~~*",
        "~~~",
        "~",
        "~*",
        "like",
        "ilike",
        "like_escape",
        "ilike_escape",
        "contains",
        "starts_with",
        "prefix",
        "suffix",
        "ends_with",
        "^@",
        "regexp_matches",
        "regexp_full_match",
    ]
)
_NOT_MATCHING = frozenset(["!~~", "!~~*", "!~", "not_like_escape", "not_ilike_escape"])


def selectivity(predicate: Node) -> float:
    """The share (0 to 1) of rows for which a condition is expected to be true."""
    kind = predicate["type"]
    if kind == "OPERATOR_CAST":
        return selectivity(predicate["child"])
    if kind == "OPERATOR_NOT":
        return 1.0 - selectivity(predicate["children"][0])
    if kind == "CONJUNCTION_AND":
        return math.prod(map(selectivity, predicate["children"]))
    if kind == "CONJUNCTION_OR":
        return 1.0 - math.prod(1.0 - selectivity(part) for part in predicate["children"])
    if kind == "VALUE_CONSTANT":
        literal = predicate["literal"]
        known = {"true": 1.0, "false": 0.0}.get(literal["text"].lower(), UNKNOWN)
        return 0.0 if literal["kind"] == "NULL_LITERAL" else known
    if kind == "CASE_EXPR":
        checks = [(check["when_expr"], check["then_expr"]) for check in predicate["case_checks"]]
        return reduce(
            lambda rest, check: _branch(check[0], check[1], rest), reversed(checks), selectivity(predicate["else_expr"])
        )
    if kind == "OPERATOR_COALESCE":
        return selectivity(predicate["children"][0])
    if kind == "COMPARE_IN":
        return min(MOST_OF_A_LIST, EQUALITY * (len(predicate["children"]) - 1))
    return _leaf(predicate)


def _leaf(predicate: Node) -> float:
    kind, name = predicate["type"], name_of(predicate)
    if kind in ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"):
        return _equality(predicate)
    if kind in ("COMPARE_NOTEQUAL", "COMPARE_DISTINCT_FROM"):
        return 1.0 - _equality(predicate)
    if predicate.get("class") == "COMPARISON":
        return RANGE
    if kind == "COMPARE_BETWEEN":
        return BETWEEN
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        return IS_NULL if kind == "OPERATOR_IS_NULL" else 1.0 - IS_NULL
    if kind == "SUBQUERY":
        return MOST_OF_A_LIST if predicate["subquery_type"] == "ANY" else UNKNOWN
    if name == "if":
        condition, then, *otherwise = (argument["expression"] for argument in predicate["arguments"])
        return _branch(condition, then, selectivity(otherwise[0]) if otherwise else 0.0)
    if name in _MATCHING:
        return MATCH
    return 1.0 - MATCH if name in _NOT_MATCHING else UNKNOWN


def _equality(comparison: Node) -> float:
    """`x = TRUE` is as selective as x; `x = value` as the textbook says."""
    for value, other in (("right", "left"), ("left", "right")):
        literal = comparison[value].get("literal") or {}
        if literal.get("kind") == "BOOLEAN":
            share = selectivity(comparison[other])
            return share if literal["text"].lower() == "true" else 1.0 - share
    return EQUALITY


def _branch(condition: Node, then: Node, otherwise: float) -> float:
    fraction = selectivity(condition)
    return fraction * selectivity(then) + (1.0 - fraction) * otherwise
