"""Answers of statements whose results may still be lost, so that running them again does not pay twice.

Each statement has a file of its own in one folder of the home, from its first answer until its result is safe; a name
that ends in `.kept` is one that was cut off, by whichever process. Knows no statement's text and no engine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from aiq.answers.index import AnswerIndex
from aiq.answers.log import KEPT, AnswerLog, frame, leave_dead, time_prefix
from aiq.errors import LedgerError

_REMEMBERED_ENDS = 10_000
"""Statements of which it is known how they ended, for answers that come later."""
_SETTLED = 100
"""Statements that ended well whose files stay at most; each holds a file open."""
_log = logging.getLogger("aiq.ledger")


class UnfinishedAnswers:
    """The answers of running statements of this process, and those that any process' stopped ones left behind.

    What was left is bounded by `max_bytes` and `keep_s`, the oldest deleted first; what this process' own statements
    keep is bounded by `max_bytes` too: those that ended well make room, and what is above it is not kept.
    """

    def __init__(self, folder: Path, *, max_bytes: int, keep_s: float, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[str, list[AnswerLog]] = {}
        """The files of a statement: its own, and once it has ended well those that it took all answers from."""
        self._holders: dict[str, weakref.ref[object]] = {}
        """By statement that ended well, the oldest first: what has its result."""
        self._live_bytes = 0
        self._full: set[str] = set()
        self._ended: dict[str, bool] = {}
        self._finding = threading.Lock()
        self._index = AnswerIndex()
        self._names: set[str] = set()
        self._used: dict[str, Counter[Path]] = {}
        leave_dead(folder)
        self.forget_old()

    def keep(self, statement_id: str, scope: bytes, entries: Sequence[tuple[bytes, str]]) -> None:
        """Appends answers of a running statement. Raises LedgerError, and then none of them is kept."""
        if not entries:
            return
        group = frame(scope, [(key, value.encode("utf-8", "surrogatepass")) for key, value in entries])
        with self._lock:
            ended_well = self._ended.get(statement_id)
            if ended_well or statement_id in self._full:
                return
            while self._live_bytes + len(group) > self._max_bytes and self._holders:
                with contextlib.suppress(OSError):
                    self._end(next(iter(self._holders)), AnswerLog.finish)
            if self._live_bytes + len(group) > self._max_bytes:
                self._full.add(statement_id)
                _log.warning(
                    "statement %s has more answers than are kept for running it again (%d bytes): should it be "
                    "stopped, those from here on are asked for again",
                    statement_id,
                    self._max_bytes,
                )
                return
            logs = self._logs.get(statement_id)
            if logs is None:
                logs = self._logs[statement_id] = [AnswerLog.create(self._folder, self._clock())]
            logs[0].append(group)
            self._live_bytes += len(group)
            if ended_well is not None:  # it was abandoned, and this answer was still under way
                self._end(statement_id, AnswerLog.abandon)

    def log(self, statement_id: str) -> Path | None:
        """The file of a running statement; None where nothing is kept of it."""
        with self._lock:
            logs = self._logs.get(statement_id)
            return logs[0].path if logs else None

    def settle(self, statement_id: str, holder: object) -> None:
        """The statement ended well: nothing more of it is kept. What was stays until `finish` or `finish_held`.

        So do the files that it took all answers from. While this process lives they serve nobody; should it die, they
        serve whoever runs the statement again.
        """
        adopted = [log for path in self._used_up(statement_id) if (log := AnswerLog.adopt(path)) is not None]
        with self._lock:
            self._remember_end(statement_id, ended_well=True)
            self._full.discard(statement_id)
            logs = [*self._logs.get(statement_id, ()), *adopted]
            if logs:
                self._logs[statement_id] = logs
                self._holders[statement_id] = weakref.ref(holder)
                self._live_bytes += sum(log.size for log in adopted)
            while len(self._holders) > _SETTLED:
                with contextlib.suppress(OSError):
                    self._end(next(iter(self._holders)), AnswerLog.finish)

    @property
    def has_settled(self) -> bool:
        """Whether there are files of statements that ended well."""
        return bool(self._holders)

    def finish_held(self, holder: object) -> None:
        """Finishes the statements that were settled for `holder`, or for one that is gone. Raises LedgerError."""
        with self._lock:
            held = [name for name, of in self._holders.items() if of() is None or of() is holder]
        for statement_id in held:
            self.finish(statement_id)

    def finish(self, statement_id: str) -> None:
        """The statement's result is safe: nothing of it is kept, nor of those it took all answers from.

        Raises LedgerError where a file cannot be deleted.
        """
        try:
            with self._lock:
                self._remember_end(statement_id, ended_well=True)
                self._end(statement_id, AnswerLog.finish)
            for path in self._used_up(statement_id):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise LedgerError(f"cannot delete a finished statement's answers: {error}") from error

    def abandon(self, statement_id: str) -> None:
        """The statement was cut off, or its result did not arrive: what was kept can be used by the next one."""
        with self._lock:
            self._remember_end(statement_id, ended_well=False)
            self._end(statement_id, AnswerLog.abandon)
        self._used.pop(statement_id, None)
        self.forget_old()

    def resumable(self, scope: bytes, keys: Sequence[bytes], statement_id: str | None = None) -> dict[bytes, str]:
        """The values of those of `keys` that a statement of the same scope left behind.

        With `statement_id`, the files that this statement took every answer of, asking for each key once, go with it.
        """
        with self._finding:
            names = self._kept_names()
            if names and min(names) < time_prefix(self._clock() - self._keep_s):
                self.forget_old()
                names = self._kept_names()
            if names != self._names:
                if len(self._names - names) > len(self._names) // 2:
                    self._index, self._names = AnswerIndex(), set()
                self._index.add([self._folder / name for name in sorted(names - self._names)])
                self._names |= names
            if not names:
                return {}
            values, used = self._index.find(scope, keys)
            if statement_id is not None and used:
                self._used.setdefault(statement_id, Counter()).update(used)
            return values

    def take_over(self) -> None:
        """Makes the answers of statements whose process has died since available."""
        leave_dead(self._folder)

    def forget_old(self) -> None:
        """Deletes what was left behind too long ago, and then the oldest until the rest is within `max_bytes`."""
        oldest = time_prefix(self._clock() - self._keep_s)
        room = self._max_bytes
        for name in sorted(self._kept_names(), reverse=True):
            path = self._folder / name
            with contextlib.suppress(OSError):
                room -= path.stat().st_size
                if room < 0 or name < oldest:
                    path.unlink()

    def clear(self) -> None:
        """Deletes all that was left behind; running statements keep what they have. Raises LedgerError."""
        for name in self._kept_names():
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise LedgerError(f"cannot delete kept answers: {error}") from error

    def sizes(self) -> list[int]:
        """Bytes of what each statement left behind."""
        sizes = []
        for name in self._kept_names():
            with contextlib.suppress(OSError):
                sizes.append((self._folder / name).stat().st_size)
        return sizes

    def close(self) -> None:
        """Statements that ended well are finished, those that still run are abandoned."""
        with self._lock:
            for statement_id in list(self._logs):
                well = statement_id in self._holders
                self._remember_end(statement_id, ended_well=well)
                with contextlib.suppress(OSError):
                    self._end(statement_id, AnswerLog.finish if well else AnswerLog.abandon)

    def release_after_fork(self) -> None:
        """In a forked child: lets go of the parent's files, whose locks must not outlive it."""
        for logs in self._logs.values():
            for log in logs:
                log.release()

    def _kept_names(self) -> set[str]:
        try:
            return {name for name in os.listdir(self._folder) if name.endswith(KEPT)}
        except OSError:
            return set()

    def _used_up(self, statement_id: str) -> list[Path]:
        """The files that were left behind and that a statement has taken all answers from. They are named once."""
        if statement_id not in self._used:  # who loads answers right now holds the lock for long
            return []
        with self._finding:
            entries = self._index.entries
            return [path for path, count in self._used.pop(statement_id).items() if count == entries.get(path)]

    def _end(self, statement_id: str, how: Callable[[AnswerLog], None]) -> None:
        self._full.discard(statement_id)
        self._holders.pop(statement_id, None)
        with contextlib.ExitStack() as each:  # one that fails does not keep the others from it
            for log in self._logs.pop(statement_id, ()):
                self._live_bytes -= log.size
                each.callback(how, log)

    def _remember_end(self, statement_id: str, *, ended_well: bool) -> None:
        self._ended[statement_id] = ended_well
        if len(self._ended) > _REMEMBERED_ENDS:
            del self._ended[next(iter(self._ended))]
