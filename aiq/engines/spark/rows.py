"""Rows with calls on them that nobody has answered yet: what `blocks` moves up, and `lifting` has answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiq.engines.spark.catalyst import Node


@dataclass(frozen=True)
class PlanCall:
    """One call on the rows of a plan: the column of its answer, the number of its site, and its request and files."""

    column: Node
    site: int
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Block:
    """Rows of `core` with calls on them that nobody has answered yet.

    `conditions` on answers are still to be applied; `items` are columns that are made of answers, by id; `output` are
    the columns that the plan gave; `order` is what its rows are to be sorted by once more, because answers are joined.
    """

    core: Node
    output: tuple[Node, ...]
    calls: tuple[PlanCall, ...] = ()
    conditions: tuple[Node, ...] = ()
    items: dict[int, Node] = field(default_factory=dict)
    order: tuple[Node, ...] = ()
