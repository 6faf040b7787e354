"""In which order the calls of a statement may be asked, so that none is asked because another's answer is unknown.

A list of sets of call sites: those of one set do not depend on each other. What filters rows comes before what is
computed for the rows that are left; a condition before its branches; an inner call before the one around it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call, is_call, number_of

if TYPE_CHECKING:
    from sqlglot import exp

Stages = list[set[int]]

_BEFORE_SELECT = ("with", "with_", "from", "from_", "joins", "laterals", "pivots", "where", "group", "having")
_BEFORE_CHANGE = ("with_", "this", "from_", "using", "where")
_AFTER = ("windows", "qualify", "order", "limit", "offset")


def stages(tree: exp.Expr) -> Stages:
    """The stages of a statement's call sites, by number."""
    return _of(tree)


def _together(*parts: Stages) -> Stages:
    return [set().union(*layer) for layer in zip_longest(*parts, fillvalue=set())]


def _one_after_the_other(*parts: Stages) -> Stages:
    return [stage for part in parts for stage in part]


def _of(node: object) -> Stages:
    from sqlglot import exp

    if isinstance(node, list):
        return _together(*(_of(item) for item in node))
    if not isinstance(node, exp.Expr) or not has_call(node):
        return []
    if is_call(node):
        return _one_after_the_other(_of(node.expressions[1:]), [{number_of(node)}])
    if isinstance(node, exp.Select):
        before = [_of(node.args.get(name)) for name in _BEFORE_SELECT]
        after = [_of(node.args.get(name)) for name in _AFTER]
        return _one_after_the_other(*before, *after, _of(node.expressions))
    if isinstance(node, exp.With):
        return _one_after_the_other(*(_of(cte) for cte in node.expressions))
    if isinstance(node, exp.Update | exp.Delete):
        before = [_of(node.args.get(name)) for name in _BEFORE_CHANGE]
        return _one_after_the_other(*before, _of(node.expressions), _of(node.args.get("returning")))
    if isinstance(node, exp.Merge):
        whens = node.args["whens"].expressions
        parts = [stage for when in whens for stage in (_of(when.args.get("condition")), _of(when.args.get("then")))]
        return _one_after_the_other(
            *(_of(node.args.get(name)) for name in ("with_", "using", "on")), *parts, _of(node.args.get("returning"))
        )
    if isinstance(node, exp.Case):
        parts = [_of(node.this)]
        for branch in node.args["ifs"]:
            parts += [_of(branch.this), _of(branch.args.get("true"))]
        return _one_after_the_other(*parts, _of(node.args.get("default")))
    if isinstance(node, exp.If):
        return _one_after_the_other(_of(node.this), _together(_of(node.args.get("true")), _of(node.args.get("false"))))
    if isinstance(node, exp.Connector | exp.Coalesce):
        return _one_after_the_other(*(_of(child) for child in node.iter_expressions()))
    if isinstance(node, exp.Join):
        return _one_after_the_other(_of(node.this), _of(node.args.get("on")))
    if isinstance(node, exp.In | exp.Exists | exp.Subquery):
        return _one_after_the_other(*(_of(value) for value in node.args.values()))
    return _together(*(_of(child) for child in node.iter_expressions()))
