"""`WHERE ai(x) AND cheap` -> `WHERE cheap AND CASE WHEN cheap THEN ai(x) END`, and cheaper AI predicates before dearer.

DuckDB may evaluate conjuncts in any order and push one below a join; a CASE over the cheap ones, join conditions
included, cannot be evaluated before them. Only where NULL and false are the same: filters and join conditions, there
under AND and OR, never under NOT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call, numbers_in

if TYPE_CHECKING:
    from sqlglot import exp

Cost = Callable[[int], float]


def cheap_before_ai(tree: exp.Expr, cost: Cost) -> exp.Expr:
    """Orders the predicates of every filter and join condition that has an AI call."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.Where, exp.Having, exp.Qualify)):
        if has_call(node.this):
            joined = _join_conditions(node.parent) if isinstance(node, exp.Where) else []
            node.set("this", _ordered(node.this, cost, joined))
    for join in list(tree.find_all(exp.Join)):
        condition = join.args.get("on")
        if condition is not None and has_call(condition):
            join.set("on", _ordered(condition, cost, []))
    return tree


def _ordered(condition: exp.Expr, cost: Cost, also: list[exp.Expr]) -> exp.Expr:
    """A condition with its cheap parts first. `also` are cheap conditions that hold for every row of the result."""
    from sqlglot import exp

    if not has_call(condition):
        return condition
    if isinstance(condition, exp.Paren):
        return exp.Paren(this=_ordered(condition.this, cost, also))
    if isinstance(condition, exp.Or):
        parts = [_ordered(part, cost, also) for part in condition.flatten()]
        cheap = [part for part in parts if not has_call(part)]
        return exp.or_(*cheap, *(part for part in parts if has_call(part)), copy=False)
    parts = list(condition.flatten()) if isinstance(condition, exp.And) else [condition]
    cheap = [part for part in parts if not has_call(part)]
    dear = [_ordered(part, cost, []) if part is not condition else part for part in parts if has_call(part)]
    guards = [*also, *cheap]
    if not guards and len(dear) < 2:
        return condition
    dear.sort(key=lambda part: sum(cost(number) for number in numbers_in(part)))  # stable: ties stay as written
    chain = dear[-1]
    for part in reversed(dear[:-1]):
        chain = _when([part], chain)
    if guards:
        chain = _when(guards, chain)
    return exp.and_(*cheap, chain, copy=False)


def _when(guards: list[exp.Expr], then: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Case(ifs=[exp.If(this=exp.and_(*(guard.copy() for guard in guards)), true=then)])


def _join_conditions(select: exp.Expr | None) -> list[exp.Expr]:
    """Conditions of inner joins: what stops a predicate from being evaluated before the join."""
    from sqlglot import exp

    found: list[exp.Expr] = []
    for join in (select.args.get("joins") or []) if isinstance(select, exp.Select) else []:
        if join.side or (join.kind and join.kind.upper() not in ("INNER", "CROSS")) or join.args.get("method"):
            continue
        condition, using = join.args.get("on"), join.args.get("using")
        if condition is not None and not has_call(condition):
            found.append(condition)
        elif using and join.this.alias_or_name:
            found += [exp.column(column.name, table=join.this.alias_or_name).is_(exp.null()).not_() for column in using]
    return found
