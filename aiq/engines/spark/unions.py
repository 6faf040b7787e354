"""UNION ALL below a LIMIT: the calls of its parts become calls on the rows of all of them, so that a LIMIT comes first.

`SELECT f(a) AS x FROM t UNION ALL SELECT g(b) FROM u` is rows of (part, a, b) with `x = IF(part = 0, f(a), g(b))`.
Knows plans; must never know how answers are had.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.rows import Block, PlanCall


def united(catalyst: Catalyst, union: Node, parts: Sequence[Block]) -> Block:
    """The rows of a UNION ALL, given those of its parts, which have no order of their own.

    Each part has the columns of all: its own values, and NULL in the columns that other parts read for their calls.
    """
    columns = catalyst.output(union)
    asks = [{catalyst.id(call.column) for call in part.calls} | part.items.keys() for part in parts]
    read = [_read_for_answers(catalyst, part) for part in parts]
    cores = []
    for i, part in enumerate(parts):
        shown = [catalyst.null_like(c) if catalyst.id(c) in asks[i] else c for c in part.output]
        others = [c if i == owner else catalyst.null_like(c) for owner, listed in enumerate(read) for c in listed]
        made = [catalyst.new_column(value, "value") for value in (*shown, catalyst.number(i), *others)]
        cores.append(catalyst.project(made, part.core))
    core = catalyst.with_children(union, cores)
    found = catalyst.output(core)
    values, part_number, rest = found[: len(columns)], found[len(columns)], iter(found[len(columns) + 1 :])

    calls: list[PlanCall] = []
    condition: Node | None = None
    items: dict[int, Node] = {}
    for i, part in enumerate(parts):
        here = catalyst.equal(part_number, catalyst.number(i))
        meanings = {catalyst.id(column): next(rest) for column in read[i]}
        meanings |= {catalyst.id(c.column): catalyst.new_column(c.column, "answer").toAttribute() for c in part.calls}
        for call in part.calls:
            request, *files = (catalyst.substituted(argument, meanings) for argument in call.arguments)
            column = meanings[catalyst.id(call.column)]
            calls.append(PlanCall(column, call.site, (catalyst.only_if(here, request), *files)))
        if (own := catalyst.all(part.conditions)) is not None:  # one for all parts, so that they are asked together
            condition = catalyst.only_if(here, catalyst.substituted(own, meanings), condition or catalyst.true())
        for column, value, shown_as in zip(columns, values, part.output, strict=True):
            if (id := catalyst.id(shown_as)) in asks[i]:
                meaning = catalyst.substituted(part.items.get(id, shown_as), meanings)
                number = catalyst.id(column)
                items[number] = catalyst.only_if(here, meaning, items.get(number, value))
    named = [
        value if catalyst.id(column) in items else catalyst.alias(value, column)
        for column, value in zip(columns, values, strict=True)
    ]
    core = catalyst.project([*named, *found[len(columns) :]], core)
    return Block(core, tuple(columns), tuple(calls), () if condition is None else (condition,), items)


def _read_for_answers(catalyst: Catalyst, part: Block) -> list[Node]:
    """The columns of a part's rows that its calls, and what is made of their answers, are computed from."""
    made = [*part.items.values(), *part.conditions, *(a for call in part.calls for a in call.arguments)]
    read = catalyst.all_references(made)
    return [column for column in catalyst.output(part.core) if catalyst.id(column) in read]
