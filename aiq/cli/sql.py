"""`aiq sql`: runs statements one by one and prints what they return."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Conf, Home
from aiq.cli.printable import json_printable, printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation


class Format(StrEnum):
    """How rows are written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


class Dialect(StrEnum):
    """Whose SQL the statements are written in."""

    duckdb = "duckdb"
    databricks = "databricks"


_BY_SUFFIX = {".json": Format.json, ".csv": Format.csv, ".parquet": Format.parquet, ".txt": Format.table}


def sql(
    text: Annotated[str | None, typer.Argument(help="The statements; - reads standard input.", metavar="SQL")] = None,
    db: Annotated[
        str | None, typer.Option(help="A DuckDB file, made if need be. [default: in memory]", metavar="FILE")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read the statements from a file.", metavar="FILE.sql")] = None,
    format: Annotated[
        Format | None, typer.Option(help="How to write the rows. [default: the suffix of --out, else table]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the rows to a file.", metavar="FILE")] = None,
    dialect: Annotated[Dialect, typer.Option(help="Whose SQL this is.")] = Dialect.duckdb,
    conf: Conf = None,
    home: Home = None,
    user: Annotated[str | None, typer.Option(help="Who asks: limits, permissions and ledger go by it.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of the user; may be repeated.")] = None,
    var: Annotated[
        list[str] | None,
        typer.Option(help="The value of ${name}, {{ name }} or :name; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show neither progress nor what a statement took.")
    ] = False,
) -> None:
    """Run SQL with ai_query. Several statements, separated by semicolons, run one after the other.

    As table, the rows of each statement are printed. As json (one array of objects), csv or parquet, and into a file,
    those of the last statement that has rows, be they none; CREATE, INSERT, SET and the like have no rows.
    """
    kind = format or _BY_SUFFIX.get(out.suffix.lower() if out else "", Format.table)
    if kind is Format.parquet and out is None:
        raise typer.BadParameter("parquet is not for a screen: give --out FILE.parquet", param_hint="--format")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):  # found out before anything is paid
        raise typer.BadParameter(f"{out} cannot be written: no such folder, or a folder itself", param_hint="--out")
    script = _read(text, file)
    variables = _variables(var or [])
    from aiq.cli.stopping import stop_on_sigterm
    from aiq.engines.connect import connect
    from aiq.sql.script import split

    statements = split(script, dialect.value)
    if not statements:
        raise typer.BadParameter("there is no statement", param_hint="SQL")
    groups = group or None
    with connect(
        db, conf=conf, home=home, user=user, groups=groups, dialect=dialect.value, variables=variables
    ) as session:
        stop_on_sigterm()
        session.settings = session.settings._replace(quiet=quiet or not session.gateway.config.settings.progress)
        results = (rows for rows in map(session.sql, statements) if rows is not None)
        if kind is Format.table and out is None:
            for rows in results:
                _print_table(rows)
        else:
            _write_last(results, kind, out)


def _variables(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"give a name and a value, such as catalog=main, not '{each}'", param_hint="--var")
        found[name] = value
    return found


def _read(text: str | None, file: Path | None) -> str:
    if text is not None and file is not None:
        raise typer.BadParameter("give either SQL or --file, not both", param_hint="--file")
    if file is not None:
        return _decoded(file.read_bytes(), str(file))
    if text is None and sys.stdin.isatty():
        raise typer.BadParameter("give a statement, --file, or pipe one in", param_hint="SQL")
    if text is None or text == "-":
        return _decoded(sys.stdin.buffer.read(), "standard input")
    return text.removeprefix("\ufeff")  # as of "$(cat file)"


def _decoded(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{place} is not UTF-8 text (byte {error.start})") from None


def _print_table(result: DuckDBPyRelation) -> None:
    from aiq.cli.show import console, table

    console().print(table(result))


def _write_last(results: Iterator[DuckDBPyRelation], kind: Format, out: Path | None) -> None:
    """The rows of the last result to `out`, whole or not at all, or to standard output.

    Each is written to a file at once: a relation may read its rows later, when the statements after it have changed
    them. Raises StatementError where there is a file to write but no result.
    """
    import tempfile

    from aiq.errors import StatementError

    descriptor, path = tempfile.mkstemp(prefix=".aiq-", dir=None if out is None else out.parent)
    os.close(descriptor)
    try:
        found = False
        for result in results:
            _write(result, kind, path)
            found = True
        if out is None:
            _copy_to_screen(path)
        elif not found:
            raise StatementError(
                f"the statements ran, but none of them has rows, so {out} is not written; end with a SELECT, or leave "
                "out --out"
            )
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(path, 0o666 & ~mask)
            os.replace(path, out)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _copy_to_screen(path: str) -> None:
    """The file to standard output: the very bytes, unless it is a terminal, which they could steer."""
    import shutil

    if sys.stdout.isatty():
        with open(path, encoding="utf-8", errors="replace", newline="") as text:
            for line in text:
                sys.stdout.write(printable(line))
    else:
        with open(path, "rb") as data:
            shutil.copyfileobj(data, sys.stdout.buffer)
    sys.stdout.flush()


def _write(result: DuckDBPyRelation, kind: Format, path: str) -> None:
    """Rows to a file, in the place of what it holds."""
    if kind is Format.json:
        _write_json(result, path)
    elif kind is Format.csv:
        _with_json_for_nested(result).write_csv(path)
    elif kind is Format.parquet:
        result.write_parquet(path)
    else:
        from aiq.cli.show import console, table

        with open(path, "w", encoding="utf-8") as file:
            console(file).print(table(result, more="the first {rows} rows; the others: --format csv"))


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


def _write_json(result: DuckDBPyRelation, path: str) -> None:
    """One array of objects. Numbers that JSON does not know (NaN, infinities) become null."""
    import json

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

    with open(path, "w", encoding="utf-8") as file:
        separator = "["
        for batch in pa.RecordBatchReader.from_stream(rows):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                members = ", ".join(f"{name}: {value(text)}" for name, text in zip(names, row, strict=True))
                file.write(f"{separator}\n  {{{json_printable(members)}}}")
                separator = ","
        file.write("[]\n" if separator == "[" else "\n]\n")
