"""Views with AI calls, read as if their text stood in the statement that reads them, where it means the same there."""

from __future__ import annotations

from typing import NamedTuple

import duckdb

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.rewrite.tree import nodes
from aiq.functions.signature import FUNCTION
from aiq.sql import calls

MAX_VIEWS = 16


class Inlined(NamedTuple):
    """A text, and the definitions, in lower case, of the views that it does not read any more."""

    text: str
    definitions: frozenset[str] = frozenset()


def with_views(con: duckdb.DuckDBPyConnection, text: str) -> Inlined:
    """A statement with the queries of the views with AI calls that its query reads in their places.

    Only views of the current schema, whose tables nothing temporary hides: others may read tables by other rules.
    """
    inlined: set[str] = set()
    for _ in range(MAX_VIEWS):
        found = parts(text)
        query = (
            tree.read(found.query.of(text), with_places=True) if found is not None and found.query is not None else None
        )
        if found is None or found.query is None or query is None:
            break
        reads = [node for node in nodes(query.node) if node["type"] == "BASE_TABLE" and not node["schema_name"]]
        hidden = {
            entry["key"].lower() for node in nodes(query.node) for entry in (node.get("cte_map") or {"map": []})["map"]
        }
        views = _views(con, {node["table_name"].lower() for node in reads} - hidden)
        node = next((node for node in reads if node["table_name"].lower() in views and not node["at_clause"]), None)
        if node is None:
            break
        name = node["table_name"]
        body, definition = views[name.lower()]
        data = found.query.of(text).encode()
        start = node["query_location"]
        token = next(iter(calls.tokenize(data[start:].decode())), None)
        if token is None or token.text.lower() != name.lower():
            break
        length = len(data[start:].decode()[: token.end + 1].encode())
        alias = "" if node["alias"] else f' AS "{name}"'
        made = b"%s(%s)%s%s" % (data[:start], body.encode(), alias.encode(), data[start + length :])
        text = text[: found.query.start] + made.decode() + text[found.query.end :]
        inlined.add(definition.lower())
    return Inlined(text, frozenset(inlined))


def _views(con: duckdb.DuckDBPyConnection, names: set[str]) -> dict[str, tuple[str, str]]:
    """By name in lower case, the query of each view with an AI call, and its definition."""
    if not names:
        return {}
    rows = con.execute(
        "SELECT lower(view_name), sql FROM duckdb_views() WHERE NOT internal AND NOT temporary "
        "AND database_name = current_database() AND schema_name = current_schema() AND contains(lower(sql), $1)",
        [FUNCTION],
    ).fetchall()
    found: dict[str, tuple[str, str]] = {}
    for name, sql in rows:
        body = _body(sql) if name in names else None
        if body is not None and not _is_hidden(con, body):
            found[name] = body, sql
    return found


def _body(sql: str) -> str | None:
    """The query of a CREATE VIEW as DuckDB keeps it, under the view's own names of columns."""
    depth, columns = 0, ""
    for token in calls.tokenize(sql):
        word = token.text.upper()
        if word == "(" and not depth:
            columns = sql[token.start :]
        depth += (word == "(") - (word == ")")
        if word == ")" and not depth:
            columns = columns[: token.end + 1 - (len(sql) - len(columns))]
        if word == "AS" and not depth:
            query = sql[token.end + 1 :].strip().rstrip(";")
            return query if not columns else f"SELECT * FROM ({query}) AS __aiq_view{columns}"
    return None


def _is_hidden(con: duckdb.DuckDBPyConnection, body: str) -> bool:
    """Whether a table that a view reads may be another one in the statement: a temporary one of its name."""
    query = tree.read(body)
    if query is None:
        return True
    names = [node["table_name"].lower() for node in nodes(query.node) if node["type"] == "BASE_TABLE"]
    found = con.execute(
        "SELECT 1 FROM (SELECT table_name AS name FROM duckdb_tables() WHERE temporary UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE temporary) WHERE list_contains($1, lower(name)) LIMIT 1",
        [names],
    )
    return bool(found.fetchall())
