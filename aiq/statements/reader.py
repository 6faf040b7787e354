"""Where a person reads what is said beside a result: a terminal's standard error, or a notebook's cell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from aiq.config.endpoint import Settings


def is_notebook() -> bool:
    """Whether this process is a notebook's kernel, and has not only loaded its package."""
    ipython: Any = sys.modules.get("IPython") if "ipykernel" in sys.modules else None
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def is_terminal() -> bool:
    """Whether a person reads standard error as it comes."""
    return sys.stderr is not None and sys.stderr.isatty()


def speaks(settings: Settings, quiet: bool | None) -> bool:
    """Whether a statement says what it does and took: as `aiq_quiet` says, else where a person is there to read it."""
    return settings.progress and (is_notebook() or is_terminal()) if quiet is None else not quiet


def show(line: str) -> None:
    """Says a line on standard error, or, in a notebook, under what its cell shows."""
    if is_notebook():
        _under_the_cell(line)
    else:
        print(line, file=sys.stderr, flush=True)


def _under_the_cell(line: str) -> None:
    ipython: Any = import_module("IPython")
    shell = ipython.get_ipython()

    def say() -> None:
        ipython.display.display(ipython.display.Pretty(line))

    if shell is None or not hasattr(shell, "events"):
        say()
        return

    def at_the_end(*_: object) -> None:
        shell.events.unregister("post_run_cell", at_the_end)
        say()

    register: Callable[..., None] = shell.events.register
    register("post_run_cell", at_the_end)
