"""Rules that let DuckDB evaluate an AI call for fewer rows. Pure, Expression -> Expression, one rule a file.

Each keeps the statement's result. `before/after` examples: tests/unit/plan/*.sql.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from aiq.plan.rules.call_out_of_subquery import call_out_of_subquery
from aiq.plan.rules.cheap_before_ai import cheap_before_ai
from aiq.plan.rules.filter_before_call import filter_before_call
from aiq.plan.rules.guard_merge import guard_merge
from aiq.plan.rules.limit_below_call import limit_below_call
from aiq.plan.rules.where_before_call import where_before_call

if TYPE_CHECKING:
    from sqlglot import exp


def apply_rules(tree: exp.Expr, cost: Callable[[int], float], *, by_source: bool = True) -> exp.Expr:
    """The statement after all rules. `cost` gives what one request of a numbered call site costs, in any unit.

    `by_source` False leaves WHEN NOT MATCHED BY SOURCE as it is: DuckDB 1.4 cannot plan a subquery there.
    """
    cheap_first = partial(cheap_before_ai, cost=cost)
    early = (call_out_of_subquery, where_before_call, filter_before_call)
    for rule in (*early, cheap_first, limit_below_call, partial(guard_merge, by_source=by_source)):
        tree = rule(tree)
    return tree
