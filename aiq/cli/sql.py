"""`aiq sql`: runs statements one by one and prints what they return."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.formats import BY_SUFFIX, EVERY_RESULT, Format
from aiq.cli.options import (
    Conf,
    Dialect,
    Groups,
    Home,
    How,
    Out,
    Quiet,
    Requester,
    UsageContext,
    WhoseSql,
    home_folder,
    tags_of,
)
from aiq.cli.output import Receipts, show_all, write_last
from aiq.cli.plain import plain
from aiq.cli.values import for_each, named, typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection, DuckDBPyRelation


def sql(
    text: Annotated[str | None, typer.Argument(help="The statements; - reads standard input.", metavar="SQL")] = None,
    command: Annotated[
        list[str] | None, typer.Option("-c", "--command", help="The statements; may be repeated.", metavar="SQL")
    ] = None,
    db: Annotated[
        str | None, typer.Option(help="A DuckDB file, made if need be. [default: in memory]", metavar="FILE")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read the statements from a file.", metavar="FILE.sql")] = None,
    format: How = None,
    out: Out = None,
    dialect: WhoseSql = Dialect.duckdb,
    conf: Conf = None,
    home: Home = None,
    user: Requester = None,
    group: Groups = None,
    usage_context: UsageContext = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="The value of the parameter $name or :name; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Open the database without writing to it.")] = False,
    var: Annotated[
        list[str] | None,
        typer.Option(help="The value of ${name}, {{ name }} or :name; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run SQL with ai_query. Several statements, separated by semicolons, run one after the other.

    As table, box, markdown or line, the rows of each statement are printed. As json (one array of objects), jsonl, csv
    or parquet, and into a file, those of the last statement that has rows, be they none; CREATE, INSERT, SET and the
    like have no rows.
    """
    kind = format or BY_SUFFIX.get(out.suffix.lower() if out else "", Format.table)
    if kind is Format.parquet and out is None:
        raise typer.BadParameter("parquet is not for a screen: give --out FILE.parquet", param_hint="--format")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):  # found out before anything is paid
        raise typer.BadParameter(f"{out} cannot be written: no such folder, or a folder itself", param_hint="--out")
    if read_only and (db is None or not Path(db).exists()):
        raise typer.BadParameter("needs a database that is there: give --db FILE", param_hint="--read-only")
    script = _read(text, command, file)
    variables, given = named(var or [], "--var"), named(param or [], "--param")
    typed_params = {name: typed(value) for name, value in given.items()}
    everything = kind in EVERY_RESULT and out is None
    show = partial(show_all, kind=kind) if everything else partial(write_last, kind=kind, out=out)
    if dialect is Dialect.duckdb and not variables and (conf is None or conf.is_dir()):
        with plain(script, typed_params, db, read_only, home_folder(home)) as found:
            if found is not None:
                show(iter([found]))
                return
    from aiq.cli.stopping import stop_on_sigterm
    from aiq.engines.connect import connect
    from aiq.sql.script import split

    statements = split(script, dialect.value)
    if not statements:
        raise typer.BadParameter("there is no statement", param_hint="SQL")
    values = for_each(statements, typed_params, databricks=dialect is Dialect.databricks)
    with (
        _opened(db, read_only) as target,
        connect(
            target,
            conf=conf,
            home=home,
            user=user,
            groups=group or None,
            usage_context=tags_of(usage_context),
            dialect=dialect.value,
            variables=variables,
        ) as session,
    ):
        stop_on_sigterm()
        session.settings = session.settings._replace(quiet=quiet or not session.gateway.config.settings.progress)
        receipts = Receipts(session)

        def results() -> Iterator[DuckDBPyRelation]:
            for statement, params in zip(statements, values, strict=True):
                rows = session.sql(statement, params)
                if rows is not None:
                    yield rows
                receipts.show()

        try:
            show(results())
        finally:
            receipts.show()


def _opened(db: str | None, read_only: bool) -> AbstractContextManager[str | DuckDBPyConnection | None]:
    """What the session is to stand on."""
    if not read_only or db is None:
        return nullcontext(db)
    import duckdb

    return duckdb.connect(db, read_only=True)


def _read(text: str | None, command: list[str] | None, file: Path | None) -> str:
    if (text is not None) + bool(command) + (file is not None) > 1:
        raise typer.BadParameter("give one of SQL, -c and --file", param_hint="SQL")
    if command:
        return "\n;\n".join(command)  # the last line may be a comment
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
