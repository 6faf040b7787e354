"""All commands in one tree."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from aiq import __version__
from aiq.cli.alerts import alerts
from aiq.cli.ask import ask
from aiq.cli.dashboard import dashboard
from aiq.cli.demo import demo
from aiq.cli.doctor import doctor
from aiq.cli.endpoints import endpoints
from aiq.cli.init import init
from aiq.cli.local import local
from aiq.cli.logs import logs, usage
from aiq.cli.metrics import metrics
from aiq.cli.report import report
from aiq.cli.serve import serve
from aiq.cli.shell import shell
from aiq.cli.simulate import simulate
from aiq.cli.sql import sql
from aiq.cli.tables import tables
from aiq.cli.tokens import tokens

app = typer.Typer(
    name="aiq",
    help="A language model as a SQL function: ai_query in DuckDB, with the bill and the payloads in Delta tables.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init)
app.command()(sql)
app.command()(ask)
app.command()(shell)
app.command()(demo)
app.add_typer(endpoints, name="endpoints")
app.add_typer(tables, name="tables")
app.add_typer(local, name="local")
app.command()(report)
app.command()(logs)
app.command()(usage)
app.command()(metrics)
app.add_typer(dashboard, name="dashboard")
app.add_typer(alerts, name="alerts")
app.command()(serve)
app.add_typer(tokens, name="tokens")
app.command()(simulate)
app.command()(doctor)


@app.command()
def version() -> None:
    """Show the version."""
    print(f"aiq {__version__}")


def _show_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            shell()
        else:
            print(context.get_help())
            raise typer.Exit(2)
