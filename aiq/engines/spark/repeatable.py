"""Whether what a plan reads and gives is the same when it is evaluated again."""

from __future__ import annotations

from aiq.engines.spark.catalyst import Catalyst, Node

_OF_CHANCE = frozenset({"GlobalLimit", "LocalLimit", "Offset", "Tail", "Sample", "Window", "WindowGroupLimit"})
_SUMS = frozenset({"Sum", "Average", "StddevSamp", "StddevPop", "VarianceSamp", "VariancePop"})
_FLOATS = frozenset({"float", "double"})


def is_repeatable(catalyst: Catalyst, plan: Node) -> bool:
    """Whether evaluating a plan again is sure to give the same rows. Not so where ties or tasks decide on them."""
    if not plan.deterministic():
        return False
    return not catalyst.any(plan, lambda node: catalyst.kind(node) in _OF_CHANCE or _sums_floats(catalyst, node))


def _sums_floats(catalyst: Catalyst, plan: Node) -> bool:
    """Whether the order in which rows come shows in the last digits of a sum."""
    if catalyst.kind(plan) != "Aggregate":
        return False
    return any(
        catalyst.any(expression, lambda e: catalyst.kind(e) in _SUMS and str(e.dataType().typeName()) in _FLOATS)
        for expression in catalyst.items(plan.aggregateExpressions())
    )


def snapshot(catalyst: Catalyst, plan: Node) -> str:
    """What tells the state of the table that a plan reads from a later one; of a table of files, its version."""
    if catalyst.kind(plan) == "LogicalRelation":
        relation = plan.relation()
        return str(relation.location().toString()) if hasattr(relation, "location") else ""
    children = catalyst.children(plan)
    return snapshot(catalyst, children[0]) if len(children) == 1 else ""
