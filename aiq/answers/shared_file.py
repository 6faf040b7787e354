"""Shared answers in one SQLite file of a home, for all processes of a host.

A batch of keys costs one transaction, not one a row. Knows no engine.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aiq.answers.shared import Claimed, Entry, Shared, is_dead, process_name
from aiq.errors import LedgerError
from aiq.ledger.file_lock import locked
from aiq.ledger.sqlite_file import ended, is_busy, opened, transaction, used_bytes
from aiq.resources import advice

_SCHEMA = """
CREATE TABLE IF NOT EXISTS statements (
    scope BLOB PRIMARY KEY, id TEXT NOT NULL, caller BLOB NOT NULL, owner TEXT NOT NULL, resumable INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0, run TEXT NOT NULL, lasting INTEGER NOT NULL, touched_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    scope BLOB NOT NULL, key BLOB NOT NULL, failed INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (scope, key)
);
CREATE TABLE IF NOT EXISTS claims (
    scope BLOB NOT NULL, key BLOB NOT NULL, process TEXT NOT NULL, PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS texts (scope BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS served (
    scope BLOB NOT NULL, key BLOB NOT NULL, asking TEXT NOT NULL, PRIMARY KEY (scope, key)
) WITHOUT ROWID;
"""
_KEYS_PER_QUERY = 500
_BUSY_MS, _MOMENT_MS = 60_000, 5
_WAL_PAGES = 8000
"""Pages of 4 KiB between checkpoints. Keys lie all over the file, so that a page is written again and again."""
_DELETE_ROWS = 5000
_TOUCH_S = 60.0
MAX_BYTES = 4 << 30
KEEP_S = 7 * 86400.0
"""How long the answers of a statement are kept that was cut off, or of which nobody said how it ended."""


class FileAnswers:
    """Shared answers of a home. The file is created by the first claim."""

    together_s = 0.001

    def __init__(
        self,
        home: Path,
        *,
        clock: Callable[[], float] = time.time,
        max_bytes: int = MAX_BYTES,
        process: Callable[[], str] = process_name,
    ) -> None:
        """`clock` gives UTC seconds. Above `max_bytes` nothing more is kept until statements have ended."""
        self._path = home / "statements.db"
        self._clock, self._max_bytes, self._process = clock, max_bytes, process
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._touched: dict[bytes, tuple[str, float]] = {}
        self._cut_off: dict[bytes, tuple[float, list[bytes]]] = {}

    def claim(self, statement: Shared, keys: Sequence[bytes]) -> Claimed:
        with self._connected() as db:
            known = {} if statement.asking else _find(db, statement.scope, keys, failed=True)
            rest = [key for key in keys if key not in known]
            if not rest:
                return Claimed(known, {}, [], [])
            with transaction(db):
                self._touch(db, statement)
                known |= _find(db, statement.scope, rest, failed=True)
                reused = _of_others(db, statement, known)
                known = {key: text for key, text in known.items() if key not in reused}
                rest = [key for key in rest if key not in known and key not in reused]
                reused |= self._resume(db, statement, rest)
                rest = [key for key in rest if key not in reused]
                mine, theirs = self._divide(db, statement.scope, rest)
            return Claimed(known, reused, mine, theirs)

    def keep(self, statement: Shared, entries: Sequence[Entry]) -> None:
        with self._connected() as db:
            db.execute("BEGIN IMMEDIATE")
            self._keep(db, statement, entries)

    def keep_at_once(self, statement: Shared, entries: Sequence[Entry]) -> bool:
        if not self._lock.acquire(blocking=False):  # this process claims keys
            return False
        self._lock.release()
        with self._connected() as db:
            if not _begun_at_once(db):
                return False
            self._keep(db, statement, entries)
            return True

    def _keep(self, db: sqlite3.Connection, statement: Shared, entries: Sequence[Entry]) -> None:
        """In a transaction that has begun, and that this ends."""
        scope = statement.scope
        with ended(db):
            if used_bytes(db) <= self._max_bytes:
                # A claim on what is answered is in nobody's way. It goes with the statement.
                _insert(db, "answers", [(scope, entry.key, entry.failed, entry.text) for entry in entries])
                _serve(db, statement, [entry.key for entry in entries])
            else:
                _give_up(db, scope, [entry.key for entry in entries])

    def release(self, statement: Shared, keys: Sequence[bytes]) -> None:
        process = self._process()
        with self._connected() as db, transaction(db):
            _give_up(db, statement.scope, keys, process)

    def running(self, owner: str) -> list[Shared]:
        if not self._path.exists():
            return []
        query = (
            "SELECT id, scope, caller, owner, resumable, run, lasting, coalesce(text, '') FROM statements "
            "LEFT JOIN texts USING (scope) WHERE owner = ? AND NOT ended"
        )
        with self._connected() as db:
            rows = db.execute(query, (owner,)).fetchall()
        return [
            Shared(name, scope, caller, of, bool(resumable), run, bool(lasting), text=text)
            for name, scope, caller, of, resumable, run, lasting, text in rows
        ]

    def progress(self, statement: Shared) -> tuple[int, int]:
        if not self._path.exists():
            return 0, 0
        scope, asking = statement.scope, statement.asking
        with self._connected() as db:
            table, also = ("served", " AND asking = ?") if asking else ("answers", "")
            values = (scope, asking) if asking else (scope,)
            (answered,) = db.execute(f"SELECT count(*) FROM {table} WHERE scope = ?{also}", values).fetchone()
            unanswered = "FROM claims LEFT JOIN answers USING (scope, key) WHERE scope = ? AND value IS NULL"
            return answered, db.execute(f"SELECT count(*) {unanswered}", (scope,)).fetchone()[0]

    def end(self, statement: Shared, *, well: bool) -> None:
        if not self._path.exists():
            return
        with self._connected() as db:
            self._touched.pop(statement.scope, None)
            self._cut_off.pop(statement.scope, None)
            if not well:
                db.execute("UPDATE statements SET ended = 1 WHERE scope = ?", (statement.scope,))
                db.execute("DELETE FROM claims WHERE scope = ?", (statement.scope,))
                return
            with transaction(db):
                # What it took from one that was cut off is not there for a third run.
                for scope in self._others(db, statement):
                    db.execute(
                        "DELETE FROM answers WHERE scope = ? AND key IN (SELECT key FROM answers WHERE scope = ?)",
                        (scope, statement.scope),
                    )
            _delete(db, statement.scope)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _touch(self, db: sqlite3.Connection, statement: Shared) -> None:
        now = self._clock()
        run, touched_s = self._touched.get(statement.scope, ("", -_TOUCH_S))
        if run == statement.run and touched_s > now - _TOUCH_S:
            return
        self._touched[statement.scope] = (statement.run, now)
        db.execute(
            "INSERT INTO statements VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?) "
            "ON CONFLICT (scope) DO UPDATE SET run = excluded.run, touched_s = excluded.touched_s",
            (
                statement.scope, statement.id, statement.caller, statement.owner, statement.resumable, statement.run,
                statement.lasting, now,
            ),
        )  # fmt: skip
        if statement.text:
            _insert(db, "texts", [(statement.scope, statement.text)])
        for (scope,) in db.execute("SELECT scope FROM statements WHERE touched_s < ?", (now - KEEP_S,)).fetchall():
            _delete(db, scope)

    def _resume(self, db: sqlite3.Connection, statement: Shared, keys: Sequence[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for scope in self._others(db, statement):
            found |= _find(db, scope, [key for key in keys if key not in found], failed=False)
        _insert(
            db,
            "answers",
            [(statement.scope, key, False, value) for key, value in found.items()],
        )
        _serve(db, statement, list(found))
        return found

    def _others(self, db: sqlite3.Connection, statement: Shared) -> list[bytes]:
        """The scopes of the same caller whose statements were cut off. Looked for once a second."""
        now = self._clock()
        looked, scopes = self._cut_off.get(statement.scope, (-1.0, []))
        if not 0 <= now - looked < 1.0:
            query = "SELECT scope, owner, ended FROM statements WHERE caller = ? AND resumable AND scope != ?"
            rows = db.execute(query, (statement.caller, statement.scope)).fetchall()
            scopes = [scope for scope, owner, ended in rows if ended or is_dead(owner)]
            self._cut_off[statement.scope] = (now, scopes)
        return scopes

    def _divide(self, db: sqlite3.Connection, scope: bytes, keys: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        process = self._process()
        claimed: dict[bytes, str] = {}
        for chunk, marks in _chunks(keys):
            claimed.update(
                db.execute(f"SELECT key, process FROM claims WHERE scope = ? AND key IN ({marks})", (scope, *chunk))
            )
        dead = {name for name in set(claimed.values()) if name != process and is_dead(name)}
        theirs = [key for key, name in claimed.items() if name != process and name not in dead]
        mine = [key for key in keys if claimed.get(key, process) in dead or claimed.get(key, process) == process]
        _insert(
            db,
            "claims",
            [(scope, key, process) for key in mine if claimed.get(key) != process],
        )
        return mine, theirs

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None or self._pid != os.getpid():
                    self._connection, self._pid = self._open(), os.getpid()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise LedgerError(
                    f"cannot share answers in {self._path}: {error}. {advice(error)}, or "
                    "choose another folder with AIQ_HOME or home=..."
                ) from error

    def _open(self) -> sqlite3.Connection:
        with locked(self._path.with_suffix(".lock")):  # SQLite does not wait where two of them start a WAL
            return opened(
                self._path,
                timeout_s=_BUSY_MS / 1000,
                schema=_SCHEMA,
                pragmas={"synchronous": "NORMAL", "wal_autocheckpoint": _WAL_PAGES},
            )


def _find(db: sqlite3.Connection, scope: bytes, keys: Sequence[bytes], *, failed: bool) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for chunk, marks in _chunks(keys):
        query = f"SELECT key, value FROM answers WHERE scope = ? AND key IN ({marks}) AND failed <= ?"
        found.update(db.execute(query, (scope, *chunk, int(failed))))
    return found


def _of_others(db: sqlite3.Connection, statement: Shared, known: dict[bytes, str]) -> dict[bytes, str]:
    """Those of `known` that another statement of the session was answered, from here on this one's.

    What another one failed with is forgotten, also in `known`: it is asked again.
    """
    if not statement.asking or not known:
        return {}
    own: set[bytes] = set()
    for chunk, marks in _chunks(list(known)):
        query = f"SELECT key FROM served WHERE scope = ? AND key IN ({marks}) AND asking = ?"
        own.update(key for (key,) in db.execute(query, (statement.scope, *chunk, statement.asking)))
    others = [key for key in known if key not in own]
    reused = _find(db, statement.scope, others, failed=False)
    failed = [key for key in others if key not in reused]
    for chunk, marks in _chunks(failed):
        db.execute(f"DELETE FROM answers WHERE scope = ? AND key IN ({marks})", (statement.scope, *chunk))
    _give_up(db, statement.scope, failed)
    for key in failed:
        del known[key]
    _serve(db, statement, list(reused))
    return reused


def _serve(db: sqlite3.Connection, statement: Shared, keys: Sequence[bytes]) -> None:
    """Notes which statement of a session had some answers last."""
    if statement.asking:
        _insert(db, "served", [(statement.scope, key, statement.asking) for key in keys])


def _insert(db: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Many rows a statement: `executemany` would wait for Python's other threads at every row."""
    for start in range(0, len(rows), _KEYS_PER_QUERY):
        chunk = rows[start : start + _KEYS_PER_QUERY]
        marks = f"({','.join('?' * len(chunk[0]))})"
        db.execute(
            f"INSERT OR REPLACE INTO {table} VALUES {','.join([marks] * len(chunk))}",
            list(itertools.chain.from_iterable(chunk)),
        )


def _give_up(db: sqlite3.Connection, scope: bytes, keys: Sequence[bytes], process: str | None = None) -> None:
    """Claims on some keys are no more; with `process` only those that are its own."""
    for chunk, marks in _chunks(keys):
        whose, of = ("", ()) if process is None else (" AND process = ?", (process,))
        db.execute(f"DELETE FROM claims WHERE scope = ? AND key IN ({marks}){whose}", (scope, *chunk, *of))


def _chunks(keys: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], str]]:
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        yield chunk, ",".join("?" * len(chunk))


def _delete(db: sqlite3.Connection, scope: bytes) -> None:
    delete = f"DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers WHERE scope = ? LIMIT {_DELETE_ROWS})"
    while db.execute(delete, (scope,)).rowcount == _DELETE_ROWS:
        pass
    for table in ("claims", "served", "texts"):
        db.execute(f"DELETE FROM {table} WHERE scope = ?", (scope,))
    db.execute("DELETE FROM statements WHERE scope = ?", (scope,))


def _begun_at_once(db: sqlite3.Connection) -> bool:
    """Begins a transaction, unless another process is in one for more than a moment."""
    db.execute(f"PRAGMA busy_timeout={_MOMENT_MS}")
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        return False
    finally:
        db.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    return True
