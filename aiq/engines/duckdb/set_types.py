"""Set operations of Databricks' SQL whose sides have different types: DuckDB is asked for them before it runs.

Of a number and a text DuckDB makes texts, and Spark numbers or an error; of a FLOAT and an INT a FLOAT, and Spark a
DOUBLE. Where the column would have another type than Spark's, the statement is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import duckdb

from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.frames import call_seeing, variables_of_caller
from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.rewrite.tree import Node, Query
from aiq.errors import FunctionError
from aiq.functions.signature import FUNCTION
from aiq.functions.types import duckdb_type, parse_type
from aiq.sql import calls
from aiq.sql.databricks.common_types import common_type
from aiq.sql.databricks.words import refused

_SET_WORD = re.compile(r"\b(union|intersect|except)\b", re.IGNORECASE)
VIEW = re.compile(r"\s*create\b.*?\bview\b.*?\bas\b", re.IGNORECASE | re.DOTALL)
_NULL = '"NULL"'
TYPE_NAMES = {
    "INTEGER": "INT", "VARCHAR": "STRING", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP", "TIMESTAMP": "TIMESTAMP_NTZ",
    "BLOB": "BINARY", "JSON": "VARIANT",
}  # fmt: skip
Types = list[str] | None
Describe = Callable[[Query], Types]


def check_set_operations(con: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises StatementError where a UNION of a translated statement would have a type that is not Spark's.

    `SELECT i FROM t UNION ALL SELECT s FROM t`, `s` a STRING. What DuckDB cannot look at alone is left as it is.
    """
    if _SET_WORD.search(text) is None:
        return
    for query in queries_of(text):
        describe = describing(con, text)
        for node, ctes in query_nodes(query.node, [], "SET_OPERATION_NODE"):
            _check(query, node, ctes, describe)


def queries_of(text: str) -> list[Query]:
    """The queries of a statement: of a SELECT, an INSERT, a CREATE TABLE AS, a view; what a change reads."""
    if (view := VIEW.match(text)) is not None:
        texts = [text[view.end() :]]
    elif (found := parts(text)) is None:
        return []
    elif found.query is not None:
        texts = [found.query.of(text)]
    else:
        sources = [part.of(text) for part in (found.target, found.source) if part is not None]
        condition = "TRUE" if found.where is None else found.where.of(text)
        texts = [f"SELECT 1 FROM {', '.join(sources)} WHERE {condition}"] if sources else []
    return [query for each in texts if (query := tree.read(each)) is not None]


def query_nodes(value: Any, ctes: list[Node], kind: str) -> Iterator[tuple[Node, list[Node]]]:
    """The query nodes of a kind in a tree, inner ones first, each with the CTEs that it may name."""
    if isinstance(value, list):
        for each in value:
            yield from query_nodes(each, ctes, kind)
    elif isinstance(value, dict):
        if "cte_map" in value:
            own = value["cte_map"]["map"]
            for at, entry in enumerate(own):
                yield from query_nodes(entry["value"], [*ctes, *own[:at]], kind)
            ctes = [*ctes, *own]
        yield from query_nodes([part for key, part in value.items() if key != "cte_map"], ctes, kind)
        if value.get("type") == kind:
            yield value, ctes


def _check(query: Query, node: Node, ctes: list[Node], describe: Describe) -> None:
    def types(inner: Node) -> Types:
        alone = query.with_node(tree.copied(inner))
        alone.node["cte_map"]["map"] = [*tree.copied(ctes), *alone.node["cte_map"]["map"]]
        if inner is node:
            alone.node["cte_map"]["map"] = tree.copied(ctes)
        return describe(alone)

    sides = [types(child) for child in node["children"]]
    made = types(node)
    known = [each for each in sides if each is not None]
    if made is None or len(known) < len(sides) or len({len(made), *map(len, known)}) > 1:
        return
    for at, kind in enumerate(made):
        column = [each[at] for each in known]
        if reduce(lambda one, two: one and common_type(one, two), column) != kind:
            said = " and ".join(dict.fromkeys(TYPE_NAMES.get(each, each) for each in column if each != _NULL))
            word = node["setop_type"]
            raise refused(
                f"{word} of {said} in column {at + 1}",
                "mixes types by Spark's rules; CAST one to the type of the other",
            )


def describing(con: duckdb.DuckDBPyConnection, text: str, *, names: bool = False) -> Describe:
    """What DuckDB says of queries of a statement: the types of their columns, or the names.

    An error would end an open transaction, so it is asked beside one.
    """
    beside = con if engine.Transaction(con).own else con.cursor()
    variables = variables_of_caller(calls.identifiers(calls.tokenize(text)))

    def describe(query: Query) -> Types:
        query = query.copy()
        for place in tree.places({"root": query.node}, into_queries=True):
            node = place.node
            called = node.get("class") == "FUNCTION" and tree.name_of(node).startswith("ai_")
            if called or node.get("class") == "PARAMETER":
                place.replace({**tree.expression(_answer(node) if called else "NULL"), "alias": node.get("alias", "")})
        printed = query.text()
        if printed is None:
            return None
        try:
            rows = call_seeing(variables, beside.execute, f"DESCRIBE {printed}").fetchall()
        except duckdb.Error:
            return None
        return [row[0 if names else 1] for row in rows]

    return describe


def _answer(call: Node) -> str:
    """A NULL of the type of a call's answer, where that is plain; else one of no type."""
    written = [(each["name"].lower(), each["expression"]) for each in call["arguments"][2:]]
    if tree.name_of(call) != FUNCTION or any(name != "returntype" for name, _ in written):
        return "NULL"
    try:
        kind = duckdb_type(parse_type(written[0][1]["literal"]["text"])) if written else "VARCHAR"
    except (FunctionError, KeyError):
        return "NULL"
    return f"CAST(NULL AS {kind})"
