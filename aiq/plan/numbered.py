"""Numbered calls in a syntax tree: `__aiq_<type>(<number>, request, ...)`, as statements are rewritten to."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from sqlglot import exp

PREFIX = "__aiq_"


def is_call(node: exp.Expr | None) -> TypeGuard[exp.Anonymous]:
    """True for a numbered call itself."""
    from sqlglot import exp

    return isinstance(node, exp.Anonymous) and node.name.lower().startswith(PREFIX) and bool(node.expressions)


def number_of(call: exp.Anonymous) -> int:
    """The call site's number."""
    return int(call.expressions[0].name)


def has_call(node: exp.Expr | None) -> bool:
    """True where a numbered call is in the tree, at any depth."""
    from sqlglot import exp

    return node is not None and any(is_call(found) for found in node.find_all(exp.Anonymous))


def numbers_in(node: exp.Expr) -> list[int]:
    """The numbers of all calls in a tree."""
    from sqlglot import exp

    return [number_of(found) for found in node.find_all(exp.Anonymous) if is_call(found)]


def may_aggregate(node: exp.Expr) -> bool:
    """Whether a tree combines rows, or may: a function that sqlglot does not know could be an aggregate, or a macro."""
    from sqlglot import exp

    return any(
        isinstance(found, exp.Window | exp.AggFunc) or (isinstance(found, exp.Anonymous) and not is_call(found))
        for found in node.walk()
    )
