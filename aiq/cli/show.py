"""Rows as text for a terminal, a pipe or a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from aiq.engines.result import Result

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


def table(result: Result, *, rows: int = ROWS_SHOWN, title: str | None = None, name_width: int | None = None) -> Table:
    """At most `rows` rows. Tables too wide for the console show a row as a block of lines."""
    relation = result.relation
    names = list(relation.columns)
    values = relation.project("COLUMNS(*)::VARCHAR").fetchmany(rows + 1)
    numeric = [str(kind.id).lower() in _NUMBERS for kind in relation.types]
    shown = values[:rows]
    wide = len(names) > 1 and 12 * len(names) > console().width
    made = _records(names, shown) if wide else _grid(names, numeric, shown)
    made.title, made.title_justify, made.title_style = title, "left", "bold"
    if len(values) > rows:
        made.caption = f"the first {rows} rows; the others: --format csv, or --out FILE"
        made.caption_justify = "left"
    return made


def _grid(names: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str | None]]) -> Table:
    grid = Table(pad_edge=False, show_edge=True)
    for name, is_number in zip(names, numeric, strict=True):
        grid.add_column(
            Text(name), justify="right" if is_number else "left", overflow="fold", no_wrap=is_number, min_width=4
        )
    for row in rows:
        grid.add_row(*map(_cell, row))
    return grid


def _records(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Table:
    records = Table(show_header=False, pad_edge=False)
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
    return Text(value if len(value) <= 2000 else value[:2000] + " ...")
