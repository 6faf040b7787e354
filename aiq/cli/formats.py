"""How `aiq sql` writes rows for programs and documents: JSON, CSV, Parquet, Markdown, lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import IO, TYPE_CHECKING

from aiq.cli.printable import json_printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation


class Format(StrEnum):
    """How rows are written."""

    table = "table"
    box = "box"
    markdown = "markdown"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    line = "line"
    parquet = "parquet"


BY_SUFFIX = {
    ".json": Format.json, ".jsonl": Format.jsonl, ".ndjson": Format.jsonl, ".csv": Format.csv, ".md": Format.markdown,
    ".parquet": Format.parquet, ".txt": Format.table,
}  # fmt: skip
EVERY_RESULT = frozenset({Format.table, Format.box, Format.markdown, Format.line})
"""Those in which the rows of each statement are shown; of the others those of the last one that has rows."""


def write(result: DuckDBPyRelation, kind: Format, path: str) -> None:
    """Rows to a file, in the place of what it holds."""
    if kind is Format.csv:
        _with_json_for_nested(result).write_csv(path)
    elif kind is Format.parquet:
        result.write_parquet(path)
    else:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            write_text(result, kind, file)


def write_text(result: DuckDBPyRelation, kind: Format, file: IO[str]) -> None:
    """Rows to an open file, in a format that is text and has no writer of DuckDB's."""
    if kind is Format.json:
        separator = "["
        for row in _objects(result):
            file.write(f"{separator}\n  {row}")
            separator = ","
        file.write("[]\n" if separator == "[" else "\n]\n")
    elif kind is Format.jsonl:
        file.writelines(f"{row}\n" for row in _objects(result))
    elif kind is Format.markdown:
        _write_markdown(result, file)
    elif kind is Format.line:
        _write_lines(result, file)
    else:
        from aiq.cli.show import console, table

        if kind is Format.box:
            console(file, boundless=True).print(table(result, rows=None))
        else:
            console(file).print(table(result, more="the first {rows} rows; the others: --format csv"))


def _objects(result: DuckDBPyRelation) -> Iterator[str]:
    """Each row as the text of a JSON object. Numbers that JSON does not know (NaN, infinities) become null."""
    import pyarrow as pa

    names = [json.dumps(name, ensure_ascii=False) for name in result.columns]
    # DuckDB does not evaluate what to_json takes from a column of type NULL, such as error('words').
    values = [f"#{i}" if kind.id == "null" else f"to_json(#{i})" for i, kind in enumerate(result.types, 1)]
    rows = result.project(", ".join(f"{value}::VARCHAR" for value in values))

    def value(text: str | None) -> str:
        if text is None:
            return "null"
        if "NaN" in text or "Infinity" in text:
            return json.dumps(json.loads(text, parse_constant=lambda _: None), ensure_ascii=False)
        return text

    for batch in pa.RecordBatchReader.from_stream(rows):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            members = ", ".join(f"{name}: {value(text)}" for name, text in zip(names, row, strict=True))
            yield json_printable(f"{{{members}}}")


def _write_markdown(result: DuckDBPyRelation, file: IO[str]) -> None:
    """A table of GitHub's Markdown: an end of line is `<br>`, a bar is escaped, NULL is empty."""
    from aiq.cli.show import is_number

    numbers = [is_number(kind) for kind in result.types]
    file.write(_markdown_row(result.columns))
    file.write("|" + "|".join(" ---: " if number else " --- " for number in numbers) + "|\n")
    for row in _texts(result):
        file.write(_markdown_row(["" if value is None else value for value in row]))


def _markdown_row(cells: list[str]) -> str:
    escaped = [cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells]
    return "".join(f"| {'<br>'.join(cell.splitlines())} " for cell in escaped) + "|\n"


def _write_lines(result: DuckDBPyRelation, file: IO[str]) -> None:
    """A line for each value, as `name = value`, and an empty one between rows."""
    width = max(map(len, result.columns))
    for number, row in enumerate(_texts(result)):
        if number:
            file.write("\n")
        for name, value in zip(result.columns, row, strict=True):
            following = "\n" + " " * (width + 3)
            file.write(f"{name:>{width}} = {'NULL' if value is None else following.join(value.splitlines())}\n")


def _texts(result: DuckDBPyRelation) -> Iterator[tuple[str | None, ...]]:
    import pyarrow as pa

    for batch in pa.RecordBatchReader.from_stream(result.project("COLUMNS(*)::VARCHAR")):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _with_json_for_nested(result: DuckDBPyRelation) -> DuckDBPyRelation:
    """Structs, lists and maps as JSON text, which other programs can read."""
    nested = [kind.id in ("struct", "tuple", "list", "array", "map", "union") for kind in result.types]
    if not any(nested):
        return result
    names = ['"' + name.replace('"', '""') + '"' for name in result.columns]
    values = [
        f"to_json(#{i})" if is_nested else f"#{i}" for i, is_nested in enumerate(nested, 1)
    ]  # two may have one name
    return result.project(", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True)))
