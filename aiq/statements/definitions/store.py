"""The definitions of functions and views that a home keeps for all its sessions: one SQLite file, several processes.

A definition that was accepted must never be lost, so what cannot be read is an error. Knows no engine and no SQL.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from aiq.errors import LedgerError, StatementError
from aiq.ledger.sqlite_file import opened, transaction

FILE = "definitions.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS definitions (
    family TEXT NOT NULL,
    folded TEXT NOT NULL,
    kind TEXT NOT NULL,
    catalog TEXT NOT NULL,
    schema TEXT NOT NULL,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    dialect TEXT NOT NULL,
    asks INTEGER NOT NULL,
    owner TEXT NOT NULL,
    created_s REAL NOT NULL,
    PRIMARY KEY (family, folded)
);
"""
_COLUMNS = "kind, catalog, schema, name, text, dialect, asks, owner, created_s"
_TIMEOUT_S = 30.0

_using = threading.RLock()
"""Closing a descriptor of the file drops SQLite's locks of this whole process, so no thread does while one writes."""


class Definition(NamedTuple):
    """One definition as written. `catalog` and `schema` are '' for an engine's own; a temporary one is in neither.

    `asks` says whether reading it may ask a model; where not, an engine may know it as well. `created_s` is in UTC
    seconds.
    """

    kind: str
    catalog: str
    schema: str
    name: str
    text: str
    dialect: str
    asks: bool
    owner: str
    created_s: float
    temporary: bool = False

    @property
    def family(self) -> str:
        """What its name is unique among: functions, or what FROM reads."""
        return family_of(self.kind)

    @property
    def place(self) -> tuple[str, str, str]:
        """Its whole name, in which case does not count."""
        return folded(self.catalog, self.schema, self.name)

    def __str__(self) -> str:
        return ".".join(part for part in (self.catalog, self.schema, self.name) if part)


def family_of(kind: str) -> str:
    return "function" if kind == "FUNCTION" else "relation"


def folded(*parts: str) -> tuple[str, str, str]:
    """A whole name as it is compared."""
    catalog, schema, name = (part.lower() for part in parts)
    return catalog, schema, name


class Definitions:
    """The definitions that one session sees: those of its home, and the temporary ones of its own.

    Not for several threads at once. Raises LedgerError where the file cannot be read or written.
    """

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = home / FILE, clock
        self._temporary: dict[tuple[str, tuple[str, str, str]], Definition] = {}
        self._read: tuple[bytes, dict[tuple[str, tuple[str, str, str]], Definition]] = b"", {}

    def all(self, family: str) -> list[Definition]:
        """The definitions of one family, temporary ones first."""
        return [one for (of, _), one in [*self._temporary.items(), *self._kept().items()] if of == family]

    def names(self) -> set[str]:
        """The last part of each name, in lower case."""
        return {place[2] for _, place in (*self._temporary, *self._kept())}

    def find(self, family: str, place: tuple[str, str, str], *, temporary: bool = False) -> Definition | None:
        """The definition of a whole name."""
        return (self._temporary if temporary else self._kept()).get((family, folded(*place)))

    def add(self, made: Definition, *, replace: bool) -> None:
        """Keeps a definition. Raises StatementError where one of this name is there and is not to be replaced."""
        made = made._replace(created_s=self._clock())
        if made.temporary:
            key = made.family, made.place
            if key in self._temporary and not replace:
                raise _there(made)
            self._temporary[key] = made
            return
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        values = (made.family, ".".join(made.place), *made[:9])
        try:
            with self._writing() as connection:
                connection.execute(
                    f"{verb} INTO definitions (family, folded, {_COLUMNS}) VALUES ({','.join('?' * 11)})", values
                )
        except sqlite3.IntegrityError:
            raise _there(made) from None

    def remove(self, made: Definition) -> bool:
        """Whether it was there."""
        if made.temporary:
            return self._temporary.pop((made.family, made.place), None) is not None
        with self._writing() as connection:
            done = connection.execute(
                "DELETE FROM definitions WHERE family = ? AND folded = ?", (made.family, ".".join(made.place))
            )
            return done.rowcount > 0

    def _kept(self) -> dict[tuple[str, tuple[str, str, str]], Definition]:
        try:
            with _using, self._path.open("rb") as file:
                header = file.read(100)
            if header == self._read[0] and header:  # SQLite counts each change in it
                return self._read[1]
            if not header:
                return {}
            with _using, contextlib.closing(self._opened({})) as connection:
                rows = connection.execute(f"SELECT {_COLUMNS} FROM definitions ORDER BY created_s").fetchall()
        except FileNotFoundError:
            return {}
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from None
        found = [Definition(*row)._replace(asks=bool(row[6])) for row in rows]
        self._read = header, {(one.family, one.place): one for one in found}
        return self._read[1]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; it is on the disk when this ends."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (
                _using,
                contextlib.closing(self._opened({"synchronous": "FULL"})) as connection,
                transaction(connection),
            ):
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.IntegrityError:
            raise
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from None

    def _opened(self, pragmas: Mapping[str, str]) -> sqlite3.Connection:
        return opened(self._path, timeout_s=_TIMEOUT_S, wal=False, pragmas=pragmas)

    def _failed(self, error: Exception) -> LedgerError:
        return LedgerError(
            f"the definitions of functions and views in {self._path} cannot be used: {error}. Put the file back from a "
            "backup, or move it away and define them again"
        )


def _there(made: Definition) -> StatementError:
    return StatementError(
        f"there is a {made.kind.lower()} {made} already; write CREATE OR REPLACE, or CREATE {made.kind} IF NOT EXISTS"
    )


def _use_anew() -> None:
    """In a forked child the thread that held it is no more."""
    global _using
    _using = threading.RLock()


os.register_at_fork(after_in_child=_use_anew)
