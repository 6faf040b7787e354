"""Rows as text for a terminal, a pipe or a file."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from aiq.amounts import dollars
from aiq.cli.printable import printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation
    from duckdb.sqltypes import DuckDBPyType

_BOX = box.ROUNDED
ROWS_SHOWN = 100
LONGEST = 2000
"""Characters of a value that are shown."""
_PIPE_COLUMNS = 160
_BOUNDLESS = 1_000_000
_NUMBERS = {"decimal", "float", "double", "bignum"} | {
    f"{sign}{size}" for sign in ("", "u") for size in ("tinyint", "smallint", "integer", "bigint", "hugeint")
}


def console(file: IO[str] | None = None, *, boundless: bool = False) -> Console:
    """A console of the terminal's width; wide, and without colours, where nobody looks at a terminal.

    `boundless`: as wide as what is printed, so that nothing is cut.
    """
    stream = file or sys.stdout
    if boundless:
        return Console(file=stream, width=_BOUNDLESS, highlight=False, soft_wrap=False)
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else _PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


_MORE = "the first {rows} rows; the others: --format csv, or --out FILE"
_DOLLARS = re.compile(r"(^|_)usd$", re.IGNORECASE)
_ID = re.compile(r"(^|_)id$", re.IGNORECASE)
VECTOR_LENGTH = 6
"""A list of more numbers than this is shown by its first two and its length."""
_LEAST_WIDTH = 12
"""Of a column that may be folded."""


def is_number(kind: DuckDBPyType) -> bool:
    """Whether values of a type are numbers."""
    return str(kind.id).lower() in _NUMBERS


def table(
    result: DuckDBPyRelation, *, rows: int | None = ROWS_SHOWN, title: str | None = None, more: str = _MORE
) -> RenderableType:
    """At most `rows` rows, and under them how many there are, or `more` when there are others.

    Vectors are shortened, US dollars are shown as such, ids are not broken. Of a table too wide for the console, each
    row is a block of lines. With `rows` None: all rows, whole, in a table as wide as it has to be.
    """
    names = list(map(printable, result.columns))
    numeric = list(map(is_number, result.types))
    if rows is None:
        values = result.project("COLUMNS(*)::VARCHAR").fetchall()
        return _grid(names, numeric, [True] * len(names), values, box=box.SQUARE, longest=None)
    texts = ", ".join(_text(number, kind) for number, kind in enumerate(result.types, 1))
    values = result.limit(rows + 1).project(texts).fetchall()
    shown = [
        tuple(_as_dollars(value) if money else value for value, money in zip(row, _money(names, numeric), strict=True))
        for row in values[:rows]
    ]
    unbroken = [
        number or _ID.search(name) is not None or str(kind.id).lower() == "uuid"
        for name, number, kind in zip(names, numeric, result.types, strict=True)
    ]
    wide = len(names) > 1 and _width(names, unbroken, shown) > console().width
    made = _records(names, shown) if wide else _grid(names, numeric, unbroken, shown)
    made.title, made.title_justify, made.title_style = title, "left", "bold"
    footer = more.format(rows=rows) if len(values) > rows else f"{len(shown):,} row{'' if len(shown) == 1 else 's'}"
    return Group(made, Text(footer)) if footer else made


def _text(number: int, kind: DuckDBPyType) -> str:
    """The SQL of a column's text: `[0.031, -0.037, ... 384 floats]` for a vector."""
    if str(kind.id).lower() not in ("list", "array"):
        return f"#{number}::VARCHAR"
    element = kind.children[0][1]
    if not isinstance(element, type(kind)) or not is_number(element):
        return f"#{number}::VARCHAR"
    if str(element.id).lower() in ("float", "double"):
        first, words = f"format('{{:.3g}}, {{:.3g}}', #{number}[1], #{number}[2])", "floats"
    else:
        first, words = f"concat(#{number}[1], ', ', #{number}[2])", "numbers"
    return (
        f"CASE WHEN len(#{number}) > {VECTOR_LENGTH} AND #{number}[1] IS NOT NULL AND #{number}[2] IS NOT NULL "
        f"THEN concat('[', {first}, ', ... ', len(#{number}), ' {words}]') ELSE #{number}::VARCHAR END"
    )


def _money(names: Sequence[str], numeric: Sequence[bool]) -> list[bool]:
    return [number and _DOLLARS.search(name) is not None for name, number in zip(names, numeric, strict=True)]


def _as_dollars(value: str | None) -> str | None:
    if value is None:
        return None
    amount = float(value)
    return dollars(amount) if math.isfinite(amount) else value


def _width(names: Sequence[str], unbroken: Sequence[bool], rows: Sequence[Sequence[str | None]]) -> int:
    """The least width of a grid whose unbroken columns are as wide as they have to be."""
    total = 1
    for number, (name, keep) in enumerate(zip(names, unbroken, strict=True)):
        longest = max((len(row[number] or "NULL") for row in rows), default=0) if keep else 0
        total += 3 + (max(longest, min(len(name), _LEAST_WIDTH)) if keep else _LEAST_WIDTH - 3)
    return total


def empty_grid() -> Table:
    """A table of the house's look, still without columns."""
    return Table(box=_BOX)


def grid(names: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str | None]]) -> Table:
    """Some texts as a table of the house's look."""
    return _grid(names, numeric, numeric, rows)


def _grid(
    names: Sequence[str],
    numeric: Sequence[bool],
    unbroken: Sequence[bool],
    rows: Sequence[Sequence[str | None]],
    *,
    box: box.Box = _BOX,
    longest: int | None = LONGEST,
) -> Table:
    grid = Table(box=box)
    for name, number, keep in zip(names, numeric, unbroken, strict=True):
        grid.add_column(
            Text(name),
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=keep,
            min_width=min(4, len(name)),
        )
    for row in rows:
        grid.add_row(*(_cell(value, longest) for value in row))
    return grid


def _records(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Table:
    records = Table(show_header=False, box=_BOX)
    records.add_column(style="bold")
    records.add_column(overflow="fold")
    for row in rows:
        for name, value in zip(names, row, strict=True):
            records.add_row(Text(name), _cell(value))
        records.add_section()
    return records


def _cell(value: str | None, longest: int | None = LONGEST) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    return Text(printable(value if longest is None or len(value) <= longest else value[:longest] + " ..."))
