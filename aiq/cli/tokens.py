"""`aiq tokens`: who may ask over REST."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Home, home_folder
from aiq.errors import StatementError

if TYPE_CHECKING:
    from aiq.serve.tokens import Tokens

tokens = typer.Typer(no_args_is_help=True, help="Tokens of REST callers: kept as hashes in the home folder.")
_LIFETIME = re.compile(r"(\d+)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@tokens.command()
def create(
    user: Annotated[str, typer.Argument(help="Who it speaks for: an e-mail, or a service principal's id.")],
    group: Annotated[list[str] | None, typer.Option(help="A group of that user; may come several times.")] = None,
    service_principal: Annotated[bool, typer.Option(help="For a machine: OAuth's client id and secret.")] = False,
    expires: Annotated[str | None, typer.Option(help="After 30d, 12h, 15m.", metavar="TIME")] = None,
    comment: Annotated[str, typer.Option(help="What it is for.")] = "",
    home: Home = None,
) -> None:
    """Make a token and print it. It cannot be shown again."""
    lifetime_s = None
    if expires is not None:
        found = _LIFETIME.fullmatch(expires.strip().lower())
        if found is None or int(found[1]) == 0:
            raise typer.BadParameter(f"--expires must be a time such as 30d, 12h or 15m, not {expires}")
        lifetime_s = float(int(found[1]) * _SECONDS[found[2]])
    made = _open(home).create(
        user, group or (), service_principal=service_principal, comment=comment, lifetime_s=lifetime_s
    )
    print(made)


@tokens.command(name="list")
def list_(home: Home = None) -> None:
    """List the tokens that hold: everything but the tokens themselves."""
    from rich.text import Text

    from aiq.cli.show import console, empty_grid

    grid = empty_grid()
    for name in ("id", "user", "groups", "created", "expires", "comment"):
        grid.add_column(name)
    for each in _open(home).all():
        row = (each.id, each.user, ", ".join(each.groups), _day(each.created_s), _day(each.expires_s), each.comment)
        grid.add_row(*map(Text, row))
    console().print(grid)


@tokens.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `aiq tokens list` shows it.")], home: Home = None
) -> None:
    """End a token at once."""
    if not _open(home).revoke(token_id):
        raise StatementError(f"there is no token with id {token_id}; see aiq tokens list")
    print(f"token {token_id} is revoked")


def _open(home: Home) -> Tokens:
    from aiq.serve.tokens import Tokens

    return Tokens(home_folder(home))


def _day(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
