"""Values that a statement of Databricks' SQL stores in a column of another type, where DuckDB would store another one.

Of 1.7 in an INT column DuckDB makes 2, and Spark 1; of a DOUBLE in a DECIMAL column DuckDB makes other digits; of a
DOUBLE in a STRING column another text. Such a statement is refused: with a CAST it stores what Spark stores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import duckdb

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.parts import Parts, Span, parts
from aiq.engines.duckdb.set_types import TYPE_NAMES, Types, describing
from aiq.sql.databricks.words import refusal

_WRITES = re.compile(r"\s*(insert|update|merge)\b|\s*with\b.*\binsert\b", re.IGNORECASE | re.DOTALL)
_BEHIND_CTES = re.compile(r"\)\s*(?=INSERT\s+INTO\b)", re.IGNORECASE)
_NAME = r'(?:"(?:[^"]|"")*"|\w+)'
_SET = re.compile(rf"({_NAME})\s*=\s*\(*\s*\Z")
_LISTED = re.compile(rf"\(\s*({_NAME}(?:\s*,\s*{_NAME})*)\s*\)\s*(?:VALUES\s*\(\s*)?\Z", re.IGNORECASE)
_INSERT = re.compile(rf"\s*INSERT\s+INTO\s+({_NAME}(?:\s*\.\s*{_NAME})*)", re.IGNORECASE)
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_FRACTIONS = ("FLOAT", "DOUBLE")


def check_stored(con: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises StatementError where a translated INSERT, UPDATE or MERGE would store another value than Spark.

    `INSERT INTO t (i) VALUES (1.7)`, `i` an INT. What DuckDB cannot look at alone is left as it is.
    """
    if _WRITES.match(text) is None or (found := parts(text)) is None:
        return
    describe, names = describing(con, text), describing(con, text, names=True)

    def asked(query: str, *, of_names: bool = False) -> Types:
        read = tree.read(query)
        return None if read is None else (names if of_names else describe)(read)

    for values, target, columns in _stored(text, found):
        listed = columns
        if columns == ["BY NAME"]:
            listed = [_quoted(each) for each in asked(values, of_names=True) or []]
        kinds = asked(f"SELECT {', '.join(listed) or '*'} FROM {target}")
        given = asked(values)
        if kinds is None or given is None or len(kinds) != len(given):
            continue
        for at, (kind, one) in enumerate(zip(kinds, given, strict=True)):
            if _differs(one, kind):
                place = listed[at] if listed else f"number {at + 1}"
                raise refusal(
                    f"{_spark(one)} stored in column {place} of type {_spark(kind)} is another value on DuckDB",
                    f"write CAST(.. AS {_spark(kind)})",
                )


def _stored(text: str, found: Parts) -> Iterator[tuple[str, str, list[str]]]:
    """Queries of what is stored, the table, and its columns: none for all of them."""
    if found.kind == "insert" and found.query is None and (ctes := _BEHIND_CTES.search(text)) is not None:
        inner = text[ctes.end() :]
        if (behind := parts(inner)) is not None and behind.query is not None:
            for query, table, columns in _stored(inner, behind):
                yield f"{text[: ctes.end()]} {query}", table, columns
    if found.kind == "insert" and found.query is not None:
        before = text[: found.query.start].rstrip()
        if (target := _INSERT.match(before)) is None:
            return
        rest = before[target.end() :]
        by_name = re.search(r"\bBY\s+NAME\Z", rest, re.IGNORECASE)
        yield found.query.of(text), target.group(1), ["BY NAME"] if by_name else _listed(rest)
    if found.target is None:
        return
    target_text = found.target.of(text)
    tables = ", ".join(part.of(text) for part in (found.target, found.source) if part is not None)
    if found.kind == "update":
        yield from _assigned(text, found.values, target_text, tables)
    for when in found.whens:
        if when.values:
            yield from _assigned(text, when.values, target_text, tables)
        elif when.rows == "source" and found.source is not None:
            yield f"SELECT * FROM {found.source.of(text)}", target_text, []


def _assigned(text: str, values: Sequence[Span], target: str, tables: str) -> Iterator[tuple[str, str, list[str]]]:
    """`SET a = 1, b = 2`, or `INSERT (a, b) VALUES (1, 2)`."""
    named = [_SET.search(text[: each.start]) for each in values]
    columns = [each.group(1) for each in named if each is not None]
    if len(columns) < len(values):
        columns = _listed(text[: values[0].start]) if values else []
    for at, value in enumerate(values):
        if columns and at < len(columns):
            yield f"SELECT {value.of(text)} AS stored FROM {tables}", target, [columns[at]]


def _listed(before: str) -> list[str]:
    found = _LISTED.search(before)
    return [] if found is None else re.findall(_NAME, found.group(1))


def _differs(given: str, kind: str) -> bool:
    """Whether DuckDB stores another value of a type in a column than Spark does."""
    if given.endswith("[]") and kind.endswith("[]"):
        return _differs(given[:-2], kind[:-2])
    decimal = re.fullmatch(r"DECIMAL\(\d+,(\d+)\)", given)
    fraction = given in _FRACTIONS or (decimal is not None and decimal.group(1) != "0")
    if kind in _WHOLE:
        return fraction
    if kind.startswith("DECIMAL("):
        return given in _FRACTIONS
    return kind == "VARCHAR" and (fraction or given.startswith("TIMESTAMP") or given == "BLOB" or given[-1] in ")]")


def _spark(kind: str) -> str:
    return TYPE_NAMES.get(kind, kind)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
