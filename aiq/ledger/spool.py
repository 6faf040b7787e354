"""A crash-safe queue of ledger groups on local disk: one SQLite file per process, in WAL mode.

A group that `write` took survives `kill -9`. Knows neither Delta nor what is in a group.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from aiq.errors import LedgerError
from aiq.ledger import sqlite_file

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, kept BLOB NOT NULL);
"""
_DELETE_ROWS = 64
"""Groups deleted in one transaction: while it runs, a write waits (about 1 ms for 64 groups of 100 KB)."""
_TRUNCATE_BYTES = 16 * 1024 * 1024
"""A write-ahead log larger than this is cut back, for which a write may have to wait a moment."""


class CorruptSpool(LedgerError):
    """The spool file is damaged. `path` is where it lies."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"the ledger's spool {path} is damaged: {reason}")


class Spool:
    """An append-only queue of byte groups, numbered from 1 by `seq`, which is never used twice.

    `app_id` names the queue in Delta's application transactions. A lock on `<name>.lock` is held as long as the
    process lives (not on the SQLite file: closing any descriptor of that would drop SQLite's own locks).
    """

    def __init__(self, path: Path, lock: int, *, power_safe: bool = False) -> None:
        """Use `Spool.create` or `Spool.take`. `lock` is the descriptor that holds the lock."""
        self.path = path
        self.app_id = f"aiq-{path.stem}"
        self._file_lock = lock
        self.pid = os.getpid()
        self._closed = False
        self._writing = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._last: int | None = None
        try:
            self._writer = self._connect(
                _SCHEMA, {"synchronous": "FULL" if power_safe else "NORMAL", "wal_autocheckpoint": 0}
            )
        except (sqlite3.Error, OSError) as error:
            raise self._error(error, "open") from error

    @classmethod
    def create(cls, folder: Path, *, power_safe: bool = False) -> Spool:
        """A new spool in `folder`. `power_safe` also survives a power cut, at the price of an fsync per group."""
        while True:
            path = folder / f"{uuid.uuid4().hex}.db"
            try:
                lock = _lock(path)
            except OSError as error:
                raise LedgerError(_unwritable(path, str(error))) from error
            if lock is None:
                continue
            try:
                return cls(path, lock, power_safe=power_safe)
            except BaseException:
                _remove(path)
                os.close(lock)
                raise

    @classmethod
    def take(cls, path: Path) -> Spool | None:
        """The spool of a process that is dead; None while it lives or where another process has taken it.

        Raises CorruptSpool, with the lock given up again.
        """
        lock = _lock(path)
        if lock is None:
            return None
        if not path.exists():
            _remove(path)
            os.close(lock)
            return None
        try:
            return cls(path, lock)
        except BaseException:
            os.close(lock)
            raise

    @property
    def is_complete(self) -> bool:
        """Whether `complete` was called: each intent in it has its outcome."""
        try:
            return bool(self._writer.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.Error as error:
            raise self._error(error, "read") from error

    def complete(self) -> None:
        """Notes that each intent in it has its outcome, so that a search for one without is not needed."""
        try:
            self._writer.execute("PRAGMA user_version = 1")
        except sqlite3.Error as error:
            raise self._error(error, "write") from error

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return _size(self.path) + _size(self.path.with_name(self.path.name + "-wal"))

    def write(self, payload: bytes) -> None:
        """Appends a group; durable when it returns. Raises LedgerError, and then nothing is written."""
        if self.pid != os.getpid():
            raise LedgerError(
                "the ledger was opened before this process was forked; open one in each process (spawn, not fork)"
            )
        with self._writing:
            if self._closed:
                raise LedgerError("the ledger is closed")
            try:
                if self._last is None:
                    (last,) = self._writer.execute("SELECT max(seq) FROM spool").fetchone()
                    self._last = max(last or 0, self.kept()[0])
                self._writer.execute("INSERT INTO spool VALUES (?, ?)", (self._last + 1, payload))
            except sqlite3.Error as error:
                if self._writer.in_transaction:
                    self._writer.rollback()
                raise self._error(error, "write") from error
            self._last += 1

    def read(self, after: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        """Groups with a larger `seq` than `after`, in order, until `limit_bytes` are exceeded.

        Of a damaged file, what can still be read comes first; the next call raises CorruptSpool.
        """
        rows: list[tuple[int, bytes]] = []
        size = 0
        cursor = self._connection().cursor()
        try:
            for row in cursor.execute("SELECT seq, payload FROM spool WHERE seq > ? ORDER BY seq", (after,)):
                rows.append(row)
                size += len(row[1])
                if size >= limit_bytes:
                    break
        except sqlite3.Error as error:
            reason = self._error(error, "read")
            if not (rows and isinstance(reason, CorruptSpool)):
                raise reason from error
        finally:
            cursor.close()
        return rows

    def kept(self) -> tuple[int, bytes]:
        """The last forgotten `seq` (0 at first) and the bytes that were kept of all up to it."""
        try:
            row = self._connection().execute("SELECT seq, kept FROM forgotten").fetchone()
        except sqlite3.Error as error:
            raise self._error(error, "read") from error
        return (0, b"") if row is None else (row[0], bytes(row[1]))

    def forget(self, up_to: int, keep: bytes) -> None:
        """Deletes the groups up to `up_to`, leaving `keep` in their place. Checkpoints the write-ahead log.

        Interrupted anywhere, the oldest groups are gone and `keep` is there: groups left over are read again.
        """
        try:
            connection = self._connection()
            with self._writing:
                connection.execute("INSERT OR REPLACE INTO forgotten VALUES (1, ?, ?)", (up_to, keep))
            deleted = _DELETE_ROWS
            while deleted == _DELETE_ROWS:
                with self._writing:
                    deleted = connection.execute(
                        "DELETE FROM spool WHERE seq IN (SELECT seq FROM spool WHERE seq <= ? ORDER BY seq LIMIT ?)",
                        (up_to, _DELETE_ROWS),
                    ).rowcount
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if _size(self.path.with_name(self.path.name + "-wal")) > _TRUNCATE_BYTES:
                with self._writing:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise self._error(error, "write") from error

    def close(self, *, remove: bool = False) -> None:
        """Closes the file and gives up the lock; `remove` deletes the file first. In a forked child: nothing."""
        if self.pid != os.getpid():
            return
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._writer.close()
            if self._reader is not None:
                self._reader.close()
            if remove:
                _remove(self.path)
            os.close(self._file_lock)

    def release_after_fork(self) -> None:
        """In a forked child: lets go of its copy of the lock, which the parent holds on to."""
        if not self._closed:
            os.close(self._file_lock)

    def _connect(self, schema: str = "", pragmas: Mapping[str, str | int] = MappingProxyType({})) -> sqlite3.Connection:
        # Some builds overwrite what is deleted; the file is ours alone.
        return sqlite_file.opened(self.path, timeout_s=30.0, schema=schema, pragmas={"secure_delete": "OFF", **pragmas})

    def _connection(self) -> sqlite3.Connection:
        """The committer's own connection, so that reading never holds up a write."""
        if self._reader is None:
            self._reader = self._connect()
        return self._reader

    def _error(self, error: sqlite3.Error | OSError, what: str) -> LedgerError:
        if sqlite_file.is_corrupt(error):
            return CorruptSpool(self.path, str(error))
        if what == "read":
            return LedgerError(f"cannot read the ledger's spool {self.path}: {error}")
        return LedgerError(_unwritable(self.path, str(error)))


def set_aside(path: Path) -> Path | None:
    """Renames a damaged spool of a dead process to `*.corrupt`. Returns the new path; None if another process did."""
    lock = _lock(path)
    if lock is None:
        return None
    aside = path.with_name(path.name + ".corrupt")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    finally:
        with contextlib.suppress(OSError):
            wal = path.with_name(path.name + "-wal")
            wal.rename(aside.with_name(aside.name + "-wal"))
        _remove(path)
        os.close(lock)
    return aside


def is_free(path: Path) -> bool:
    """Whether there is a spool at `path` that no living process holds."""
    lock = _lock(path)
    if lock is None:
        return False
    found = path.exists()
    if not found:
        _remove(path)
    os.close(lock)
    return found


def _lock(path: Path) -> int | None:
    """Locks `<name>.lock`, created if need be. None where a living process holds it, or just deleted it."""
    name = path.with_suffix(".lock")
    descriptor = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(name).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    """Deletes a spool's files, the lock last, because the others are protected by it."""
    for name in (f"{path.name}-wal", path.name, f"{path.name}-shm", f"{path.stem}.lock"):
        path.with_name(name).unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _unwritable(path: Path, reason: str) -> str:
    return (
        f"cannot write the ledger's spool {path}: {reason}. Free space on that disk and check its rights, "
        "or choose another folder with AIQ_HOME or home=..."
    )
