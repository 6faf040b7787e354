"""Numbered calls in a tree: `__aiq_<type>(<number>, request, ...)`, as statements are rewritten to."""

from __future__ import annotations

from typing import Any

from aiq.engines.duckdb.rewrite.function_kinds import is_scalar
from aiq.engines.duckdb.rewrite.tree import Node, expression, name_of, nodes, places

PREFIX = "__aiq_"
TYPE = "left(typeof({}), 30)"
"""The type of a request, for what Arrow has no type of its own; that of an ENUM would hold all of its values."""


def is_call(node: Node) -> bool:
    """True for a numbered call itself."""
    return node.get("class") == "FUNCTION" and name_of(node).startswith(PREFIX) and bool(node["arguments"])


def number_of(call: Node) -> int:
    """The call site's number."""
    return int(call["arguments"][0]["expression"]["literal"]["text"])


def requests_of(call: Node) -> list[Node]:
    """The request of a call, and its files where it has some."""
    return [argument["expression"] for argument in call["arguments"][1 : 2 if _is_typed(call) else None]]


def with_requests(call: Node, requests: list[Node]) -> Node:
    """The same call with other requests."""
    first, *others = call["arguments"]
    made = [{**argument, "expression": request} for argument, request in zip(others, requests, strict=False)]
    if _is_typed(call):
        made += [others[1], {**others[2], "expression": expression(TYPE.format("r"), r=requests[0])}]
    return {**call, "arguments": [first, *made]}


def _is_typed(call: Node) -> bool:
    """Whether a call is told the type of its request, which stands behind the place of its files."""
    return len(call["arguments"]) == 4


def has_call(root: Any) -> bool:
    """True where a numbered call is in a tree, at any depth."""
    return any(is_call(node) for node in nodes(root))


def numbers_in(root: Any) -> list[int]:
    """The numbers of all calls in a tree."""
    return [number_of(node) for node in nodes(root) if is_call(node)]


def may_aggregate(root: Node) -> bool:
    """Whether an expression combines rows, or may: a function that is not DuckDB's own scalar one may be a macro."""
    return any(
        node.get("class") == "WINDOW" or (node.get("class") == "FUNCTION" and not is_call(node) and not is_scalar(node))
        for node in nodes(root)
    )


def selects(root: Any) -> list[Node]:
    """The SELECT nodes of a tree, outer ones first."""
    return [node for node in nodes(root) if node["type"] == "SELECT_NODE"]


def calls_with_places(root: Any) -> list[tuple[Node, tuple[Node, ...]]]:
    """Each numbered call of a tree with the nodes around it, the outermost first."""
    found = places({"root": root}, into_queries=True)
    return [(place.node, tuple(above.node for above in place.above)) for place in found if is_call(place.node)]
