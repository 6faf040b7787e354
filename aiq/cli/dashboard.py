"""`aiq dashboard`: draws boards of Databricks' format over a home's tables."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from aiq.cli.options import Conf, Home
from aiq.cli.report import opened

dashboard = typer.Typer(help="Draw dashboards over the tables of a home, from Databricks' .lvdash.json files.")

BoardFile = Annotated[str, typer.Argument(help="A file, or the name of a board that ships.", metavar="BOARD")]


@dashboard.command()
def render(
    board: BoardFile,
    out: Annotated[Path, typer.Option(help="The HTML file to write.", metavar="FILE")],
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Draw a board into one HTML file that needs no network. Nothing is asked or paid."""
    from aiq.dashboards.files import find, load
    from aiq.dashboards.render import html_of

    if out.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{out} does not end with .html", param_hint="--out")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"{out} cannot be written: no such folder, or a folder itself", param_hint="--out")
    read = load(find(board))
    with opened(conf, home) as session:
        html, pages = html_of(session, read, read.name, {})
    _write(out, html.encode())
    tiles = [tile for page in pages for tile in page.tiles]
    problems = [tile for tile in tiles if tile.problem]
    print(f"{out}: {len(tiles) - len(problems)} of {len(tiles)} widgets drawn")
    for each in problems:
        print(f"  {each.tile.widget.title or each.tile.widget.name}: {' '.join(each.problem.split())[:200]}")


def _write(out: Path, content: bytes) -> None:
    """Writes a file as one, or not at all."""
    descriptor, path = tempfile.mkstemp(prefix=".aiq-", dir=out.absolute().parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(path, 0o644)
        os.replace(path, out)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
