"""Limits that the processes of one host share: one SQLite file in the home. Knows windows by name only.

Time is the machine's monotonic clock, read inside the transaction, so that it is the same for all and no change of the
wall clock moves it. It starts anew with the machine: a reading below the last one is taken for a reboot, and the wall
clock says how long that took (nothing where it went backwards), so what was used before the reboot still counts.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aiq.ledger.sqlite_file import is_busy, opened, transaction
from aiq.policy.limits.book import Change, Leased, StoreUnavailable, Want
from aiq.policy.limits.window import NEVER

FILE = "limits.sqlite"
LOCK_TIMEOUT_S = 0.5
"""A transaction takes a tenth of a millisecond; a process that holds the lock for longer is stopped or in trouble."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), now_us INTEGER NOT NULL, monotonic_us INTEGER NOT NULL,
    wall_us INTEGER NOT NULL, next_row INTEGER NOT NULL, epoch TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS used (name TEXT PRIMARY KEY, amount INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charge (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, first_us INTEGER NOT NULL, expires_us INTEGER NOT NULL,
    amount INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS charge_by_expiry ON charge (name, expires_us);
"""


class FileStore:
    """The shared windows of one home. Used on the event loop, which it holds up for about 0.1 ms an exchange."""

    forgets = False

    def __init__(
        self, home: Path, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        """`clock` is monotonic, in seconds, and the same for all processes of the machine; `wall` is Unix time."""
        self.path = home / FILE
        self._clock, self._wall = clock, wall
        self._db: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._sweep = False
        self._lock = threading.Lock()

    async def exchange(self, changes: Sequence[Change], clauses: Sequence[Sequence[Want]]) -> Leased:
        """As `LimitStore.exchange`."""
        with self._lock:
            try:
                return self._exchange(changes, clauses)
            except sqlite3.OperationalError as error:
                if is_busy(error):
                    raise StoreUnavailable(
                        f"{self.path} is locked by another process, which may be stopped: end it, or wait"
                    ) from None
                raise self._broken(error) from None
            except (sqlite3.DatabaseError, OSError) as error:
                raise self._broken(error) from None

    async def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def _broken(self, error: Exception) -> StoreUnavailable:
        with contextlib.suppress(sqlite3.Error):
            if self._db is not None:
                self._db.close()
        self._db = None
        return StoreUnavailable(
            f"{self.path} cannot be used ({error}). Free some disk space, or, if it is damaged, stop all processes of "
            "this home and delete it (what was used of the limits is forgotten then)",
            passing=False,
        )

    def _open(self) -> sqlite3.Connection:
        if self._db is None or self._pid != os.getpid():  # a connection must not be used after a fork
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            db = opened(self.path, timeout_s=LOCK_TIMEOUT_S, schema=_SCHEMA, pragmas={"synchronous": "NORMAL"})
            wall_us = round(self._wall() * 1e6)
            # Rows are numbered from the time, so that no number of a file that was deleted comes again.
            db.execute(
                "INSERT OR IGNORE INTO clock VALUES (1, 0, ?, ?, ?, ?)",
                (round(self._clock() * 1e6), wall_us, max(1, wall_us), str(uuid.uuid4())),
            )
            self._db, self._pid = db, os.getpid()
            self._sweep = True
        return self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._db is not None and not self.path.exists():
            self._db.close()  # deleted while open: counting on in a file that no other process sees shares nothing
            self._db = None
        db = self._open()
        with transaction(db):
            yield db

    def _exchange(self, changes: Sequence[Change], clauses: Sequence[Sequence[Want]]) -> Leased:
        with self._transaction() as db:
            now_us, monotonic_us, wall_us, next_row, epoch = db.execute(
                "SELECT now_us, monotonic_us, wall_us, next_row, epoch FROM clock"
            ).fetchone()
            monotonic, wall = round(self._clock() * 1e6), round(self._wall() * 1e6)
            now_us += monotonic - monotonic_us if monotonic >= monotonic_us else max(0, wall - wall_us)
            if self._sweep:
                self._sweep_all(db, now_us)
            wants = [want for clause in clauses for want in clause]
            asked = [want.asked for want in wants if want.share]
            names = dict.fromkeys([change.name for change in changes] + [want.name for want in wants] + asked)
            used = {name: self._used(db, name, now_us) for name in names}
            before = dict(used)
            rows = _Rows(db, now_us, next_row, used)
            for change in changes:
                rows.change(change)
            until_us = {name: self._last_us(db, name) for name in asked}
            kept = {want: max(0, want.share - used[want.asked]) for want in wants if until_us.get(want.asked)}
            wait_us, blocked = 0, 0
            for number, clause in enumerate(clauses):
                if all(used[want.name] + want.need + kept.get(want, 0) > want.limit for want in clause):
                    own_us = NEVER
                    for want in clause:
                        this_us = self._wait_us(db, want, used[want.name], now_us)
                        if want in kept:
                            this_us = max(this_us, until_us[want.asked] - now_us)
                            with_share = self._wait_us(db, want, used[want.name] + kept[want], now_us)
                            this_us = min(this_us, with_share)
                        own_us = min(own_us, this_us)
                    if own_us > wait_us:
                        wait_us, blocked = own_us, number
            leases = None
            if not wait_us:
                leases = [rows.lease(want, kept.get(want, 0)) for want in wants]
            db.execute(
                "UPDATE clock SET now_us = ?, monotonic_us = ?, wall_us = ?, next_row = ?",
                (now_us, monotonic, wall, rows.next_row),
            )
            db.executemany(
                "INSERT INTO used VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET amount = excluded.amount",
                [(name, amount) for name, amount in used.items() if amount != before[name]],
            )
        return Leased(leases, wait_us, blocked, epoch)

    def _sweep_all(self, db: sqlite3.Connection, now_us: int) -> None:
        """Deletes what has expired of all names, also of users who never came back. Once a process."""
        db.execute("DELETE FROM charge WHERE expires_us <= ?", (now_us,))
        db.execute("DELETE FROM used")
        db.execute("INSERT INTO used SELECT name, sum(amount) FROM charge GROUP BY name")
        self._sweep = False

    @staticmethod
    def _used(db: sqlite3.Connection, name: str, now_us: int) -> int:
        """What counts now; what has expired is deleted."""
        row = db.execute("SELECT amount FROM used WHERE name = ?", (name,)).fetchone()
        gone = db.execute("DELETE FROM charge WHERE name = ? AND expires_us <= ? RETURNING amount", (name, now_us))
        expired: int = sum(amount for (amount,) in gone.fetchall())
        if expired:
            db.execute("UPDATE used SET amount = amount - ? WHERE name = ?", (expired, name))
        return (0 if row is None else int(row[0])) - expired

    @staticmethod
    def _last_us(db: sqlite3.Connection, name: str) -> int:
        """When the last charge of a window ends; 0 where there is none."""
        (last_us,) = db.execute("SELECT max(expires_us) FROM charge WHERE name = ?", (name,)).fetchone()
        return last_us or 0

    @staticmethod
    def _wait_us(db: sqlite3.Connection, want: Want, used: int, now_us: int) -> int:
        over = used + want.need - want.limit
        if over <= 0:
            return 0
        charges = db.execute("SELECT expires_us, amount FROM charge WHERE name = ? ORDER BY expires_us", (want.name,))
        for expires_us, amount in charges:
            over -= amount
            if over <= 0:
                return int(expires_us) - now_us
        return NEVER


class _Rows:
    """The charges of one transaction. `used` is kept up to date by name."""

    def __init__(self, db: sqlite3.Connection, now_us: int, next_row: int, used: dict[str, int]) -> None:
        self._db, self._now_us, self.next_row, self._used = db, now_us, next_row, used

    def change(self, change: Change) -> None:
        """Adds to a charge or takes from it, as far as it still counts."""
        if change.row == 0:
            if change.amount >= 0:
                self._insert(change.name, self._now_us + change.period_us, change.amount)
            return
        found = self._db.execute("SELECT amount FROM charge WHERE id = ?", (change.row,)).fetchone()
        if found is None:
            return
        left = max(0, found[0] + change.amount)
        self._used[change.name] += left - found[0]
        if not left:
            self._db.execute("DELETE FROM charge WHERE id = ?", (change.row,))
        elif change.renew_us:
            self._db.execute(
                "UPDATE charge SET expires_us = ? WHERE id = ?", (self._now_us + change.renew_us, change.row)
            )
        else:
            self._db.execute("UPDATE charge SET amount = ? WHERE id = ?", (left, change.row))

    def lease(self, want: Want, kept: int) -> tuple[int, int]:
        """A charge that another may have been waiting for as well, without what is kept. Row and amount."""
        surplus = max(0, min(want.surplus, want.limit - self._used[want.name] - want.need - kept))
        amount = want.need + surplus
        expires_us = self._now_us + want.period_us + want.ends_us(amount)
        if want.grain_us:
            last = self._db.execute(
                "SELECT id, first_us FROM charge WHERE name = ? ORDER BY expires_us DESC LIMIT 1", (want.name,)
            ).fetchone()
            if last is not None and self._now_us - last[1] < want.grain_us:
                self._db.execute(
                    "UPDATE charge SET amount = amount + ?, expires_us = max(expires_us, ?) WHERE id = ?",
                    (amount, expires_us, last[0]),
                )
                self._used[want.name] += amount
                return int(last[0]), amount
        return self._insert(want.name, expires_us, amount), amount

    def _insert(self, name: str, expires_us: int, amount: int) -> int:
        row = self.next_row
        self.next_row += 1
        self._db.execute("INSERT INTO charge VALUES (?, ?, ?, ?, ?)", (row, name, self._now_us, expires_us, amount))
        self._used[name] += amount
        return row
