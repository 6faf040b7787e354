"""`aiq tables`: the ledger's Delta tables, and their upkeep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Home, home_folder

if TYPE_CHECKING:
    from aiq.ledger.tables import Tables

tables = typer.Typer(help="The ledger's Delta tables: list, optimize, vacuum.", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(help="<catalog>.<schema>.<table>. [default: all]")]


@tables.command("list")
def list_tables(
    home: Home = None, as_json: Annotated[bool, typer.Option("--json", help="As a JSON array.")] = False
) -> None:
    """Show every table with its rows, files, size, version and folder."""
    found = _open(home)
    infos = found.info()
    if as_json:
        print(
            json.dumps(
                [
                    {
                        **i._asdict(),
                        "committed": i.committed and i.committed.isoformat(),
                        "path": str(found.path(i.name)),
                    }
                    for i in infos
                ],
                indent=2,
            )
        )
        return
    if not infos:
        print(f"nothing has been recorded in {home_folder(home)} yet")
        return
    from aiq.cli.show import console, empty_grid

    grid = empty_grid()
    for column in ("table", "rows", "files", "KiB", "version", "last commit (UTC)", "folder"):
        grid.add_column(
            column, justify="right" if column in ("rows", "files", "KiB", "version") else "left", overflow="fold"
        )
    for i in infos:
        committed = f"{i.committed:%Y-%m-%d %H:%M:%S}" if i.committed else ""
        folder = str(found.path(i.name))
        grid.add_row(i.name, f"{i.rows:,}", f"{i.files:,}", f"{i.bytes / 1024:,.1f}", str(i.version), committed, folder)
    console().print(grid)


@tables.command()
def optimize(name: Name = None, home: Home = None) -> None:
    """Rewrite many small files as few large ones."""
    found = _open(home)
    for each in [name] if name else found.names():
        metrics = found.optimize(each)
        removed, added = metrics.get("numFilesRemoved", 0), metrics.get("numFilesAdded", 0)
        print(f"{each}: {removed} files became {added}" if removed else f"{each}: nothing to do")


@tables.command()
def vacuum(
    name: Name = None,
    retain_hours: Annotated[
        int, typer.Option(help="Keep what versions of the last hours need; less than 168 may break readers.", min=0)
    ] = 168,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    home: Home = None,
) -> None:
    """Delete files that only old versions of a table need."""
    found = _open(home)
    for each in [name] if name else found.names():
        files = found.vacuum(each, retain_hours, dry_run=dry_run)
        print(f"{each}: {len(files)} files {'would be' if dry_run else 'were'} deleted")
        if dry_run:
            for file in files:
                print(f"  {file}")


def _open(home: Home) -> Tables:
    from aiq.config.load import load_config
    from aiq.ledger.delta import root_of
    from aiq.ledger.tables import Tables

    place = home_folder(home)
    return Tables(place, root_of(place, load_config(None, place).settings))
