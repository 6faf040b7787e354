"""The values that a MERGE writes behind what decides that it writes them.

`WHEN MATCHED AND c THEN UPDATE SET a = ai(x)` -> `... SET a = CASE WHEN <on> THEN CASE WHEN c THEN ai(x) END END`.
DuckDB computes the values of every WHEN for every row of the join, whichever is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call

if TYPE_CHECKING:
    from sqlglot import exp


def guard_merge(tree: exp.Expr, *, by_source: bool = True) -> exp.Expr:
    """Guards the values with AI calls of a MERGE; `by_source` also those of WHEN NOT MATCHED BY SOURCE."""
    from sqlglot import exp

    if not isinstance(tree, exp.Merge) or tree.args.get("using_cond") or not isinstance(tree.args.get("on"), exp.Expr):
        return tree
    on, using = tree.args["on"], tree.args["using"]
    joined = {
        "matched": on.copy(),
        "of source alone": exp.not_(exp.Exists(this=exp.select("1").from_(tree.this.copy()).where(on.copy()))),
        "of target alone": exp.not_(exp.Exists(this=exp.select("1").from_(using.copy()).where(on.copy()))),
    }
    earlier: dict[str, list[exp.Expr]] = {kind: [] for kind in joined}
    for when in tree.args["whens"].expressions:
        kind = _kind(when)
        condition = when.args.get("condition")
        for value in _values(when.args["then"]):
            if has_call(value) and (kind != "of target alone" or (by_source and not has_call(using))):
                value.replace(_guarded(value, joined[kind], earlier[kind], condition))
        earlier[kind].append(condition if condition is not None else exp.true())
    return tree


def _kind(when: exp.When) -> str:
    """Which rows of the join a WHEN takes."""
    if when.args.get("matched"):
        return "matched"
    return "of target alone" if when.args.get("source") else "of source alone"


def _values(then: exp.Expr) -> list[exp.Expr]:
    """The expressions that an action writes."""
    from sqlglot import exp

    if isinstance(then, exp.Update):
        return [pair.expression for pair in then.expressions if isinstance(pair, exp.EQ)]
    values = then.args.get("expression") if isinstance(then, exp.Insert) else None
    return list(values.expressions) if isinstance(values, exp.Tuple) else []


def _guarded(value: exp.Expr, joined: exp.Expr, earlier: list[exp.Expr], condition: exp.Expr | None) -> exp.Expr:
    from sqlglot import exp

    own = exp.true() if condition is None else condition
    branches = [*((one, exp.null()) for one in earlier), (own, value)]
    case = exp.Case(ifs=[exp.If(this=test.copy(), true=then.copy()) for test, then in branches])
    return exp.Case(ifs=[exp.If(this=joined.copy(), true=case)])
