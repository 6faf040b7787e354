"""Cheap conditions before AI ones, and of AI conditions the cheaper and more selective first.

`WHERE ai(x) AND c` -> `WHERE c AND CASE WHEN c THEN ai(x) END`; `ai(x) OR c` -> `CASE WHEN c THEN TRUE ELSE ai(x) END`.
DuckDB may evaluate both sides, in any order, and push one below a join; a CASE over the cheap ones, join conditions
included, cannot be evaluated before them. Where NULL and false differ (under NOT, in the SELECT list), the CASE keeps
SQL's three values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call, numbers_in
from aiq.plan.selectivity import rank, selectivity

if TYPE_CHECKING:
    from sqlglot import exp

Cost = Callable[[int], float]


def cheap_before_ai(tree: exp.Expr, cost: Cost) -> exp.Expr:
    """Orders the conditions of every AND and OR that has an AI call."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.Where, exp.Having, exp.Qualify)):
        if has_call(node.this):
            joined = _join_conditions(node.parent) if isinstance(node, exp.Where) else []
            node.set("this", _filter(node.this, cost, joined))
    for join in list(tree.find_all(exp.Join)):
        condition = join.args.get("on")
        if condition is not None and has_call(condition):
            join.set("on", _filter(condition, cost, _of_where(join)))
    if isinstance(tree, exp.Merge) and isinstance(tree.args.get("on"), exp.Expr) and has_call(tree.args["on"]):
        tree.set("on", _filter(tree.args["on"], cost, []))
    for connector in list(tree.find_all(exp.And, exp.Or)):
        place = connector.parent.parent if isinstance(connector.parent, exp.Paren) else connector.parent
        if not isinstance(place, exp.Connector | exp.Where | exp.Having | exp.Qualify | exp.Join | exp.Merge):
            _replace(connector, cost)
    return tree


def _replace(node: exp.Connector, cost: Cost) -> None:
    made = _value(node, cost)
    if made is not node:
        node.replace(made)


def _split(condition: exp.Expr, cost: Cost) -> tuple[list[exp.Expr], list[exp.Expr]]:
    """The cheap parts of an AND or OR, and those with calls, those that save most a dollar first; ties as written."""
    from sqlglot import exp

    def order(part: exp.Expr) -> float:
        share = selectivity(part)
        return rank(sum(map(cost, numbers_in(part))), 1 - share if isinstance(condition, exp.Or) else share)

    parts = list(condition.flatten())
    dear = sorted((part for part in parts if has_call(part)), key=order)
    return [part for part in parts if not has_call(part)], dear


def _filter(condition: exp.Expr, cost: Cost, also: list[exp.Expr]) -> exp.Expr:
    """A condition that only keeps or drops a row. `also` are cheap ones that hold for every row of the result."""
    from sqlglot import exp

    if not has_call(condition):
        return condition
    if isinstance(condition, exp.Paren):
        return exp.Paren(this=_filter(condition.this, cost, also))
    if isinstance(condition, exp.Or):
        cheap, dear = _split(condition, cost)
        chain = _filter(dear[-1], cost, [])
        for part in reversed(dear[:-1]):
            chain = _case(_filter(part, cost, []), exp.true(), chain)
        if cheap:
            chain = _case(exp.or_(*cheap), exp.true(), chain)
        chain = chain if not also else _case(exp.and_(*also), chain)
        implied = [_cheap_part(part) for part in condition.flatten()]
        if any(each is None for each in implied):
            return chain
        return exp.and_(exp.or_(*(each for each in implied if each is not None)), chain, copy=False)
    if isinstance(condition, exp.And):
        cheap, dear = _split(condition, cost)
    else:
        cheap, dear = [], [condition]
    guards = [*also, *cheap]
    chain = dear[-1] if dear[-1] is condition else _filter(dear[-1], cost, [])
    for part in reversed(dear[:-1]):
        chain = _case(_filter(part, cost, []), chain)
    if guards:
        chain = _case(exp.and_(*guards), chain)
    return exp.and_(*(part.copy() for part in cheap), chain, copy=False)


def _cheap_part(branch: exp.Expr) -> exp.Expr | None:
    """What must hold without any call for a branch of an OR to hold: it may be what two tables are joined by."""
    from sqlglot import exp

    inner = branch.unnest()
    parts = inner.flatten() if isinstance(inner, exp.And) else [inner]
    cheap = [part.copy() for part in parts if not has_call(part)]
    return exp.and_(*cheap) if cheap else None


def _value(condition: exp.Connector, cost: Cost) -> exp.Expr:
    """A condition whose three values count."""
    from sqlglot import exp

    cheap, dear = _split(condition, cost)
    if not dear or not cheap:
        return condition
    if isinstance(condition, exp.Or):
        rest = exp.or_(*(part.copy() for part in [*cheap, *dear]))
        return _case(exp.or_(*cheap), exp.true(), rest)
    rest = exp.and_(*(part.copy() for part in [*cheap, *dear]))
    return _case(exp.not_(exp.paren(exp.and_(*cheap))), exp.false(), rest)


def _case(guard: exp.Expr, then: exp.Expr, otherwise: exp.Expr | None = None) -> exp.Case:
    from sqlglot import exp

    made = exp.Case(ifs=[exp.If(this=guard.copy(), true=then.copy())])
    if otherwise is not None:
        made.set("default", otherwise.copy())
    return made


def _of_where(join: exp.Join) -> list[exp.Expr]:
    """The cheap conditions of WHERE that hold for every row of an inner join, where it is the only one."""
    from sqlglot import exp

    select = join.parent
    if not isinstance(select, exp.Select) or join.side or join.args.get("method") or len(select.args["joins"]) > 1:
        return []
    where = select.args.get("where")
    if where is None:
        return []
    parts = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    return [part for part in parts if not has_call(part) and not part.find(exp.Subquery, exp.Case)]


def _join_conditions(select: exp.Expr | None) -> list[exp.Expr]:
    """Conditions of inner joins: what stops a predicate from being evaluated before the join."""
    from sqlglot import exp

    found: list[exp.Expr] = []
    for join in (select.args.get("joins") or []) if isinstance(select, exp.Select) else []:
        if join.side in ("RIGHT", "FULL"):
            found = []  # adds rows that no earlier condition holds for
        if join.side or (join.kind and join.kind.upper() not in ("INNER", "CROSS")) or join.args.get("method"):
            continue
        condition, using = join.args.get("on"), join.args.get("using")
        if condition is not None and not has_call(condition):
            found.append(condition)
        elif using and join.this.alias_or_name:
            table = join.this.alias_or_name
            found += [exp.column(column.name, table=table).is_(exp.null()).not_() for column in using]
    return found
