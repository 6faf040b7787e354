"""How a SQLite file of a home is opened, written and found damaged: once, for all that is kept in one.

Knows no table, and not what a failure means: some files may be lost and some must never be, so their owners say that.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def opened(
    path: Path,
    *,
    timeout_s: float,
    schema: str = "",
    wal: bool = True,
    pragmas: Mapping[str, str | int] = MappingProxyType({}),
) -> sqlite3.Connection:
    """A connection to `path`, which is made (mode 0600) if need be. Raises OSError and sqlite3.Error.

    `timeout_s`: how long it waits for other processes. It is in autocommit mode, and may be used from any thread by one
    at a time. With `wal`, those who read it and the one who writes do not wait for each other. `pragmas` are set in
    their order, before the statements of `schema` run.
    """
    # SQLite gives its other files the mode of this one. No descriptor of a database that is there may be opened and
    # closed: that drops the locks of every connection of this process.
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}")
        if schema:
            connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that writes: committed when the block ends, taken back where it raises."""
    connection.execute("BEGIN IMMEDIATE")
    with ended(connection):
        yield


@contextlib.contextmanager
def ended(connection: sqlite3.Connection) -> Iterator[None]:
    """Commits the transaction that has begun, or takes it back."""
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the file takes without the pages that are free to be used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def is_corrupt(error: Exception) -> bool:
    """Whether the file is damaged, or no database at all."""
    return _code(error) in _CORRUPT


def is_busy(error: Exception) -> bool:
    """Whether another process held the file for longer than `timeout_s`."""
    return _code(error) in _BUSY


def set_aside(path: Path) -> Path:
    """Renames a damaged file, and what SQLite has beside it, to `*.corrupt`. Raises OSError.

    The database goes last: as long as it has its name, the rest belongs to it.
    """
    aside = path.with_name(f"{path.name}.corrupt")
    for end in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


def _code(error: Exception) -> int | None:
    """SQLite's primary result code; None for an error that is not SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
