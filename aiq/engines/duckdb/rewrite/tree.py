"""DuckDB's own parse tree of a query, as plain dictionaries: read by DuckDB, changed here, printed by DuckDB.

`json_serialize_sql` gives the tree and `json_deserialize_sql` prints it; what was printed counts only if DuckDB reads
it back as the same tree. Nodes are the dictionaries of that JSON; a rule changes them in place.
Source: https://duckdb.org/docs/stable/data/json/sql_to_and_from_json
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import duckdb
import orjson

Node = dict[str, Any]
"""A query node, an expression, a table reference or a part of one."""

_NOT_MEANT = ("query_location", "has_ignore_nulls")
_PLACES = re.compile(r'"query_location(?:_length)?":\d+,|,"query_location(?:_length)?":\d+(?=\})')
"""In JSON as DuckDB prints it; a text of a user's has its quotes escaped."""
_SETS = {"exclude_list", "qualified_exclude_list", "replace_list", "rename_list"}
T = TypeVar("T")
_thread = threading.local()
MAX_DEPTH = 300
_HOLDERS = frozenset((dict, list))
"""What in JSON may hold a node."""


def reader() -> duckdb.DuckDBPyConnection:
    """A database of our own to read with: people's connections may be in the middle of a transaction."""
    con: duckdb.DuckDBPyConnection | None = getattr(_thread, "reader", None)
    if con is None:
        con = _thread.reader = duckdb.connect(config={"threads": 1})
    return con


class Query:
    """One query (SELECT, VALUES, FROM, set operations, WITH) as a tree that may be changed."""

    def __init__(self, root: Node, around: Node) -> None:
        self.node, self._around = root, around

    def copy(self) -> Query:
        """The same query, to be changed alone."""
        return Query(copied(self.node), self._around)

    def with_node(self, node: Node) -> Query:
        """Another query node in the place of this one's."""
        return Query(node, self._around)

    def text(self) -> str | None:
        """The query as DuckDB prints it; None where DuckDB would not read that text as this tree."""
        printed = _printed({**self._around, "node": self.node})
        if printed is None:
            return None
        again = read(printed)
        return printed if again is not None and same(again.node, self.node) else None


def read(text: str, *, with_places: bool = False) -> Query | None:
    """The tree of a text that is one query for DuckDB; None for any other text.

    `with_places` keeps `query_location`, where in the text, in bytes, a node stands.
    """
    try:
        printed: str = reader().execute("SELECT json_serialize_sql($1)", [text]).fetchall()[0][0]
        found = orjson.loads(printed if with_places else _PLACES.sub("", printed))
    except (duckdb.Error, orjson.JSONDecodeError):
        return None
    if found["error"] or len(found["statements"]) != 1 or not _within_depth(found):
        return None
    around = found["statements"][0]
    return Query(around["node"], around)


def kind_of(text: str) -> str:
    """What DuckDB calls a statement of this kind: SELECT, INSERT, MULTI, ...; '' where it is none."""
    try:
        found = reader().extract_statements(text)
    except duckdb.Error:
        return ""
    return found[0].type.name if found else ""


def expression(text: str, **parts: Node) -> Node:
    """The tree of an expression. A column called as one of `parts` stands for it: `expression("NOT a", a=node)`."""
    found: Node = copied(_template(f"SELECT {text}").node["select_list"][0])
    if not parts:
        return found
    holder = {"made": found}
    for at in places(holder, into_queries=True):
        node = at.node
        if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1 and node["column_names"][0] in parts:
            at.replace(copied(parts[node["column_names"][0]]))
    made: Node = holder["made"]
    return made


@cache
def _template(text: str) -> Query:
    """A query that is ours, to be copied."""
    query = read(text)
    assert query is not None, text
    return query


def expression_text(node: Node) -> str | None:
    """An expression as DuckDB prints it; None where DuckDB would read something else."""
    query = _template("SELECT 1").copy()
    query.node["select_list"] = [{**node, "alias": ""}]
    printed = query.text()
    return None if printed is None else printed.removeprefix("SELECT ")


def _printed(statement: Node) -> str | None:
    try:
        text = orjson.dumps({"error": False, "statements": [statement]}).decode()
        printed: str = reader().execute("SELECT json_deserialize_sql($1)", [text]).fetchall()[0][0]
    except (duckdb.Error, TypeError):  # orjson's word for a tree that is too deep
        return None
    return printed.rstrip().rstrip(";")


class NodePlace(NamedTuple):
    """Where a node is: `holder[key]`, and the places around it, the nearest last."""

    node: Node
    holder: Any
    key: Any
    above: tuple[NodePlace, ...] = ()

    def replace(self, node: Node) -> None:
        """Puts another node here."""
        self.holder[self.key] = node


def places(root: Any, *, into_queries: bool = False, above: tuple[NodePlace, ...] = ()) -> Iterator[NodePlace]:
    """Every expression, table reference and query node below `root`, outer ones first; `root` itself is left out.

    `into_queries` False does not step into the subqueries of `root`. What replaces a node is not walked.
    """
    items = root.items() if isinstance(root, dict) else enumerate(root)
    for key, child in [item for item in items if item[1].__class__ in _HOLDERS]:
        if isinstance(child, list):
            yield from places(child, into_queries=into_queries, above=above)
        elif isinstance(child, dict):
            if _is_node(child):
                if "modifiers" in child and not into_queries:
                    continue
                place = NodePlace(child, root, key, above)
                yield place
                if root[key] is child:
                    yield from places(child, into_queries=into_queries, above=(*above, place))
            else:
                yield from places(child, into_queries=into_queries, above=above)


def _is_node(value: dict[str, Any]) -> bool:
    return "type" in value and ("class" in value or "sample" in value or "modifiers" in value)


def with_children(node: Node, made: Callable[[Node], Node]) -> Node:
    """A copy of a node in which `made` has made something else of each node right below it."""

    def below(value: Any) -> Any:
        if isinstance(value, list):
            return [below(item) for item in value]
        if isinstance(value, dict):
            return made(value) if _is_node(value) else {key: below(part) for key, part in value.items()}
        return value

    return {key: below(value) for key, value in node.items()}


def nodes(root: Any, *, into_queries: bool = True) -> Iterator[Node]:
    """Every node below `root`, and `root` where it is one."""
    if isinstance(root, dict) and "type" in root:
        yield root
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            if value is not root and _is_node(value):
                if "modifiers" in value and not into_queries:
                    continue
                yield value
            waiting += [part for part in reversed(value.values()) if part.__class__ in _HOLDERS]


def copied(root: T) -> T:
    """A tree to be changed alone; many times quicker than deepcopy."""
    made: T = orjson.loads(orjson.dumps(root))
    return made


def _within_depth(root: Any) -> bool:
    """Whether a tree is no deeper than Python code walks safely."""
    level, layer = 0, [root]
    while layer and level <= MAX_DEPTH:
        layer = [
            child
            for node in layer
            for child in (node.values() if node.__class__ is dict else node)
            if child.__class__ in _HOLDERS
        ]
        level += 1
    return not layer


def same(one: Any, other: Any) -> bool:
    """Whether two trees are the same but for the places of their nodes in a text."""
    return bool(one == other or _plain(one) == _plain(other))


def _plain(node: Any) -> Any:
    """A tree without places, in which what DuckDB prints in another way, meaning the same, has one form.

    So has VALUES, which is printed as `(SELECT * FROM (VALUES ..) AS valueslist)`.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _plain(value) for key, value in node.items() if not key.startswith(_NOT_MEANT)}
    for key in _SETS & made.keys():
        made[key] = sorted(made[key], key=orjson.dumps)
    if made.get("is_operator") and made["function_name"].isidentifier():
        made["is_operator"] = False  # LIKE .. ESCAPE is printed as the function that it is
    if made.get("name") and "expression" in made:
        made["expression"]["alias"] = ""  # of a named argument, DuckDB notes the name twice, or not
    kind = made.get("type")
    if kind == "EXPRESSION_LIST":
        return {"type": "VALUES", "values": made["values"]}
    if kind == "SELECT_NODE" and made["from_table"]["type"] == "VALUES":
        items = made["select_list"]
        star = len(items) == 1 and items[0] == _plain(expression("*"))
        if star and not any(
            made[key] for key in ("modifiers", "where_clause", "group_expressions", "having", "qualify")
        ):
            return {"type": "VALUES", "values": made["from_table"]["values"]}
    if kind == "SUBQUERY" and "subquery" in made and "class" not in made:
        query = made["subquery"]["node"]
        if query["type"] == "VALUES":
            names = made.get("column_name_alias") or []
            return {**query, "names": [made["alias"], *names]} if names else query
    return made


def column(*names: str) -> Node:
    """A column by its name, after its table's if that is given."""
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": list(names)}


def aliased(node: Node, name: str) -> Node:
    """An expression under a name."""
    return {**node, "alias": name}


def unaliased(node: Node) -> Node:
    """An expression without its name."""
    return {**node, "alias": ""} if node.get("alias") else node


def conjunction(parts: list[Node], kind: str = "CONJUNCTION_AND") -> Node:
    """AND (or, by `kind`, OR) of one or more conditions."""
    flat: list[Node] = []
    for part in parts:
        flat += part["children"] if part["type"] == kind else [part]
    if len(flat) == 1:
        return flat[0]
    return {"class": "CONJUNCTION", "type": kind, "alias": "", "children": flat}


def either(parts: list[Node]) -> Node:
    """OR of one or more conditions."""
    return conjunction(parts, "CONJUNCTION_OR")


def case(checks: list[tuple[Node, Node]], otherwise: Node | None = None) -> Node:
    """CASE WHEN .. THEN .. ELSE .. END; without `otherwise`, NULL."""
    return {
        "class": "CASE",
        "type": "CASE_EXPR",
        "alias": "",
        "case_checks": [{"when_expr": when, "then_expr": unaliased(then)} for when, then in checks],
        "else_expr": expression("NULL") if otherwise is None else unaliased(otherwise),
    }


def operator(kind: str, *children: Node) -> Node:
    """An operator of DuckDB's: OPERATOR_NOT, OPERATOR_IS_NULL, OPERATOR_COALESCE ..."""
    return {"class": "OPERATOR", "type": kind, "alias": "", "children": list(children)}


def negated(condition: Node) -> Node:
    """NOT."""
    return operator("OPERATOR_NOT", condition)


def is_null(node: Node) -> Node:
    """IS NULL."""
    return operator("OPERATOR_IS_NULL", node)


def select(items: list[Node], source: Node) -> Node:
    """SELECT items FROM source."""
    made = _template("SELECT 1").copy().node
    made["select_list"], made["from_table"] = items, source
    return made


def selected(query: Node, items: list[Node]) -> Node:
    """SELECT items FROM the tables of a SELECT, for all of their rows."""
    return {**select(items, copied(query["from_table"])), "cte_map": copied(query["cte_map"])}


def table(schema: str, name: str) -> Node:
    """A table reference by name."""
    made: Node = _template("SELECT 1 FROM s.t").copy().node["from_table"]
    made.update(table_name=name, schema_name=schema, qualified_name={"path": [schema, name]})
    return made


def subquery_table(query: Node, alias: str, columns: Sequence[str] = ()) -> Node:
    """A query as a table reference, its columns, or the first of them, called as given."""
    made: Node = _template("SELECT 1 FROM (SELECT 1) AS q").copy().node["from_table"]
    made["subquery"]["node"], made["alias"], made["column_name_alias"] = query, alias, list(columns)
    return made


def ascending(key: Node) -> Node:
    """ORDER BY key ASC, as one of a query's modifiers."""
    made: Node = _template("SELECT 1 ORDER BY 1 ASC").copy().node["modifiers"][0]
    made["orders"][0]["expression"] = key
    return made


def joins_of(source: Node) -> list[Node]:
    """The joins of a FROM, outer ones first."""
    if source["type"] != "JOIN":
        return []
    return [source, *joins_of(source["left"]), *joins_of(source["right"])]


def modifier(query: Node, kind: str) -> Node | None:
    """The ORDER_MODIFIER, LIMIT_MODIFIER or DISTINCT_MODIFIER of a query node, or None."""
    return next((found for found in query["modifiers"] if found["type"].startswith(kind)), None)


def integer_of(node: Node | None) -> int | None:
    """The number that an expression is as it stands, such as a position in ORDER BY; None where it is none."""
    literal = (node or {}).get("literal") or {}
    return int(literal["text"]) if literal.get("kind") == "INTEGER" and literal["text"].isdigit() else None


def name_of(function: Node) -> str:
    """A function's name in lower case; '' for any other node."""
    return str(function["function_name"]).lower() if function.get("class") in ("FUNCTION", "WINDOW") else ""


def bare_name(node: Node) -> str | None:
    """The name, in lower case, of a column that is named without its table; None for any other node."""
    bare = node["type"] == "COLUMN_REF" and len(node["column_names"]) == 1
    return str(node["column_names"][0]).lower() if bare else None


def bare_names(root: Any) -> set[str]:
    """The names of all such columns in a tree: those that may be an item of the SELECT list."""
    return {name for node in nodes(root) if (name := bare_name(node)) is not None}


def name_of_item(item: Node) -> str:
    """The name of a SELECT item in lower case: its alias, or that of the column that it is; '' for any other."""
    return str(item["alias"] or (item["column_names"][-1] if item["type"] == "COLUMN_REF" else "")).lower()
