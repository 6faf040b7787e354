"""What DuckDB's functions make a value of: several rows, or each row alone."""

from __future__ import annotations

from functools import cache

from aiq.engines.duckdb.rewrite.tree import Node, name_of, nodes, read, reader


@cache
def functions_of_kind(kind: str) -> frozenset[str]:
    """DuckDB's functions of a kind (aggregate, scalar, macro), in lower case."""
    rows = reader().execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type = $1", [kind]
    )
    return frozenset(name for (name,) in rows.fetchall())


def is_aggregate(node: Node) -> bool:
    """Whether a function makes one value of several rows, as far as its name tells; that of a macro does not."""
    return (
        node.get("class") == "FUNCTION" and not node["is_operator"] and name_of(node) in functions_of_kind("aggregate")
    )


def is_scalar(node: Node) -> bool:
    """Whether a function is one of DuckDB's own that makes a value of each row alone."""
    return node.get("class") == "FUNCTION" and (
        node["is_operator"]
        or name_of(node) == "if"  # which no list of functions has
        or name_of(node) in functions_of_kind("scalar") - functions_of_kind("aggregate")
        or (name_of(node) in functions_of_kind("macro") and name_of(node) in _macros_of_one_row())
    )


@cache
def _macros_of_one_row() -> frozenset[str]:
    """DuckDB's own macros that are made of functions of one row."""
    rows = reader().execute(
        "SELECT lower(function_name), macro_definition FROM duckdb_functions() WHERE function_type = 'macro'"
    )
    definitions = {name: read(f"SELECT {definition}") for name, definition in rows.fetchall()}
    found: frozenset[str] = frozenset()
    while True:  # a macro may be made of others
        more = {
            name
            for name, query in definitions.items()
            if query is not None and all(_of_one_row(node, found) for node in nodes(query.node["select_list"]))
        }
        if more == found:
            return found
        found = frozenset(more)


def _of_one_row(node: Node, macros: frozenset[str]) -> bool:
    if node.get("class") in ("WINDOW", "SUBQUERY"):
        return False
    own = functions_of_kind("scalar") - functions_of_kind("aggregate")
    return node.get("class") != "FUNCTION" or node["is_operator"] or name_of(node) in own | macros
