"""`aiq demo`: the whole thing on real text, in under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    home: Annotated[Path, typer.Option(help="Where the demo keeps its files.", metavar="FOLDER")] = Path(".aiq/demo"),
    rows: Annotated[
        int | None, typer.Option(help="At most so many packages. [default: all that it may cost]", min=1)
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Ask the simulator, whatever else there is.")] = False,
) -> None:
    """See ai_query at work: descriptions of installed packages, three statements, then the bill from the tables.

    Asks the endpoint of OPENAI_API_KEY or OPENAI_BASE_URL (models: OPENAI_MODEL, OPENAI_EMBEDDING_MODEL) for less
    than a cent; without them the models of `aiq local`, and where those are not installed a simulator. It says which.
    """
    from aiq.demo.story import run

    if not run(home, rows, simulate):
        raise typer.Exit(1)
