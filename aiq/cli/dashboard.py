"""`aiq dashboard`: draws boards of Databricks' format over a home's tables."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Conf, Home
from aiq.cli.printable import printable
from aiq.cli.report import opened
from aiq.errors import AiqError, ConfigError

if TYPE_CHECKING:
    from aiq.dashboards.document import DrawnPage
    from aiq.engines.duckdb.session import DuckDBSession

dashboard = typer.Typer(help="Draw dashboards over the tables of a home, from Databricks' .lvdash.json files.")

Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-folder", help="Queries may read files of this folder; may be repeated.", metavar="FOLDER",
        exists=True, file_okay=False,
    ),
]  # fmt: skip
BoardFile = Annotated[str, typer.Argument(help="A file, or the name of a board that ships.", metavar="BOARD")]


@dashboard.command()
def render(
    board: BoardFile,
    out: Annotated[Path, typer.Option(help="x.html, x.png or x.pdf.", metavar="FILE")],
    allow_folder: Folders = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Draw a board into one file that needs no network. Times are in UTC; nothing is asked or paid."""
    from aiq.dashboards.files import find, load
    from aiq.dashboards.pictures import browser, picture
    from aiq.dashboards.render import html_of

    kind = out.suffix.lower().removeprefix(".")
    if kind not in ("html", "htm", "png", "pdf"):
        raise typer.BadParameter(f"{out} ends with none of .html, .png and .pdf", param_hint="--out")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"{out} cannot be written: no such folder, or a folder itself", param_hint="--out")
    read = load(find(board))
    is_picture = kind in ("png", "pdf")
    if is_picture:
        browser()  # what is missing is said before the work
    with _opened(conf, home, allow_folder) as session:
        html, pages = html_of(session, read, read.name, {})
    _write(out, picture(html, kind, read) if is_picture else html.encode("utf-8", "replace"))
    _said(str(out), pages)


@dashboard.command("list")
def list_boards(
    folder: Annotated[Path | None, typer.Argument(help="[default: the boards that ship]", metavar="FOLDER")] = None,
) -> None:
    """List the boards of a folder, or those that ship."""
    from aiq.dashboards.files import boards_in, load, name_of, shipped

    if folder is not None and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder", param_hint="FOLDER")
    for file in shipped() if folder is None else boards_in(folder):
        try:
            board = load(file)
        except AiqError as error:
            print(f"{name_of(file):<24}{error}")
            continue
        widgets = sum(len(page.tiles) for page in board.pages)
        print(f"{name_of(file):<24}{widgets} widgets on {', '.join(page.title for page in board.pages)}")


@dashboard.command()
def validate(board: BoardFile, allow_folder: Folders = None, conf: Conf = None, home: Home = None) -> None:
    """Compute every widget of a board, and name those that cannot be drawn. Exits with 1 where there are any."""
    from aiq.dashboards.files import find, load
    from aiq.dashboards.render import drawn_pages

    read = load(find(board))
    with _opened(conf, home, allow_folder) as session:
        pages = drawn_pages(session, read, {})
    if _said(read.name, pages):
        raise typer.Exit(1)


@dashboard.command()
def new(
    file: Annotated[Path, typer.Argument(help="The file to write, such as team.lvdash.json.", metavar="FILE")],
) -> None:
    """Write a small board to begin with: counters, a chart and a table over the calls."""
    from aiq.dashboards.files import name_of
    from aiq.dashboards.read import SUFFIX
    from aiq.dashboards.starter import starter

    path = file if file.name.endswith(SUFFIX) else file.with_name(file.name + SUFFIX)
    try:
        with path.open("x", encoding="utf-8") as made:
            made.write(starter(name_of(path)))
    except FileExistsError:
        raise typer.BadParameter(f"{path} is there already; choose another name", param_hint="FILE") from None
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror or error}", param_hint="FILE") from None
    print(f"{path}: draw it with `aiq dashboard render {path} --out {name_of(path)}.html`")


@dashboard.command()
def serve(
    boards: Annotated[
        str | None, typer.Argument(help="A file, a folder or a name. [default: the boards that ship]", metavar="BOARD")
    ] = None,
    host: Annotated[str, typer.Option(help="Another address than this machine's own lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8088,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name of this server; may be repeated.", metavar="NAME")
    ] = None,
    allow_folder: Folders = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Serve boards to a browser: filters, refresh and links that keep what is chosen. Until Ctrl-C."""
    from aiq.dashboards.app import BoardApp
    from aiq.dashboards.files import boards_in, find, shipped

    try:
        import uvicorn

        from aiq.serve.server import listening
    except ImportError:
        raise ConfigError('aiq dashboard serve needs uvicorn: pip install "aiq[dashboards,serve]"') from None
    folder = Path(boards).expanduser() if boards is not None else None
    if boards is None:
        files = shipped()
    elif folder is not None and folder.is_dir():
        files = boards_in(folder)
    else:
        files = [find(boards)]
    if not files:
        raise AiqError(f"there is no board in {boards}; a board's file ends with .lvdash.json")
    with _opened(conf, home, allow_folder) as session, listening(host, port) as bound:
        app = BoardApp(session, files, host, allow_host or ())
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{bound.getsockname()[1]}"
        if host not in ("127.0.0.1", "::1", "localhost"):
            print(f"{url} is open to other machines: everybody there sees these numbers and texts", file=sys.stderr)
        print(f"Boards are on {url}. Stop it with Ctrl-C.", flush=True)
        settings = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
        )
        uvicorn.Server(settings).run(sockets=[bound])


@contextmanager
def _opened(conf: Path | None, home: Path | None, folders: list[Path] | None) -> Iterator[DuckDBSession]:
    """A session for the queries of boards, which read the home's tables and the allowed folders alone."""
    from aiq.dashboards.allowed_files import allow_only

    with opened(conf, home) as session:
        allow_only(session, folders or ())
        yield session


def _said(name: str, pages: list[DrawnPage]) -> int:
    """Says how many widgets are drawn, and why others are not. Returns how many those are."""
    tiles = [tile for page in pages for tile in page.tiles]
    problems = [tile for tile in tiles if tile.problem]
    print(f"{name}: {len(tiles) - len(problems)} of {len(tiles)} widgets drawn")
    for each in problems:
        words = " ".join(each.problem.split())[:300]
        print(printable(f"  {each.tile.widget.title or each.tile.widget.name}: {words}"))
    return len(problems)


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
