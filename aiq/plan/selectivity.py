"""Which share of rows a condition is expected to let pass, before anybody has seen its answers.

The textbook's constants (Selinger et al., 1979), for a condition whose answers nobody knows. Pure arithmetic over a
syntax tree; knows neither a table nor an endpoint.
"""

from __future__ import annotations

import math
import sys
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

EQUALITY = 0.1
RANGE = 1 / 3
BETWEEN = 0.25
MATCH = 0.25
"""LIKE, regular expressions, starts_with and their kind."""
IS_NULL = 0.1
MOST_OF_A_LIST = 0.5
UNKNOWN = 0.5
"""A Boolean of which nothing is known, such as an answer that is itself the condition."""


def selectivity(predicate: exp.Expr) -> float:
    """The share (0 to 1) of rows for which a condition is expected to be true."""
    from sqlglot import exp

    if isinstance(predicate, exp.Paren | exp.Alias | exp.Cast):
        return selectivity(predicate.this)
    if isinstance(predicate, exp.Not):
        return 1.0 - selectivity(predicate.this)
    if isinstance(predicate, exp.And):
        return math.prod(selectivity(part) for part in predicate.flatten())
    if isinstance(predicate, exp.Or):
        return 1.0 - math.prod(1.0 - selectivity(part) for part in predicate.flatten())
    if isinstance(predicate, exp.Boolean):
        return 1.0 if predicate.this else 0.0
    if isinstance(predicate, exp.Null):
        return 0.0
    if isinstance(predicate, exp.Case):
        return _case(predicate)
    if isinstance(predicate, exp.If):
        return _branch(predicate.this, predicate.args.get("true"), _of(predicate.args.get("false")))
    if isinstance(predicate, exp.Coalesce):
        return selectivity(predicate.this)
    if isinstance(predicate, exp.In):
        values = len(predicate.expressions)
        return min(MOST_OF_A_LIST, EQUALITY * values) if values else MOST_OF_A_LIST
    return _leaf(predicate)


def rank(cost: float, share: float) -> float:
    """What decides the order of the conditions of an AND: the smallest first. For an OR, give 1 - share.

    The cost of a row over the share of rows that it saves the later ones (Hellerstein's predicate migration, 1993).
    `cost` in any unit, `share` of the rows that pass (0 to 1). A condition that saves nothing comes last, and of those
    that cost nothing the most selective is first.
    """
    saved = 1.0 - share
    return max(cost, sys.float_info.min) / saved if saved > 0.0 else math.inf


def _leaf(predicate: exp.Expr) -> float:
    from sqlglot import exp

    if isinstance(predicate, exp.EQ | exp.NullSafeEQ):
        return _equality(predicate)
    if isinstance(predicate, exp.NEQ | exp.NullSafeNEQ):
        return 1.0 - _equality(predicate)
    if isinstance(predicate, exp.GT | exp.GTE | exp.LT | exp.LTE):
        return RANGE
    if isinstance(predicate, exp.Between):
        return BETWEEN
    if isinstance(predicate, exp.Is):
        truth = predicate.expression
        if isinstance(truth, exp.Null):
            return IS_NULL
        if isinstance(truth, exp.Boolean):
            share = selectivity(predicate.this)
            return share if truth.this else 1.0 - share
        return UNKNOWN
    matching = (exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike, exp.SimilarTo, exp.StartsWith, exp.EndsWith)
    if isinstance(predicate, (*matching, exp.Contains, exp.Glob)):
        return 1.0 - MATCH if predicate.args.get("negate") else MATCH
    return UNKNOWN


def _equality(comparison: exp.Expr) -> float:
    """`x = TRUE` is as selective as x; `x = value` as the textbook says."""
    from sqlglot import exp

    left, right = comparison.this, comparison.args.get("expression")
    for value, other in ((right, left), (left, right)):
        if isinstance(value, exp.Boolean) and isinstance(other, exp.Expr):
            share = selectivity(other)
            return share if value.this else 1.0 - share
    return EQUALITY


def _case(case: exp.Case) -> float:
    """Branch by branch, each taken by the rows that no earlier one took."""
    from sqlglot import exp

    def whens() -> list[tuple[exp.Expr, exp.Expr | None]]:
        of = case.this
        return [
            (branch.this if of is None else exp.EQ(this=of.copy(), expression=branch.this.copy()), branch.args["true"])
            for branch in case.args["ifs"]
        ]

    return reduce(
        lambda otherwise, branch: _branch(branch[0], branch[1], otherwise),
        reversed(whens()),
        _of(case.args.get("default")),
    )


def _branch(condition: exp.Expr, then: exp.Expr | None, otherwise: float) -> float:
    taken = selectivity(condition)
    return taken * _of(then) + (1.0 - taken) * otherwise


def _of(value: exp.Expr | None) -> float:
    return 0.0 if value is None else selectivity(value)
