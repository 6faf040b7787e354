"""Fills the tables of materialized views and streaming tables, and brings them up to date.

Answers are kept, so what is asked for again are new and changed requests only. Knows texts; an engine runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiq.errors import StatementError
from aiq.statements.create import Create
from aiq.statements.words import Word, behind_group, listed, quoted, words

_CHANGING = listed(
    "RAND RANDN RANDOM UUID GEN_RANDOM_UUID SHUFFLE MONOTONICALLY_INCREASING_ID NEXTVAL CURRENT_TIMESTAMP NOW "
    "CURRENT_DATE CURDATE LOCALTIMESTAMP GETDATE"
)
_OVER_ALL = listed("GROUP DISTINCT HAVING WINDOW OVER QUALIFY LIMIT EXCEPT INTERSECT COUNT SUM AVG MIN MAX")
Run = Callable[..., Any]


class KeptTables:
    """Tables of one session. `run(text, dialect, keep=True)` runs a statement and keeps its answers."""

    def __init__(
        self, run: Run, check: Callable[[str, str], None], *, using: str = "", overwrites: bool = False
    ) -> None:
        """`using` is what a CREATE TABLE says of its format; `overwrites`: INSERT OVERWRITE replaces the rows."""
        self._run, self._check, self._using, self._overwrites = run, check, using, overwrites

    def check(self, created: Create, spelled: str, dialect: str) -> None:
        """Raises StatementError, or the engine's error, where a query cannot be kept as a table. No call is made."""
        if created.temporary:
            raise StatementError(f"a {created.kind.lower()} cannot be temporary; leave out TEMPORARY")
        if created.kind == "STREAMING TABLE":
            found = {word.text for word in words(spelled, dialect) if word.kind == "word"}
            if changing := sorted(found & _CHANGING):
                raise StatementError(
                    f"the streaming table {'.'.join(created.name)} calls {changing[0].lower()}, by which every row "
                    "would look new at each REFRESH; leave it out, or make it a MATERIALIZED VIEW"
                )
        self._check(self._query(created, dialect), dialect)

    def fill(self, created: Create, dialect: str, *, again: bool = False) -> None:
        """Makes the table with its rows; `again`: it may be there."""
        if again and self._overwrites:
            self._run(f"DROP TABLE IF EXISTS {_name(created, dialect)}", dialect)
        replace = "OR REPLACE " if again and not self._overwrites else ""
        own = created.extra if self._using else ""  # DuckDB lays a table out as it likes
        using = "" if "USING" in own.upper() else self._using
        clauses = " ".join(part for part in ("TABLE", _name(created, dialect), using, own) if part)
        self._run(f"CREATE {replace}{clauses} AS {self._query(created, dialect)}", dialect, keep=True)

    def refresh(self, created: Create, dialect: str, *, full: bool) -> None:
        """Brings the rows up to date. A streaming table gets those that are new; all else is computed again."""
        name, query = _name(created, dialect), self._query(created, dialect)
        over_all = {word.text for word in words(query, dialect) if word.kind == "word"} & _OVER_ALL
        if created.kind == "STREAMING TABLE" and not full and not over_all:
            new = f"SELECT * FROM ({query}\n) AS s EXCEPT ALL SELECT * FROM {name}"
            self._run(f"INSERT INTO {name} {new}", dialect, keep=True)
        elif self._overwrites:
            self._run(f"INSERT OVERWRITE TABLE {name} {query}", dialect, keep=True)
        else:
            self._run(f"CREATE OR REPLACE TABLE {name} AS {query}", dialect, keep=True)

    def _query(self, created: Create, dialect: str) -> str:
        query = without_stream(created.body, words(created.body, dialect))
        if not created.columns:
            return query
        columns = ", ".join(quoted(name, dialect) for name, _ in created.columns)
        return f"SELECT * FROM ({query}\n) AS q({columns})"


def _name(created: Create, dialect: str) -> str:
    return ".".join(quoted(part, dialect) for part in created.name)


def without_stream(text: str, found: Sequence[Word]) -> str:
    """A query that reads tables where it reads streams of them: `STREAM(t)`, `STREAM t`, `LIVE.t`."""
    cuts: list[tuple[int, int]] = []
    for i, word in enumerate(found[:-1]):
        before = found[i - 1] if i else None
        if word.says("STREAM") and before is not None and before.says("FROM", "JOIN", ","):
            cuts.append((word.start, found[i + 1].start))
            if found[i + 1].says("("):
                last = found[behind_group(found, i + 1) - 1]
                cuts += [(found[i + 1].start, found[i + 1].end), (last.start, last.end)]
        if word.says("LIVE") and found[i + 1].says(".") and not (before is not None and before.says(".")):
            cuts.append((word.start, found[i + 1].end))
    pieces, position = [], 0
    for start, end in sorted(cuts):
        pieces.append(text[position:start])
        position = end
    return "".join([*pieces, text[position:]])
