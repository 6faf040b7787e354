"""The ledger of one process: writes down every call before and after it, and sees that it reaches the tables.

`intend` and `record` are on the path of every row, so all they do is append to a list; once per iteration of the event
loop the lists become one group in the spool. It must never know a provider or an engine.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401  Delta imports it, which is refused once the interpreter shuts down
import contextlib
import logging
import os
import threading
import time
import types
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path

from aiq.config.endpoint import Endpoint
from aiq.errors import LedgerError
from aiq.ledger import commit, entities, groups, recovery
from aiq.ledger.delta import Location
from aiq.ledger.private import make_private
from aiq.ledger.records import MAX_PAYLOAD_BYTES, Intent, Outcome, StatementRow
from aiq.ledger.spool import Spool
from aiq.ledger.tables import Tables

COMMIT_BYTES = 64 * 1024 * 1024
"""Spooled bytes that are committed without waiting for more."""
IDLE_S = 2.0
"""Seconds without a new outcome after which what is there is committed."""
MAX_AGE_S = 30.0
"""Seconds after which an outcome is committed even if others keep coming."""
_COMMITS_AT_ONCE = 30
"""Statements in a row after each of which `commit_soon` commits; then one a second."""
_POLL_S = 1.0
_MAX_BACKOFF_S = 60.0

_log = logging.getLogger("aiq.ledger")


class _IntentGroup:
    """Intents that are written together, and how that went."""

    __slots__ = ("error", "intents", "written")

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self.written = False
        self.error: LedgerError | None = None


class Ledger:
    """Intents and outcomes of this process on their way into the Delta tables of a home folder.

    `intend` and `record` belong on an event loop; all else may be called from any thread.
    """

    def __init__(
        self, spool: Spool, workspace: commit.Workspace, *, commit_rows: int, clock: Callable[[], float]
    ) -> None:
        """Use `Ledger.open`."""
        self.home = workspace.home
        self._spool = spool
        self._vanished: list[Spool] = []
        """Spools that somebody deleted, and that are not committed yet."""
        self._workspace = workspace
        self._commit_rows = commit_rows
        self._clock = clock
        self._buffers = threading.Lock()
        self._group = _IntentGroup()
        self._outcomes: list[Outcome] = []
        self._statements: list[StatementRow] = []
        self._scheduled: asyncio.AbstractEventLoop | None = None
        self._rows = self._bytes = 0
        self._oldest_s = self._newest_s = 0.0
        self._failures = 0
        self._retry_s = 0.0
        self._commits_left, self._commits_counted_s = float(_COMMITS_AT_ONCE), clock()
        self._committing = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        account_id: str | None = None,
        workspace_id: str | None = None,
        commit_rows: int = 50_000,
        clock: Callable[[], float] = time.time,
        power_safe: bool = False,
        root: Location | None = None,
    ) -> Ledger:
        """The ledger of `home`, which is created (mode 0700) if need be; recovers what dead processes left there.

        `clock` gives UTC seconds. `power_safe` makes every group survive a power cut, not only `kill -9`, at the price
        of an fsync per group. `root` is where the tables are, if not in the home. Raises LedgerError where the folder
        cannot be written.
        """
        home = Path(home).absolute()
        try:
            make_private(home)
            folder = home / "spool"
            folder.mkdir(mode=0o700, exist_ok=True)
            spool = Spool.create(folder, power_safe=power_safe)
        except (OSError, LedgerError) as error:
            raise LedgerError(
                f"the home folder {home} is not writable ({error}). Set AIQ_HOME or home=... to a folder that is"
            ) from error
        workspace = commit.Workspace(home, account_id, workspace_id, root)
        ledger = cls(spool, workspace, commit_rows=commit_rows, clock=clock)
        atexit.register(ledger._at_exit)
        try:
            spool.write(groups.field_names())
            ledger.recover()
        except BaseException:
            atexit.unregister(ledger._at_exit)
            spool.close(remove=True)
            raise
        return ledger

    async def intend(self, intent: Intent) -> None:
        """Returns when `intent` is durable. Raises LedgerError when it is not: then the call must not be made.

        All intents of one iteration of the loop are written as one group, with the outcomes that wait.
        """
        with self._buffers:
            group = self._group
            group.intents.append(intent)
            if self._scheduled is None:
                self._schedule(asyncio.get_running_loop())
        await _next_iteration()
        if not group.written:  # scheduled on a loop that was stopped before it came to it
            self._write(raising=False)
        if group.error is not None:
            raise LedgerError(str(group.error)) from group.error

    def record(self, outcome: Outcome) -> None:
        """Takes the outcome of an attempt; it is durable after the next iteration of the loop.

        Where it cannot be written it is kept in memory, and the next `intend`, `flush` or `commit` tries again and
        raises.
        """
        with self._buffers:
            self._outcomes.append(outcome)
            if self._scheduled is None:
                try:
                    loop = asyncio.get_running_loop()
                except RuntimeError:
                    pass
                else:
                    self._schedule(loop)
                    return
            elif self._scheduled.is_running():
                return
        self._write(raising=False)

    def record_alike(self, outcome: Outcome, request_ids: Sequence[str]) -> None:
        """Takes outcomes, without texts, that differ in their request id alone; durable when it returns. Any thread.

        Where they cannot be written they are kept in memory as `record` keeps its.
        """
        if not request_ids:
            return
        try:
            payload = groups.encode_alike(outcome, request_ids)
            with self._buffers:
                self._to_spool(payload)
                self._count(len(request_ids), len(payload))
        except (LedgerError, TypeError):
            for request_id in request_ids:
                self.record(outcome._replace(request_id=request_id))

    def note_statement(self, row: StatementRow) -> None:
        """Takes the start of a statement, or its end. Any thread; kept as `record` keeps outcomes where it must be.

        A text that is longer than a request may be in the payload table is left out.
        """
        if row.text is not None and len(row.text.encode("utf-8", "replace")) > MAX_PAYLOAD_BYTES:
            row = row._replace(text=None)
        with self._buffers:
            self._statements.append(row)
        self._write(raising=False)

    def flush(self) -> None:
        """Makes all that was recorded durable in the spool. Raises LedgerError."""
        self._write(raising=True)

    def commit(self) -> None:
        """Moves all that was recorded into the Delta tables. Raises LedgerError; nothing is lost then.

        Each row arrives exactly once, also when this is interrupted anywhere and done again. In a forked child it does
        nothing.
        """
        if self._spool.pid != os.getpid():
            return
        with self._committing:
            if self._closed:
                return
            self.flush()
            with self._buffers:
                rows, size = self._rows, self._bytes
                oldest_s, self._oldest_s = self._oldest_s, self._newest_s
            if not rows and not self._vanished:
                return
            try:
                while self._vanished:
                    commit.drain(self._vanished[0], self._workspace)
                    self._vanished.pop(0).close(remove=True)
                commit.drain(self._spool, self._workspace)
            except BaseException:
                self._failures += 1
                self._oldest_s = oldest_s
                self._retry_s = self._clock() + min(2.0**self._failures, _MAX_BACKOFF_S)
                raise
            self._failures, self._retry_s = 0, 0.0
            with self._buffers:
                self._rows -= rows
                self._bytes -= size

    def commit_soon(self) -> None:
        """As `commit`, but where statement follows statement only once a second: then the committer does it, within
        seconds, or whoever reads the tables here. Each commit is a file, and small files make tables slow.
        """
        now = self._clock()
        self._commits_left = min(float(_COMMITS_AT_ONCE), self._commits_left + max(0.0, now - self._commits_counted_s))
        self._commits_counted_s = now
        if self._commits_left >= 1.0:
            self._commits_left -= 1.0
            self.commit()
        else:
            self.flush()

    def maybe_commit(self) -> bool:
        """Commits if enough has come together: rows, bytes, or time. Returns whether it did. Raises LedgerError.

        After a failure it waits longer and longer, up to a minute, because each try reads all again.
        """
        now = self._clock()
        due = (self._rows or self._vanished) and now >= self._retry_s
        large = self._rows >= self._commit_rows or self._bytes >= COMMIT_BYTES
        if not due or not (
            self._vanished or large or now - self._newest_s >= IDLE_S or now - self._oldest_s >= MAX_AGE_S
        ):
            return False
        self.commit()
        return True

    def recover(self) -> int:
        """Commits what dead processes left in this home. Returns how many calls they did not live to see answered.

        Each of those becomes a row of `system.aiq.calls` with status `orphaned`; so do their statements.
        """
        return recovery.recover(self.home / "spool", self._workspace, own=self._spool.path)

    def hand_over(self) -> None:
        """Leaves what was recorded to the process of this home that commits, which may be this one, and begins anew.

        For processes that end without being closed: when all have handed over, all is in the tables, in few commits.
        Nothing may be under way meanwhile. Raises LedgerError.
        """
        with self._committing:
            if self._closed:
                return
            self.flush()
            with self._buffers:
                if not self._rows:
                    return
                done, self._spool = self._spool, Spool.create(self.home / "spool")
                self._spool.write(groups.field_names())
                self._rows = self._bytes = 0
            with contextlib.suppress(LedgerError):  # then the process that commits it looks for itself
                done.complete()
            done.close()
            recovery.recover_in_turn(self.home / "spool", self._workspace, self._spool.path)

    def take_over(self) -> None:
        """Commits what other processes have handed over, those that are at it just now included.

        A spool that cannot be committed waits for the next start. Raises LedgerError.
        """
        recovery.recover_after_others(self.home / "spool", self._workspace, self._spool.path)

    @property
    def tables(self) -> Tables:
        """The tables, for reading."""
        return Tables(self.home, self._workspace.root)

    def sync_entities(self, endpoints: Iterable[Endpoint], created_by: str) -> dict[str, int]:
        """Brings `system.serving.served_entities` up to date. Returns the configuration version by endpoint name.

        Raises LedgerError. Costs one small file's reading where nothing changed.
        """
        return entities.sync_entities(self._workspace, endpoints, created_by=created_by, now_s=self._clock())

    def close(self) -> None:
        """Commits and closes. Raises LedgerError when not all could be committed; the next start does it then.

        Calling it again does nothing. In a forked child it does nothing at all.
        """
        if self._spool.pid != os.getpid():
            return
        with self._committing:
            if self._closed:
                return
            atexit.unregister(self._at_exit)
            try:
                self.commit()
                with self._buffers:  # from here on a late record is refused instead of deleted with the file
                    self._closed = True
                    waiting = self._rows or self._outcomes or self._statements
                    done = not waiting and not any(commit.unfinished(self._spool))
                    self._spool.close(remove=done)
            finally:
                self._closed = True
                for spool in (*self._vanished, self._spool):
                    spool.close()
                self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def release_after_fork(self) -> None:
        """In a forked child: a child that outlives its parent must not keep the parent's rows from being committed."""
        self._spool.release_after_fork()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(self._write)
        self._scheduled = loop

    def _write(self, raising: bool = False) -> None:
        """Writes all that is buffered as one group. A failure is the group's; outcomes stay for another try."""
        with self._buffers:
            self._scheduled = None
            group, self._group = self._group, _IntentGroup()
            outcomes, self._outcomes = self._outcomes, []
            statements, self._statements = self._statements, []
            if not group.intents and not outcomes and not statements:
                group.written = True
                return
            # Still under the lock: no thread may find the buffers empty while what was in them is not yet durable.
            try:
                payload = groups.encode(group.intents, outcomes, statements)
                self._to_spool(payload)
            except Exception as error:
                self._outcomes, self._statements = outcomes, statements
                group.error = error if isinstance(error, LedgerError) else LedgerError(f"cannot record: {error!r}")
                group.written = True
                if raising:
                    raise group.error from error
                return
            group.written = True
            rows = len(outcomes) + sum(row.status is not None for row in statements)
            if rows:
                self._count(rows, len(payload))

    def _to_spool(self, payload: bytes) -> None:
        """Writes a group, to a new spool where the old one is not on the disk any more. Under the lock."""
        if self._spool.has_vanished and self._spool.pid == os.getpid() and not self._closed:
            old, folder = self._spool, self.home / "spool"
            try:
                make_private(self.home)
                folder.mkdir(mode=0o700, exist_ok=True)
                self._spool = Spool.create(folder)
            except OSError as error:
                raise LedgerError(
                    f"the folder {folder} was deleted and cannot be made again ({error}). Make it, or restart with "
                    "AIQ_HOME or home=... at a folder that stays; what was recorded before is committed at the end"
                ) from error
            self._spool.write(groups.field_names())
            self._vanished.append(old)
            _log.warning(
                "the ledger's spool %s was deleted while it is used; what is in it is committed now, and a new one is "
                "used. Delete nothing below %s while a process works there",
                old.path,
                folder,
            )
            self._wake.set()
        self._spool.write(payload)

    def _count(self, rows: int, size: int) -> None:
        """Counts outcomes that are in the spool now, and wakes the committer where that matters. Under the lock."""
        self._newest_s = self._clock()
        if not self._rows:
            self._oldest_s = self._newest_s
        self._rows += rows
        self._bytes += size
        if self._thread is None:
            self._thread = threading.Thread(target=self._commit_loop, name="aiq-ledger", daemon=True)
            self._thread.start()
            self._wake.set()
        elif self._rows == rows or self._rows >= self._commit_rows or self._bytes >= COMMIT_BYTES:
            self._wake.set()

    def _commit_loop(self) -> None:
        """The committer thread: sleeps until there is something, then looks once a second whether it is due."""
        last = ""
        while not self._closed:
            self._wake.wait(_POLL_S if self._rows or self._vanished else None)
            self._wake.clear()
            try:
                self.maybe_commit()
                last = ""
            except Exception as error:
                if str(error) != last:
                    last = str(error)
                    _log.warning("the ledger could not be committed, and is tried again: %s", error)

    def _at_exit(self) -> None:
        try:
            self.close()
        except Exception as error:
            _log.warning("the ledger was not committed at exit; the next start does it: %s", error)


@types.coroutine
def _next_iteration() -> Generator[None, None, None]:
    """Resumes in the next iteration of the loop, after what was already scheduled with `call_soon`.

    Not a future shared by the group: cancelling one task that awaits it would cancel it for all.
    """
    yield
