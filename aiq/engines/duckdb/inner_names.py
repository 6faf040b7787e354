"""The names of columns that are calls without an alias, where something reads them as values: a row as a STRUCT or as
JSON, UNPIVOT, DESCRIBE. They are what DuckDB calls the columns of the statement as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.numbered import has_call
from aiq.engines.duckdb.rewrite.parts import Span, parts
from aiq.engines.duckdb.rewrite.split import may_be_wide
from aiq.engines.duckdb.rewrite.tree import Node, NodePlace, places
from aiq.engines.duckdb.words import in_users_words

_WORDS = re.compile(r"\b(select|from|describe|desc|summarize|show|pivot|unpivot)\b", re.IGNORECASE)


def may_be_read(text: str) -> bool:
    """Whether a statement may have a query inside of it."""
    found = [word.lower() for word in _WORDS.findall(text)]
    return found.count("select") > 1 or found.count("from") > 1 or bool(set(found) - {"select", "from"})


def with_names(text: str, calls: Mapping[int, str]) -> str | None:
    """A statement whose inner queries name their columns, `calls` being the calls as written, by number.

    `SELECT q FROM (SELECT f(1, s) FROM t) q` -> `SELECT q FROM (SELECT f(1, s) AS "ai_query('chat', s)" FROM t) AS q`.
    The text as it is where nothing is to be named; None where DuckDB gives no tree of it.
    """
    made = parts(text)
    span = Span(0, len(text)) if made is None else made.query  # DESCRIBE is a query, too
    query = tree.read(span.of(text)) if span is not None else None
    if span is None or query is None:
        return None
    found = places({"query": query.node}, into_queries=True)
    selects = [place for place in found if place.node["type"] == "SELECT_NODE"]
    if not any(_is_table(place) and _unnamed(place.node) for place in selects):
        return text
    named: list[tuple[Node, str]] = []
    for place in selects:
        for item in _unnamed(place.node) if _is_table(place) or not _around(place) else ():
            name = tree.expression_text(item)
            if name is None:
                return None
            named.append((item, in_users_words(name, calls)))
    for item, name in named:
        item["alias"] = name
    printed = query.text()
    return None if printed is None else text[: span.start] + printed + text[span.end :]


def _around(place: NodePlace) -> Node | None:
    """The node that a query is in, as whose part it stands; that of a UNION for each of its parts."""
    return next((above.node for above in reversed(place.above) if above.node["type"] != "SET_OPERATION_NODE"), None)


def _is_table(place: NodePlace) -> bool:
    """Whether a query is read as a table: in FROM, as a CTE, by DESCRIBE; not as a value or a condition."""
    around = _around(place)
    return around is not None and around.get("class") != "SUBQUERY"


def _unnamed(select: Node) -> list[Node]:
    return [item for item in select["select_list"] if not item["alias"] and has_call(item) and not may_be_wide(item)]
