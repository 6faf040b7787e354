"""Takes SELECT items apart: what can be computed before any answer is there, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiq.plan.numbered import has_call, is_call

if TYPE_CHECKING:
    from sqlglot import exp


def separate(items: Sequence[exp.Expr]) -> tuple[list[exp.Expr], list[exp.Expr]]:
    """Requests and columns beside them as `__aiq_r<n>` columns of an inner query, and all items over that query.

    Items with calls must have an alias; other items are read from the inner query by their name.
    """
    from sqlglot import exp

    inner: list[exp.Expr] = []

    def below(node: exp.Expr) -> exp.Expr:
        name = f"__aiq_r{len(inner) + 1}"
        inner.append(exp.alias_(node.copy(), name))
        return exp.column(name)

    def above(node: exp.Expr) -> exp.Expr:
        if is_call(node):
            made: exp.Expr = node.copy()
            arguments = [above(part) if has_call(part) else below(part) for part in node.expressions[1:]]
            made.set("expressions", [node.expressions[0].copy(), *arguments])
            return made
        if not has_call(node):
            return below(node) if node.find(exp.Column) else node.copy()
        made = node.copy()
        for key, value in node.args.items():
            if isinstance(value, exp.Expr):
                made.set(key, above(value))
            elif isinstance(value, list):
                made.set(key, [above(item) if isinstance(item, exp.Expr) else item for item in value])
        return made

    outer = [
        exp.alias_(above(item.this), item.alias, quoted=True)
        if has_call(item)
        else exp.column(exp.to_identifier(item.alias_or_name, quoted=True))
        for item in items
    ]
    return inner, outer
