"""Fills the tables of materialized views and streaming tables, and brings them up to date.

Answers are kept, so what is asked for again are new and changed requests only. Knows texts; an engine runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from aiq.errors import StatementError
from aiq.sql.notebook.files import METADATA, reads_files, reads_metadata, without_hidden
from aiq.sql.words import Word, behind_group, listed, quoted, words
from aiq.statements.definitions.parsed import Create
from aiq.statements.definitions.walk import Reference, references

_OVER_ALL = listed("GROUP DISTINCT HAVING WINDOW OVER QUALIFY LIMIT EXCEPT INTERSECT COUNT SUM AVG MIN MAX JOIN")


class TableEngine(Protocol):
    """What an engine does for tables."""

    def run(self, text: str, dialect: str, *, keep: bool = False) -> Any:
        """Runs a statement; with `keep` its answers serve later statements that ask for that."""

    def check(self, query: str, dialect: str) -> None:
        """Has the engine look at a query without running it."""

    def has_relation(self, name: tuple[str, ...]) -> bool:
        """Whether there is a table or view."""


class _Stream(NamedTuple):
    """The table that a streaming table reads, and the text before and behind it."""

    before: str
    source: str
    behind: str
    alias: str

    def over(self, table: str) -> str:
        """The query over another table."""
        return f"{self.before}{table}{self.alias}{self.behind}"


class KeptTables:
    """Tables of one session."""

    def __init__(
        self, engine: TableEngine, *, using: str = "", replaces: bool = True, overwrites: bool = False
    ) -> None:
        """`using` is what CREATE TABLE says of the format; `replaces`: CREATE OR REPLACE TABLE is known.

        `overwrites`: INSERT OVERWRITE is what replaces rows.
        """
        self._engine, self._using, self._replaces, self._overwrites = engine, using, replaces, overwrites

    def check(self, created: Create, dialect: str) -> None:
        """Raises StatementError, or the engine's error, where a query cannot be kept as a table. No call is made."""
        if created.temporary:
            raise StatementError(f"a {created.kind.lower()} cannot be temporary; leave out TEMPORARY")
        if created.kind == "STREAMING TABLE":
            stream = _stream(created, dialect)
            self._engine.check(f"SELECT * FROM {stream.source} EXCEPT ALL SELECT * FROM {stream.source}", dialect)
        self._engine.check(self._query(created, dialect), dialect)

    def fill(self, created: Create, dialect: str, *, again: bool = False) -> None:
        """Makes the table with its rows; `again`: it is there, and stays as it is until the rows are."""
        run, name = self._engine.run, _name(created, dialect)
        query = self._query(created, dialect)
        if created.kind == "STREAMING TABLE":
            stream, seen = _stream(created, dialect), _name(created, dialect, "_seen_rows")
            run(f"DROP TABLE IF EXISTS {seen}", dialect)
            run(f"DROP TABLE IF EXISTS {_name(created, dialect, '_new_rows')}", dialect)
            run(f"CREATE TABLE {seen} {self._using} AS SELECT * FROM {stream.source}", dialect)
            query = self._query(created, dialect, stream.over(seen))
        own = created.extra if self._overwrites else ""  # DuckDB lays a table out as it likes
        using = "" if "USING" in own.upper() else self._using
        clauses = " ".join(part for part in (using, own) if part)
        if again and not self._replaces:
            made = _name(created, dialect, "_new_table")
            run(f"DROP TABLE IF EXISTS {made}", dialect)
            run(f"CREATE TABLE {made} {clauses} AS {query}", dialect, keep=True)
            run(f"DROP TABLE {name}", dialect)
            run(f"ALTER TABLE {made} RENAME TO {name}", dialect)
            return
        run(f"CREATE {'OR REPLACE ' if again else ''}TABLE {name} {clauses} AS {query}", dialect, keep=True)

    def refresh(self, created: Create, dialect: str, *, full: bool) -> None:
        """Brings the rows up to date. A streaming table gets those of new rows of its source; all else is computed
        again, with the answers that are there.
        """
        run, name = self._engine.run, _name(created, dialect)
        if created.kind == "STREAMING TABLE":
            over_all = {word.text for word in words(created.body, dialect) if word.kind == "word"} & _OVER_ALL
            if full or over_all:
                self.fill(created, dialect, again=True)
            else:
                self._append(created, dialect, name)
        elif self._overwrites:
            run(f"INSERT OVERWRITE TABLE {name} {self._query(created, dialect)}", dialect, keep=True)
        else:
            run(f"CREATE OR REPLACE TABLE {name} AS {self._query(created, dialect)}", dialect, keep=True)

    def drop(self, created: Create, dialect: str) -> None:
        """Drops the table, and what was noted for it."""
        for suffix in ("", "_seen_rows", "_new_rows") if created.kind == "STREAMING TABLE" else ("",):
            self._engine.run(f"DROP TABLE IF EXISTS {_name(created, dialect, suffix)}", dialect)

    def _append(self, created: Create, dialect: str, name: str) -> None:
        run, stream = self._engine.run, _stream(created, dialect)
        seen, new = _name(created, dialect, "_seen_rows"), _name(created, dialect, "_new_rows")
        if self._engine.has_relation((*created.name[:-1], f"{created.name[-1]}_new_rows")):
            raise StatementError(
                f"an earlier REFRESH of {'.'.join(created.name)} was cut off, and may have added its rows already; run "
                f"REFRESH STREAMING TABLE {'.'.join(created.name)} FULL (answers that are there are not asked again)"
            )
        run(
            f"CREATE TABLE {new} {self._using} AS SELECT * FROM {stream.source} EXCEPT ALL SELECT * FROM {seen}",
            dialect,
        )
        try:
            run(f"INSERT INTO {name} {self._query(created, dialect, stream.over(new))}", dialect, keep=True)
        except BaseException:
            run(f"DROP TABLE {new}", dialect)
            raise
        run(f"INSERT INTO {seen} SELECT * FROM {new}", dialect)
        run(f"DROP TABLE {new}", dialect)

    def _query(self, created: Create, dialect: str, body: str = "") -> str:
        body = body or created.body
        query = without_stream(body, words(body, dialect))
        if not created.columns and not created.expected:
            return query
        columns = ", ".join(quoted(name, dialect) for name, _ in created.columns)
        where = f" WHERE {' AND '.join(created.expected)}" if created.expected else ""
        return f"SELECT * FROM ({query}\n) AS q{f'({columns})' if columns else ''}{where}"


def _stream(created: Create, dialect: str) -> _Stream:
    """What a streaming table reads. Raises StatementError where that is not one stream."""
    name, body = ".".join(created.name), created.body
    hidden = reads_files(body) and reads_metadata(body)  # then the rows that were seen have it as a column of their own
    body = without_hidden(body) if hidden else body
    found = words(body, dialect)
    places = [i for i, word in enumerate(found[:-1]) if i and word.says("STREAM") and _reads(found[i - 1])]
    if len(places) != 1:
        raise StatementError(
            f"the streaming table {name} must read one stream, FROM STREAM(table), but reads {len(places)}; make it a "
            "MATERIALIZED VIEW, or one streaming table for each"
        )
    at = places[0] + 1
    inside, outside = found[at].start, 0
    if found[at].says("("):
        behind = behind_group(found, at)
        inside, end, outside = found[at].end, found[behind - 1].start, found[behind - 1].end
    else:
        behind = at + 1
        while behind + 1 < len(found) and found[behind].says("."):
            behind += 2
        behind = behind_group(found, behind) if behind < len(found) and found[behind].says("(") else behind
        end = outside = found[behind - 1].end
    source = body[inside:end].strip()
    source = without_stream(source, words(source, dialect))
    everything = f"SELECT * FROM {source}{body[outside:]}"
    (first, *_) = references(everything, words(everything, dialect)).references or (Reference((), 0, 0, False),)
    if not first.name:
        raise StatementError(f"the streaming table {name}: STREAM takes the name of a table, not '{source}'")
    alias = "" if first.aliased else f" AS {quoted(first.name[-1], dialect)}"
    if hidden:
        source = f"(SELECT *, {METADATA} FROM {source})"
    return _Stream(body[: found[places[0]].start], source, body[outside:], alias)


def _reads(word: Word) -> bool:
    return word.says("FROM", "JOIN", ",")


def _name(created: Create, dialect: str, suffix: str = "") -> str:
    *within, last = created.name
    return ".".join(quoted(part, dialect) for part in (*within, last + suffix))


def without_stream(text: str, found: Sequence[Word]) -> str:
    """A query that reads tables where it reads streams of them: `STREAM(t)`, `STREAM t`, `LIVE.t`."""
    cuts: list[tuple[int, int]] = []
    for i, word in enumerate(found[:-1]):
        before = found[i - 1] if i else None
        if word.says("STREAM") and before is not None and _reads(before):
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
