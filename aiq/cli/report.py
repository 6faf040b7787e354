"""`aiq report`: runs the analyses of sql/ by name, over a home's tables."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.formats import BY_SUFFIX, Format
from aiq.cli.options import Conf, Home, How, Out
from aiq.cli.output import show_one, write_last
from aiq.errors import AiqError
from aiq.shipped_sql import read_sql, sql_folder

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession

Since = Annotated[
    str | None,
    typer.Option(help="From when: 90m, 24h, 7d or 4w ago, or a date or time (UTC), 2026-11-01.", metavar="TIME"),
]
Until = Annotated[str | None, typer.Option(help="Up to when, as --since; itself left out.", metavar="TIME")]
Endpoint = Annotated[str | None, typer.Option(help="Only calls of this endpoint.", metavar="NAME")]
User = Annotated[str | None, typer.Option(help="Only calls of this requester.", metavar="USER")]

_AGO = re.compile(r"(\d{1,6})\s*([mhdw])", re.IGNORECASE)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def report(
    name: Annotated[str | None, typer.Argument(help="The analysis. [default: list them]", metavar="NAME")] = None,
    since: Since = None,
    until: Until = None,
    endpoint: Endpoint = None,
    user: User = None,
    format: How = None,
    out: Out = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Run an analysis of the calls by name, or list them. Times are in UTC; nothing is asked or paid."""
    if name is None:
        if given := [
            f"--{word}"
            for word, value in (
                ("since", since),
                ("until", until),
                ("endpoint", endpoint),
                ("user", user),
                ("out", out),
            )
            if value
        ]:
            raise typer.BadParameter(f"{given[0]} is for one report; name it", param_hint="NAME")
        for each in names():
            print(textwrap.fill(f"{each:<28}{summary(each)}", 120, subsequent_indent=" " * 28))
        return
    from aiq.cli.narrow import Narrowing, narrowed

    wanted = found_name(name)
    scope = Narrowing(time_of(since, "--since"), time_of(until, "--until"), endpoint, user)
    with opened(conf, home) as session:
        endpoints = session.gateway.config.endpoints
        payloads = {each.name: each.inference_table for each in endpoints.values() if each.inference_table}
        text, values = narrowed(read_sql(wanted), scope, payloads)
        print_rows(session, text, values, format, out)


def names() -> list[str]:
    """The analyses that ship."""
    return sorted(path.stem for path in sql_folder().glob("*.sql"))


def found_name(name: str) -> str:
    """The name as the file has it. Raises AiqError for one that no file has, with the nearest."""
    known = names()
    wanted = name.removesuffix(".sql").replace("-", "_").lower()
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "`aiq report` lists them."
        raise AiqError(f"there is no report {name}; {hint}")
    return wanted


def summary(name: str) -> str:
    """The first sentence of what a file answers."""
    comment = []
    for line in read_sql(name).splitlines():
        if not line.startswith("--"):
            break
        comment.append(line.removeprefix("--").strip())
    return re.split(r"(?<=[.?])\s", " ".join(comment))[0]


def time_of(text: str | None, option: str, now: datetime | None = None) -> datetime | None:
    """A time with its zone, UTC if it names none: so long ago, or a date or time of ISO 8601."""
    if text is None:
        return None
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2].lower()]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time; give 90m, 24h, 7d or 4w, or a date such as 2026-11-01", param_hint=option
        ) from None


@contextmanager
def opened(conf: Path | None, home: Path | None, db: Path | None = None) -> Iterator[DuckDBSession]:
    """A session to read the tables with, in UTC; `db` is a DuckDB file, which is not written to."""
    import duckdb

    from aiq.engines.connect import connect

    con = duckdb.connect(db or ":memory:", read_only=db is not None, config={"python_enable_replacements": False})
    con.execute("SET TimeZone = 'UTC'")
    with con, connect(con, conf=conf, home=home) as session:
        session.settings = session.settings._replace(quiet=True)
        yield session


def print_rows(
    session: DuckDBSession, text: str, values: dict[str, datetime | str], format: Format | None, out: Path | None
) -> None:
    """The rows of one query, to standard output or a file."""
    kind = format or BY_SUFFIX.get(out.suffix.lower() if out else "", Format.table)
    if kind is Format.parquet and out is None:
        raise typer.BadParameter("parquet is not for a screen: give --out FILE.parquet", param_hint="--format")
    rows = session.sql(text, values or None)
    assert rows is not None
    if out is None:
        show_one(rows, kind)
    else:
        write_last(iter([rows]), kind, out)
