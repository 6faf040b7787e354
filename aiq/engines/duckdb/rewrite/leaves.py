"""The tables of a FROM out of which a call may move, and what has to be known of the joins around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aiq.engines.duckdb.rewrite.numbered import has_call, may_aggregate
from aiq.engines.duckdb.rewrite.tree import Node, NodePlace, name_of, name_of_item, nodes, unaliased

_READ = {"INNER": ("left", "right"), "SEMI": ("left",), "ANTI": ("left",)}
_PADDED = {"LEFT": ("right",), "RIGHT": ("left",), "FULL": ("left", "right")}
"""By the kind of a join, the sides whose columns are NULL in rows that the other side has alone."""


class Leaf(NamedTuple):
    """A table at its place. `padded`: joins add rows to it in which all of its columns are NULL. `natural` are the
    other sides of the NATURAL joins around it, which are by the names that both have; `conditions` those that DuckDB
    takes no call in.
    """

    place: NodePlace
    padded: bool = False
    natural: tuple[Node, ...] = ()
    conditions: tuple[Node, ...] = ()


def leaves(select: Node) -> Iterator[Leaf]:
    """The tables of a FROM whose columns come through its joins as they are, or as NULL."""
    yield from _below(Leaf(NodePlace(select["from_table"], select, "from_table")))


def _below(leaf: Leaf) -> Iterator[Leaf]:
    node = leaf.place.node
    if node["type"] != "JOIN":
        yield leaf
        return
    kind, how = node["join_type"], node["ref_type"]
    if how not in ("REGULAR", "CROSS", "NATURAL", "ASOF", "POSITIONAL"):
        return
    for side, other in (("left", "right"), ("right", "left")):
        if side not in _READ.get(kind, ("left", "right")):
            continue
        natural = (*leaf.natural, node[other]) if how == "NATURAL" else leaf.natural
        own = (*leaf.conditions, node["condition"]) if how == "ASOF" and node["condition"] else leaf.conditions
        padded = leaf.padded or how == "POSITIONAL" or side in _PADDED.get(kind, ())
        yield from _below(Leaf(NodePlace(node[side], node, side), padded, natural, own))


def of_outer(inner: Node, volatile: frozenset[str]) -> dict[str, Node] | None:
    """The columns, by their names in lower case, of a query without a FROM: `LATERAL (SELECT ai(t.x) AS a)`.

    None where it is more than expressions over the columns of tables beside it.
    """
    plain = inner["type"] == "SELECT_NODE" and inner["from_table"]["type"] == "EMPTY" and not inner["modifiers"]
    others = ("where_clause", "group_expressions", "group_sets", "having", "qualify", "sample")
    if not plain or any(inner[name] for name in others) or inner["cte_map"]["map"]:
        return None
    found: dict[str, Node] = {}
    for item in inner["select_list"]:
        parts = list(nodes(item))
        alone = not may_aggregate(item) and not any(
            part["type"] == "STAR" or part.get("class") == "SUBQUERY" or name_of(part) in volatile for part in parts
        )
        name = name_of_item(item)
        if not alone or not name or name in found:
            return None
        found[name] = unaliased(item)
    own = set(found)
    if any(
        part["type"] == "COLUMN_REF" and part["column_names"][0].lower() in own for part in nodes([*found.values()])
    ):
        return None  # above, such a name may be that of the item
    return found if any(map(has_call, found.values())) else None
