"""Places of a statement in which no AI call can stand, because DuckDB reads them before it looks at a row.

There a call that has no answer yet would be NULL: the name of a column of a PIVOT, or that of a file.
"""

from __future__ import annotations

import re

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.lift import as_query
from aiq.engines.duckdb.rewrite.numbered import has_call
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.rewrite.tree import Node, name_of, nodes
from aiq.errors import StatementError

_MAY_BE = re.compile(r"\b(?:alias|pivot|glob|query|query_table|(?:read|parquet|sniff)_\w+)\b", re.IGNORECASE)
_OF_FILES = re.compile(r"(?:read|parquet|sniff)_\w+|glob|query|query_table")

_ALIAS = (
    "alias() gives an expression as DuckDB has it, and DuckDB has AI calls in another form than you wrote "
    "them; write the text itself in place of alias(..)"
)
_BEFORE_ROWS = (
    "DuckDB reads {place} before it looks at a row, when no answer is there yet: ask first, with "
    "SET VARIABLE answer = ai_query(..), and write getvariable('answer') in its place"
)


def check_places(text: str) -> None:
    """Raises StatementError where a numbered call of a statement stands in such a place."""
    made = parts(text) if _MAY_BE.search(text) else None
    if made is None:
        return
    query = as_query(text, made) if made.target is not None else tree.read(made.query.of(text)) if made.query else None
    for node in nodes(query.node if query is not None else []):
        if (why := _refusal(node)) is not None:
            raise StatementError(why)


def _refusal(node: Node) -> str | None:
    if node.get("class") == "FUNCTION" and name_of(node) == "alias" and not node["alias"] and has_call(node):
        return _ALIAS
    if node["type"] == "PIVOT" and any(has_call(pivot["entries"]) for pivot in node["pivots"]):
        return _BEFORE_ROWS.format(place="the values of a PIVOT's IN list, which name its columns,")
    if node["type"] == "TABLE_FUNCTION" and has_call(node["function"]):
        name = name_of(node["function"])
        if _OF_FILES.fullmatch(name):
            return _BEFORE_ROWS.format(place=f"the arguments of {name}() in FROM")
    return None
