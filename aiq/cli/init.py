"""`aiq init`: a folder to start in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Start(StrEnum):
    """Whom to ask first."""

    openai = "openai"
    anthropic = "anthropic"
    azure = "azure"
    bedrock = "bedrock"
    vertex = "vertex"
    local = "local"
    simulate = "simulate"


def init(
    folder: Annotated[Path, typer.Argument(help="Made if need be. [default: this one]", show_default=False)] = Path(),
    provider: Annotated[Start, typer.Option(help="Whose models the endpoints ask.")] = Start.openai,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample", help="Also make shop.duckdb (products, reviews, tickets), a picture and a Databricks statement."
        ),
    ] = False,
) -> None:
    """Write endpoint files, a .gitignore, and with --sample things to try, and say what comes next.

    Nothing that is there is written over.
    """
    from aiq.demo.project import PROVIDERS, SHOP, start

    folder.mkdir(parents=True, exist_ok=True)
    written = start(folder, provider.value, sample=sample)
    of = PROVIDERS[provider.value]
    print("\n".join(f"wrote {name}" for name in written))
    if of.to_change:
        print(f"\nPut yours in the place of {of.to_change} in conf/endpoints/*.yml.")
    enter = [] if folder == Path() else [f"cd {folder}"]
    ask = "aiq sql \"SELECT ai_query('chat', 'Say hello') AS answer\""
    if sample:
        ask = (
            f"aiq sql --db {SHOP} \"SELECT stars, ai_query('chat', 'Summarise in five words: ' || body) AS summary "
            'FROM reviews LIMIT 5"'
        )
    print("\nNext:")
    for command in [*enter, *of.key, "aiq doctor                   # checks keys and endpoints, asks no model", ask]:
        print(f"  {command}")
