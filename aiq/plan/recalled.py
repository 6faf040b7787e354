"""A statement as it runs where all its answers are there already: over distinct requests, with no stages to order.

Works on text with numbered calls; knows neither engine nor provider.
"""

from __future__ import annotations

from typing import NamedTuple

from aiq.plan.distinct import over_distinct
from aiq.plan.lift import calls_outside, made_by, opening_of, source_of


class Recalling(NamedTuple):
    """`text` is the whole statement. `makes` is true where it makes a table, `made` is that table's name, with the
    names before it, where it must not be there yet.
    """

    text: str
    makes: bool = False
    made: tuple[str, ...] | None = None
    stages: int = 1
    as_usual: bool = False


def recalling(text: str) -> Recalling | None:
    """The SELECT or CREATE TABLE ... AS with numbered calls so that it only looks answers up; None for all others."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, read="duckdb")
    except SqlglotError:
        return None
    source = source_of(tree)
    if source is None:
        return None
    if source is tree:
        query = over_distinct(text, tree)
        return None if query is None else Recalling(query)
    opening = opening_of(text, tree)
    if opening is None or calls_outside(tree, source):
        return None
    # Not sqlglot's own text of the query: it leaves out what it takes for usual.
    query = over_distinct(text[len(opening) :], source)
    return None if query is None else Recalling(f"{opening} {query}", True, made_by(tree))
