"""The command line `aiq`: one file a group of commands. Knows what to print and the exit codes, nothing of the work.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 an alert is triggered, 130 stopped with Ctrl-C, 143 with SIGTERM.
Everything heavy is imported by the command that needs it, so that `aiq --help` is quick.
"""

from __future__ import annotations

import sys
import warnings
from io import TextIOWrapper
from typing import TextIO

from aiq.cli.app import app
from aiq.cli.printable import printable
from aiq.cli.stopping import exit_code
from aiq.errors import AiqError, StatementCancelled


def main() -> int:
    """Runs the command line and returns the exit code. Errors made for people are one message on standard error."""
    warnings.showwarning = _show_warning
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that cannot show a character is no reason to fail
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except SystemExit as end:
        return exit_code(end.code) if isinstance(end.code, int) else 0 if end.code is None else 1
    except (KeyboardInterrupt, StatementCancelled) as stop:
        return _failed(str(stop) or "stopped; answers already paid for are in the ledger", exit_code(130))
    except AiqError as error:
        return _failed(str(error), 1)
    except Exception as error:
        if not _is_for_people(error):
            raise
        return _failed(str(error), 1)
    return 0


def _failed(message: str, code: int) -> int:
    print(printable(f"aiq: {message}"), file=sys.stderr)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """What the engine warns of is for the person at the terminal, who wants no line of our source."""
    print(printable(f"aiq: warning: {message}"), file=sys.stderr)


def _is_for_people(error: Exception) -> bool:
    """DuckDB's words on a statement, the system's on a file; anything else is a bug of ours and keeps its traceback."""
    duckdb = sys.modules.get("duckdb")
    return isinstance(error, OSError) or (duckdb is not None and isinstance(error, duckdb.Error))
