"""The options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Conf = Annotated[
    Path | None,
    typer.Option(help="Folder of the configuration. [default: $AIQ_CONF, then ./conf]", metavar="FOLDER"),
]
Home = Annotated[
    Path | None,
    typer.Option(help="Folder of the ledger and its tables. [default: $AIQ_HOME, then ./.aiq]", metavar="FOLDER"),
]


def home_folder(home: Path | None) -> Path:
    """The home folder a command works on: the one given, `$AIQ_HOME`, or ./.aiq."""
    import os

    return Path(home or os.environ.get("AIQ_HOME") or ".aiq").expanduser().absolute()
