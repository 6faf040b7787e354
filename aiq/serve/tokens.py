"""The tokens of REST callers: one SQLite file of the home, with hashes only. A token is shown once, when it is made.

Every request looks its token up, so that one that was revoked, by any process, holds no longer.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import orjson

from aiq.errors import LedgerError, StatementError
from aiq.ledger.sqlite_file import opened

FILE = "tokens.sqlite"
PREFIX = "aiq-"
"""What every token begins with, so that a scanner for leaked secrets knows one."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    hash BLOB PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    groups TEXT NOT NULL,
    service_principal INTEGER NOT NULL,
    comment TEXT NOT NULL,
    created_s REAL NOT NULL,
    expires_s REAL,
    parent TEXT
)
"""
_TIMEOUT_S = 30.0


class Token(NamedTuple):
    """What is known of a token; not the token itself. Times in UTC seconds; `expires_s` None: it holds until revoked.

    `user` is an e-mail, or of a `service_principal` its id. `parent` is the id of the token that this one was had for.
    """

    id: str
    user: str
    groups: tuple[str, ...]
    service_principal: bool
    comment: str
    created_s: float
    expires_s: float | None
    parent: str | None = None


class Tokens:
    """The tokens of a home. Usable from any thread."""

    def __init__(self, home: Path) -> None:
        """Raises LedgerError where the file cannot be opened."""
        self._path = home / FILE
        self._lock = Lock()
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = opened(self._path, timeout_s=_TIMEOUT_S, schema=_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"the tokens in {self._path} cannot be read: {error}") from None

    def create(
        self,
        user: str,
        groups: Iterable[str] = (),
        *,
        service_principal: bool = False,
        comment: str = "",
        lifetime_s: float | None = None,
    ) -> str:
        """Makes a token, and returns it: it cannot be read again. Raises StatementError without a user, and
        LedgerError."""
        if not user.strip():
            raise StatementError("a token needs the name of its user, such as ada@example.com")
        expires_s = None if lifetime_s is None else time.time() + lifetime_s
        return self._add(Token("", user, tuple(groups), service_principal, comment, time.time(), expires_s))

    def access(self, parent: Token, lifetime_s: float) -> str:
        """A token that speaks for the same caller as another one, and ends with it at the latest."""
        now = time.time()
        expires_s = min(now + lifetime_s, parent.expires_s or now + lifetime_s)
        return self._add(parent._replace(created_s=now, expires_s=expires_s, parent=parent.id))

    def _add(self, made: Token) -> str:
        token = PREFIX + secrets.token_urlsafe(32)
        row = (_hash(token), secrets.token_hex(4), made.user, orjson.dumps(made.groups), *made[3:])
        try:
            with self._lock:
                self._db.execute("DELETE FROM tokens WHERE expires_s < ?", (made.created_s,))
                self._db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise self._unreadable(error) from None
        return token

    def find(self, token: str) -> Token | None:
        """The token that somebody shows; None for one that is unknown, revoked or over. Raises LedgerError."""
        rows = self._rows("WHERE hash = ? AND (expires_s IS NULL OR expires_s > ?)", (_hash(token), time.time()))
        return rows[0] if rows else None

    def all(self) -> list[Token]:
        """Those that were made by hand and hold, the oldest first. Raises LedgerError."""
        where = "WHERE parent IS NULL AND (expires_s IS NULL OR expires_s > ?) ORDER BY created_s"
        return self._rows(where, (time.time(),))

    def revoke(self, token_id: str) -> bool:
        """Ends a token by its id, and those that were had for it; False where there is none. Raises LedgerError."""
        try:
            with self._lock:
                self._db.execute("DELETE FROM tokens WHERE parent = ?", (token_id,))
                return self._db.execute("DELETE FROM tokens WHERE id = ?", (token_id,)).rowcount > 0
        except sqlite3.Error as error:
            raise self._unreadable(error) from None

    def _rows(self, where: str, values: tuple[object, ...]) -> list[Token]:
        columns = "id, user, groups, service_principal, comment, created_s, expires_s, parent"
        try:
            with self._lock:
                found = self._db.execute(f"SELECT {columns} FROM tokens {where}", values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from None
        return [
            Token(token_id, user, tuple(orjson.loads(groups)), bool(principal), *rest)
            for token_id, user, groups, principal, *rest in found
        ]

    def _unreadable(self, error: sqlite3.Error) -> LedgerError:
        return LedgerError(f"the tokens in {self._path} cannot be read: {error}")

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _hash(token: str) -> bytes:
    """A token has 256 random bits: it needs no slow hash."""
    return hashlib.sha256(token.encode()).digest()
