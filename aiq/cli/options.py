"""The options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aiq.cli.formats import Format


class Dialect(StrEnum):
    """Whose SQL the statements are written in."""

    duckdb = "duckdb"
    databricks = "databricks"


Conf = Annotated[
    Path | None,
    typer.Option(help="Folder of the configuration. [default: $AIQ_CONF, then ./conf]", metavar="FOLDER"),
]
Home = Annotated[
    Path | None,
    typer.Option(help="Folder of the ledger and its tables. [default: $AIQ_HOME, then ./.aiq]", metavar="FOLDER"),
]
UsageContext = Annotated[
    str | None,
    typer.Option(
        help="Tags of the calls in the ledger, such as project=churn,end_user=u-17. [default: $AIQ_USAGE_CONTEXT]",
        metavar="TAGS",
    ),
]
WhoseSql = Annotated[Dialect, typer.Option(help="Whose SQL this is.")]
Requester = Annotated[str | None, typer.Option(help="Who asks: limits, permissions and ledger go by it.")]
Groups = Annotated[list[str] | None, typer.Option(help="A group of the user; may be repeated.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor what a statement took.")]
How = Annotated[Format | None, typer.Option(help="How to write the rows. [default: the suffix of --out, else table]")]
Out = Annotated[Path | None, typer.Option(help="Write the rows to a file.", metavar="FILE")]


def tags_of(usage_context: str | None) -> dict[str, str] | None:
    """The tags that `--usage-context` gives. Raises StatementError."""
    from aiq.config.usage_context import parse_usage_context

    return None if usage_context is None else parse_usage_context(usage_context, "--usage-context")


def home_folder(home: Path | None) -> Path:
    """The home folder a command works on: the one given, `$AIQ_HOME`, or ./.aiq."""
    import os

    return Path(home or os.environ.get("AIQ_HOME") or ".aiq").expanduser().absolute()
