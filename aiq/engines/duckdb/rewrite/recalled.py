"""A statement as it runs where all its answers are there already: over distinct requests, with no stages to order.

Works on text with numbered calls; knows neither engine nor provider.
"""

from __future__ import annotations

from typing import NamedTuple

from aiq.engines.duckdb.rewrite.distinct import over_distinct
from aiq.engines.duckdb.rewrite.lift import MaterializedQuery
from aiq.engines.duckdb.rewrite.parts import parts


class Recalling(NamedTuple):
    """`text` is the whole statement. `makes` is true where it makes a table, `made` is that table's name, with the
    names before it, where it must not be there yet. `in_stages` says that it is the query of a plan for passes,
    `rows` what that evaluates before.
    """

    text: str
    makes: bool = False
    made: tuple[str, ...] | None = None
    stages: int = 1
    in_stages: bool = False
    rows: MaterializedQuery | None = None


def recalling(text: str) -> Recalling | None:
    """The SELECT or CREATE TABLE ... AS with numbered calls so that it only looks answers up; None for all others."""
    found = parts(text)
    if found is None or found.query is None or found.kind not in ("select", "create"):
        return None
    query = over_distinct(found.query.of(text))
    if query is None:
        return None
    if found.kind == "select":
        return Recalling(query)
    around = text[: found.query.start], text[found.query.end :]
    return None if "__aiq_" in "".join(around) else Recalling(f"{around[0]}{query}\n{around[1]}", True, found.made)
