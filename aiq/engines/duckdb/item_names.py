"""Items of a SELECT list that a later one names, in translated Databricks SQL: `SELECT a || 'x' AS p, length(p) AS n`.

DuckDB chooses between the forms of a macro before it looks at such names, so the expression is put in their place
where a macro reads one. A column of the tables comes first, as in both dialects.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import duckdb

from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.rewrite.tree import Node, NodePlace, Query
from aiq.engines.duckdb.set_types import VIEW, Types, describing, query_nodes
from aiq.sql.databricks.aggregated import OVER_ROWS, with_typed_aggregates
from aiq.sql.databricks.macros import FUNCTION, SCHEMA
from aiq.sql.databricks.words import quoted

_LONGEST = 200_000
"""Letters of a statement: an item that names one that names one grows quickly."""


def with_named_items(con: duckdb.DuckDBPyConnection, text: str) -> str:
    """A translated statement in which macros read the expressions of items, not their names."""
    for start, end, before in sorted(_places_of_queries(text), reverse=True):
        query = tree.read(before + text[start:end])
        if query is None or not _spell_out(con, text, query):
            continue
        printed = query.text()
        if printed is None or len(printed) > _LONGEST or not printed.startswith(before):
            continue
        text = f"{text[:start]} {with_typed_aggregates(printed[len(before) :])}{text[end:]}"
    return text


def _places_of_queries(text: str) -> list[tuple[int, int, str]]:
    """Where queries stand in a statement, and what has to stand before each to make it one: nothing, or SELECT."""
    if (view := VIEW.match(text)) is not None:
        return [(view.end(), len(text), "")]
    if (found := parts(text)) is None:
        return []
    if found.query is not None:
        return [(found.query.start, found.query.end, "")]
    whens = [span for when in found.whens for span in (when.condition, *when.values)]
    values = [span for span in (found.where, *found.values, *whens) if span is not None]
    sources = [] if found.source is None else [(found.source.start, found.source.end, "SELECT * FROM ")]
    return sources + [(span.start, span.end, "SELECT ") for span in values]


def _spell_out(con: duckdb.DuckDBPyConnection, text: str, query: Query) -> bool:
    """Puts expressions in the place of names, in all SELECTs of a query. False where there are none."""
    columns = describing(con, text, names=True)
    made = False
    for select, ctes in list(query_nodes(query.node, [], "SELECT_NODE")):
        if not any(each["alias"] for each in select["select_list"]):
            continue
        alone = query.with_node(tree.selected(select, [tree.expression("*")]))
        alone.node["cte_map"]["map"] = tree.copied(ctes)
        made |= _Items(select, partial(columns, alone)).spelled_out()
    return made


class _Items:
    """The items of one SELECT. `columns` gives the names of the columns of its tables, None where DuckDB cannot say."""

    def __init__(self, select: Node, columns: Callable[[], Types]) -> None:
        self._select, self._items, self._columns = select, select["select_list"], columns
        self._tables = {
            str(node.get("alias") or node.get("table_name", "")).lower()
            for node in tree.nodes(select["from_table"], into_queries=False)
        }
        self._meanings: dict[str, Node] = {}

    def spelled_out(self) -> bool:
        """Puts expressions in the place of names; False where there are none."""
        named = {each["alias"].lower() for each in self._items if each["alias"]}
        parts: list[tuple[Any, Any]] = [(self._items, at) for at in range(len(self._items))]
        parts += [(self._select, "qualify"), (self._select, "having")]
        read = {_first(place.node) for holder, key in parts for place in _names({"part": holder[key]}) if _needs(place)}
        made = self._in_order(named)
        columns = self._columns() if read & named and self._select["from_table"]["type"] != "EMPTY" else []
        if not read & named or columns is None:
            return made
        known = {name.lower() for name in columns}
        for holder, key in parts:
            made |= self._replaced(holder, key, _needs)
            if holder is self._items and (name := holder[key]["alias"].lower()) and name not in known:
                self._remember(name, holder[key])
        return made

    def _in_order(self, named: set[str]) -> bool:
        """ORDER BY reads items before columns, in Spark within an expression, too."""
        order = tree.modifier(self._select, "ORDER_MODIFIER")
        keys = [] if order is None else [each for each in order["orders"] if tree.bare_name(each["expression"]) is None]
        if not {_first(place.node) for key in keys for place in _names({"key": key["expression"]})} & named:
            return False
        for item in self._items:
            if item["alias"]:
                self._remember(item["alias"].lower(), item)
        made = [self._replaced(key, "expression", _of_one_row) for key in keys]
        self._meanings = {}
        return any(made)

    def _remember(self, name: str, item: Node) -> None:
        """What an item of this name means, with no name of another item in it."""
        holder = {"item": tree.copied(item)}
        self._replaced(holder, "item", lambda place: True)
        volatile = engine.volatile_functions(duckdb.__version__)
        if any(tree.name_of(node) in volatile for node in tree.nodes(holder["item"])):
            self._meanings.pop(name, None)  # another evaluation gives another value
        else:
            self._meanings[name] = {**holder["item"], "alias": ""}

    def _replaced(self, holder: Any, key: Any, wanted: Callable[[NodePlace], bool]) -> bool:
        """Whether some of the wanted names below `holder[key]` were names of items."""
        part = {"part": holder[key]}
        made = False
        for place in [each for each in _names(part) if wanted(each)]:
            names = place.node["column_names"]
            meaning = self._meanings.get(_first(place.node))
            if meaning is None or (len(names) > 1 and _first(place.node) in self._tables):
                continue
            made, node = True, tree.copied(meaning)
            for field in names[1:]:
                node = tree.expression(f"struct_extract(x, {quoted(field)})", x=node)
            place.replace({**node, "alias": place.node["alias"]})
            if any(map(_computes_rows, tree.nodes(meaning))):
                _read_as_text(place)
        holder[key] = part["part"]
        return made


def _names(root: Any) -> list[NodePlace]:
    """The columns below a node, without those that a lambda names itself."""
    return [
        place
        for place in tree.places(root)
        if place.node["type"] == "COLUMN_REF"
        and not any(
            _first(place.node) in tree.bare_names(above.node["lhs"])
            for above in place.above
            if above.node["type"] == "LAMBDA"
        )
    ]


def _first(column: Node) -> str:
    return str(column["column_names"][0]).lower()


def _needs(place: NodePlace) -> bool:
    """Whether DuckDB needs to know what a name stands for: a macro reads it, or a field of it is read."""
    return len(place.node["column_names"]) > 1 or any(_is_ours(above.node) for above in place.above)


def _of_one_row(place: NodePlace) -> bool:
    return not any(_computes_rows(above.node) for above in place.above)


def _is_ours(node: Node) -> bool:
    called = node.get("class") == "FUNCTION"
    return called and (node["schema"] == SCHEMA or tree.name_of(node).startswith(FUNCTION))


def _computes_rows(node: Node) -> bool:
    return node.get("class") == "WINDOW" or tree.name_of(node) in OVER_ROWS


def _read_as_text(place: NodePlace) -> None:
    """`piece(count(*), ..)` as the text of any value, which needs no type when the statement is bound."""
    around = next((above.node for above in reversed(place.above) if _is_ours(above.node)), None)
    if around is not None and tree.name_of(around) == "piece":
        name = f"{FUNCTION}text"
        around.update(function_name=name, schema="", qualified_name={"path": [name]}, arguments=around["arguments"][:1])
