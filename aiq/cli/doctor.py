"""`aiq doctor`: whether everything is in place, and what to do where it is not."""

from __future__ import annotations

from typing import Annotated

import typer

from aiq.cli.options import Conf, Home, home_folder
from aiq.cli.printable import printable


def doctor(
    conf: Conf = None,
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON array.")] = False,
) -> None:
    """Check python, packages, configuration, home folder, secrets and providers. No model is called, nothing is paid.

    Exit code 1 when anything fails.
    """
    from aiq.doctor import examine

    checks = examine(conf, home_folder(home))
    if as_json:
        import json

        print(json.dumps([check._asdict() for check in checks], indent=2, ensure_ascii=False))
    else:
        from rich.text import Text

        from aiq.cli.show import console

        styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        screen = console()
        for check in checks:
            line = Text.assemble(
                (f"{check.result:<4}", styles[check.result]), printable(f"  {check.subject}: {check.detail}")
            )
            screen.print(line, soft_wrap=True)
            if check.advice:
                screen.print(Text(printable(f"      {check.advice}")), soft_wrap=True)
    if any(check.result == "fail" for check in checks):
        raise typer.Exit(1)
