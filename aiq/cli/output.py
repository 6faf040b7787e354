"""Where the rows of statements go: standard output, or a file that is written whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from aiq.cli.formats import EVERY_RESULT, Format, write, write_text
from aiq.cli.printable import printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from aiq.engines.duckdb.session import DuckDBSession


class Receipts:
    """The receipts of a session, kept back until the rows of their statement are shown."""

    def __init__(self, session: DuckDBSession) -> None:
        self._waiting: list[str] = []
        session.say = self._waiting.append

    def show(self) -> None:
        """Shows those that wait, on standard error."""
        sys.stdout.flush()
        while self._waiting:
            print(self._waiting.pop(0), file=sys.stderr, flush=True)


def show_all(results: Iterator[DuckDBPyRelation], kind: Format) -> None:
    """The rows of each statement on standard output."""
    for number, result in enumerate(results):
        if number and kind in (Format.markdown, Format.line):
            print()
        show_one(result, kind)


def show_one(result: DuckDBPyRelation, kind: Format) -> None:
    """The rows of one statement on standard output."""
    if kind is Format.table:
        from aiq.cli.explanation import explanation, is_explanation
        from aiq.cli.show import console, table

        console().print(explanation(result) if is_explanation(result.columns) else table(result))
    elif kind not in EVERY_RESULT:
        write_last(iter([result]), kind, None)
    elif sys.stdout.isatty():
        text = StringIO()
        write_text(result, kind, text)
        sys.stdout.write(printable(text.getvalue()))
    else:
        write_text(result, kind, sys.stdout)


def write_last(results: Iterator[DuckDBPyRelation], kind: Format, out: Path | None) -> None:
    """The rows of the last result to `out`, whole or not at all, or to standard output.

    Each is written to a file at once: a relation may read its rows later, when the statements after it have changed
    them. Raises StatementError where there is a file to write but no result.
    """
    from aiq.errors import StatementError

    descriptor, path = tempfile.mkstemp(prefix=".aiq-", dir=None if out is None else out.parent)
    os.close(descriptor)
    try:
        found = False
        for result in results:
            write(result, kind, path)
            found = True
        if out is None:
            _copy_to_screen(path)
        elif not found:
            raise StatementError(
                f"the statements ran, but none of them has rows, so {out} is not written; end with a SELECT, or leave "
                "out --out"
            )
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(path, 0o666 & ~mask)
            os.replace(path, out)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _copy_to_screen(path: str) -> None:
    """The file to standard output: the very bytes, unless it is a terminal, which they could steer."""
    import shutil

    if sys.stdout.isatty():
        with open(path, encoding="utf-8", errors="replace", newline="") as text:
            for line in text:
                sys.stdout.write(printable(line))
    else:
        with open(path, "rb") as data:
            shutil.copyfileobj(data, sys.stdout.buffer)
    sys.stdout.flush()
