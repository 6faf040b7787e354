"""Answers that live longer than their session: one SQLite file, shared by all processes of a home.

A store of answers may always be lost, and must never be wrong: what cannot be read is a miss, with a warning. Knows
nothing of statements.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from aiq.answers.log import KEY_BYTES
from aiq.errors import LedgerError
from aiq.ledger.file_lock import locked
from aiq.ledger.sqlite_file import is_corrupt, opened, set_aside, transaction, used_bytes

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY,
    scope BLOB NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    created_s REAL NOT NULL,
    expires_s REAL NOT NULL,
    used_s REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS answers_key ON answers (scope, key);
CREATE INDEX IF NOT EXISTS answers_used ON answers (used_s);
CREATE INDEX IF NOT EXISTS answers_expires ON answers (expires_s);
"""
_UPSERT = """
INSERT INTO answers (scope, key, value, checksum, created_s, expires_s, used_s) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, checksum = excluded.checksum,
    created_s = excluded.created_s, expires_s = excluded.expires_s, used_s = excluded.used_s
"""
_KEYS_PER_QUERY = 500
_DELETE_ROWS = 1000
"""Answers deleted in one transaction, so that other processes' writes do not wait long."""
_USED_S = 3600.0
"""How exactly it is known when an answer was last used: reading it twice within this time writes nothing."""
_MAX_USED = 100_000
_KEEP_SHARE = 0.98
"""What is left of the allowed size after answers were evicted: not every write evicts, and none for long."""
_log = logging.getLogger("aiq.ledger")
_Result = TypeVar("_Result")


class _Connection(NamedTuple):
    """A connection, and which file it has open: the name may mean another one by now."""

    sqlite: sqlite3.Connection
    inode: int


class DurableAnswers:
    """Answers by scope and key, each until its time is over, or until `max_bytes` are full of later used ones.

    The file is created by the first write. May be called from any thread.
    """

    def __init__(self, path: Path, *, max_bytes: int, clock: Callable[[], float], timeout_s: float = 30.0) -> None:
        """`timeout_s`: how long a write waits for another process' write."""
        self._path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._timeout_s = timeout_s
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._writer: _Connection | None = None
        self._reader: _Connection | None = None
        self._used: set[int] = set()
        self._warned = ""

    @property
    def exists(self) -> bool:
        """Whether anything was ever stored."""
        return self._path.exists()

    def remember(self, scope: bytes, ttl_s: float, entries: Sequence[tuple[bytes, str]]) -> None:
        """Stores answers, for `ttl_s` seconds from now, in one transaction. Raises LedgerError: then none is stored."""
        if len(scope) != KEY_BYTES or any(len(key) != KEY_BYTES for key, _ in entries):
            raise ValueError(f"keys and scopes have {KEY_BYTES} bytes")
        now = self._clock()
        rows = []
        for key, text in entries:
            value = text.encode("utf-8", "surrogatepass")
            rows.append((scope, key, value, _checksum(scope, key, value), now, now + ttl_s, now))

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(_UPSERT, rows)
                self._write_used(connection, now)
            self._evict(connection, now)

        if rows:
            self._write(write)

    def recall(self, scope: bytes, keys: Sequence[bytes], now: float) -> dict[bytes, str]:
        """The values of those of `keys` that `scope` has, and that have not expired at `now` (UTC seconds)."""

        def read(connection: sqlite3.Connection) -> dict[bytes, str]:
            found: dict[bytes, str] = {}
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                chunk = keys[start : start + _KEYS_PER_QUERY]
                query = (
                    "SELECT id, key, value, checksum, used_s FROM answers "
                    f"WHERE scope = ? AND key IN ({','.join('?' * len(chunk))}) AND expires_s > ?"
                )
                for number, key, value, checksum, used_s in connection.execute(query, (scope, *chunk, now)):
                    if checksum == _checksum(scope, key, value):
                        found[key] = value.decode("utf-8", "surrogatepass")
                        if used_s < now - _USED_S and len(self._used) < _MAX_USED:
                            self._used.add(number)
            return found

        return self._read(read, {})

    def forget_expired(self, now: float) -> int:
        """Deletes what has expired at `now`. Returns how many. Raises LedgerError."""

        def delete(connection: sqlite3.Connection) -> int:
            self._write_used(connection, now)
            return _delete_expired(connection, now)

        return self._write(delete) if self._path.exists() else 0

    def clear(self) -> None:
        """Deletes everything, on the disk too. Raises LedgerError."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM answers")
            with contextlib.suppress(sqlite3.OperationalError):  # a reader is busy: the room is used again later
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        if self._path.exists():
            self._write(delete)

    def stats(self) -> tuple[int, int, float | None]:
        """Entries, bytes, and when the oldest was stored (UTC seconds; None where there is none)."""

        def read(connection: sqlite3.Connection) -> tuple[int, int, float | None]:
            count, oldest = connection.execute("SELECT count(*), min(created_s) FROM answers").fetchone()
            return count, used_bytes(connection), oldest

        nothing: tuple[int, int, float | None] = (0, 0, None)
        return self._read(read, nothing)

    def close(self) -> None:
        """Closes the file. What is used afterwards opens it again."""
        if self._used:
            with contextlib.suppress(LedgerError):
                self._write(lambda connection: self._write_used(connection, self._clock()))
        with self._writing, self._reading:
            self._disconnect()

    def _evict(self, connection: sqlite3.Connection, now: float) -> None:
        """Deletes what has expired, then what was not used for the longest time, once the file is too large."""
        if used_bytes(connection) <= self._max_bytes:
            return
        _delete_expired(connection, now)
        delete = f"DELETE FROM answers WHERE id IN (SELECT id FROM answers ORDER BY used_s, id LIMIT {_DELETE_ROWS})"
        while used_bytes(connection) > self._max_bytes * _KEEP_SHARE and connection.execute(delete).rowcount:
            pass

    def _write_used(self, connection: sqlite3.Connection, now: float) -> None:
        with self._reading:
            used, self._used = self._used, set()
        connection.executemany("UPDATE answers SET used_s = ? WHERE id = ?", [(now, number) for number in used])

    def _write(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        while True:
            with self._writing:
                try:
                    self._writer = self._current(self._writer) or self._connect()
                    return action(self._writer.sqlite)
                except (sqlite3.Error, OSError) as error:
                    if self._writer is None or not is_corrupt(error):
                        raise LedgerError(
                            f"cannot write the stored answers {self._path}: {error}. Free space on that disk and check "
                            "its rights, or choose another folder with AIQ_HOME or home=..."
                        ) from error
                    reason, broken = error, self._writer.inode
            self._set_aside(broken, reason)

    def _read(self, action: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        if not self._path.exists():
            return otherwise
        with self._reading:
            try:
                self._reader = self._current(self._reader) or self._connect_reader()
                return action(self._reader.sqlite)
            except (sqlite3.Error, OSError) as error:
                reason, broken = error, None if self._reader is None else self._reader.inode
        if broken is not None and is_corrupt(reason):
            self._set_aside(broken, reason)
        elif str(reason) != self._warned:
            self._warned = str(reason)
            _log.warning("the stored answers %s cannot be read, and are not used: %s", self._path, reason)
        return otherwise

    def _current(self, connection: _Connection | None) -> _Connection | None:
        """`connection`, or None where its file has been deleted, or set aside by another process."""
        if connection is not None and self._inode() != connection.inode:
            connection.sqlite.close()
            return None
        return connection

    def _connect(self) -> _Connection:
        with self._alone():
            try:
                return self._open()
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                self._rename(error)
                return self._open()

    def _open(self) -> _Connection:
        sqlite = opened(
            self._path,
            timeout_s=self._timeout_s,
            schema=_SCHEMA,
            pragmas={"synchronous": "NORMAL", "journal_size_limit": 1 << 24},
        )
        try:
            return _Connection(sqlite, self._path.stat().st_ino)
        except BaseException:
            sqlite.close()
            raise

    def _connect_reader(self) -> _Connection:
        try:
            return self._connect()
        except (sqlite3.OperationalError, OSError):
            # A disk that cannot be written. Without a write-ahead log nobody is writing either.
            immutable = "" if self._path.with_name(self._path.name + "-wal").exists() else "&immutable=1"
            uri = f"{self._path.absolute().as_uri()}?mode=ro{immutable}"
            sqlite = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            return _Connection(sqlite, self._path.stat().st_ino)

    def _disconnect(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.sqlite.close()
        self._writer = self._reader = None

    def _set_aside(self, broken: int, reason: Exception) -> None:
        """Renames the damaged file with the inode `broken` to `*.corrupt`, unless another process already did."""
        with self._writing, self._reading:
            self._disconnect()
            with contextlib.suppress(OSError), self._alone():
                if self._inode() == broken:
                    self._rename(reason)

    def _rename(self, reason: Exception) -> None:
        aside = set_aside(self._path)
        _log.warning("the stored answers were damaged (%s) and are not used; they are kept as %s", reason, aside)

    def _inode(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return None

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """While no other process, and no other store of this one, opens or renames the file."""
        return locked(self._path.with_suffix(".lock"))


def _delete_expired(connection: sqlite3.Connection, now: float) -> int:
    delete = f"DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE expires_s <= ? LIMIT {_DELETE_ROWS})"
    total = 0
    while deleted := connection.execute(delete, (now,)).rowcount:
        total += deleted
    return total


def _checksum(scope: bytes, key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key, zlib.crc32(scope)))
