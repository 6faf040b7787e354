"""Rows as text for a terminal, a pipe or a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiq.cli.printable import printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_BOX = box.ROUNDED
ROWS_SHOWN = 100
_PIPE_COLUMNS = 160
_NUMBERS = {"decimal", "float", "double", "bignum"} | {
    f"{sign}{size}" for sign in ("", "u") for size in ("tinyint", "smallint", "integer", "bigint", "hugeint")
}


def console(file: IO[str] | None = None) -> Console:
    """A console of the terminal's width; wide, and without colours, where nobody looks at a terminal."""
    stream = file or sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else _PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


_MORE = "the first {rows} rows; the others: --format csv, or --out FILE"


def table(result: DuckDBPyRelation, *, rows: int = ROWS_SHOWN, title: str | None = None, more: str = _MORE) -> Table:
    """At most `rows` rows, and `more` under them when there are others.

    Of a table too wide for the console, each row is a block of lines.
    """
    names = list(map(printable, result.columns))
    values = result.limit(rows + 1).project("COLUMNS(*)::VARCHAR").fetchall()
    numeric = [str(kind.id).lower() in _NUMBERS for kind in result.types]
    shown = values[:rows]
    wide = len(names) > 1 and 12 * len(names) > console().width
    made = _records(names, shown) if wide else _grid(names, numeric, shown)
    made.title, made.title_justify, made.title_style = title, "left", "bold"
    if len(values) > rows:
        made.caption = more.format(rows=rows)
        made.caption_justify = "left"
    return made


def empty_grid() -> Table:
    """A table of the house's look, still without columns."""
    return Table(box=_BOX)


def _grid(names: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str | None]]) -> Table:
    grid = empty_grid()
    for name, is_number in zip(names, numeric, strict=True):
        grid.add_column(
            Text(name), justify="right" if is_number else "left", overflow="fold", no_wrap=is_number, min_width=4
        )
    for row in rows:
        grid.add_row(*map(_cell, row))
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


def _cell(value: str | None) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    return Text(printable(value if len(value) <= 2000 else value[:2000] + " ..."))
