"""The answers of a home: those of statements that were cut off, for running them again, and those kept on purpose.

Whose answer it is belongs to the key: `scope` is the 16-byte hash of the requester's identity and permissions, and
nobody gets what was stored under another. It must never know a provider, a statement's text or an engine.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from aiq.answers.durable import DurableAnswers
from aiq.answers.unfinished import UnfinishedAnswers
from aiq.errors import LedgerError

MAX_BYTES = 1 << 30
RESUME_DAYS = 7.0

_stores: weakref.WeakSet[AnswerStore] = weakref.WeakSet()


class AnswerStore:
    """What may be answered without asking again. Values are JSON text; keys are 16 bytes and compared in full.

    May be used from any thread, but only in the process that opened it.
    """

    def __init__(self, unfinished: UnfinishedAnswers, durable: DurableAnswers, clock: Callable[[], float]) -> None:
        """Use `AnswerStore.open`."""
        self._unfinished = unfinished
        self._durable = durable
        self._clock = clock
        self._pid = os.getpid()
        self._closed = False
        _stores.add(self)

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        max_bytes: int = MAX_BYTES,
        resume_days: float = RESUME_DAYS,
        clock: Callable[[], float] = time.time,
    ) -> AnswerStore:
        """The answers of `home`. Those of statements whose process is dead can be used from here on.

        `max_bytes` bounds the durable answers, and apart from them those of stopped statements, which are also deleted
        after `resume_days`. `clock` gives UTC seconds. Writes nothing where there is nothing yet, and raises nothing
        where the home cannot be written: the first write does.
        """
        home = Path(home).absolute()
        unfinished = UnfinishedAnswers(home / "answers", max_bytes=max_bytes, keep_s=resume_days * 86400.0, clock=clock)
        return cls(unfinished, DurableAnswers(home / "answers.db", max_bytes=max_bytes, clock=clock), clock)

    def keep(self, statement_id: str, scope: bytes, entries: list[tuple[bytes, str]]) -> None:
        """Takes answers of a running statement, as one group; durable against `kill -9` when it returns.

        Raises LedgerError, and then none of them is kept. Waits for no other process. After `settle` or `finish` it
        does nothing.
        """
        self._check()
        self._unfinished.keep(statement_id, scope, entries)

    def log(self, statement_id: str) -> Path | None:
        """Where the answers of a running statement are; None where none is kept. See `aiq.answers.log`."""
        self._check()
        return self._unfinished.log(statement_id)

    def settle(self, statement_id: str, holder: object) -> None:
        """The statement ended well, and `holder` (weakly referenced) has its result. `keep` does nothing from here on.

        Its answers, and those that it resumed in full, stay until `finish_held`, because a result in memory goes down
        with its process: then they are there for whoever runs it again. To this process they serve no more.
        """
        self._check()
        self._unfinished.settle(statement_id, holder)

    @property
    def has_settled(self) -> bool:
        """Whether `finish_held` may have something to do."""
        return self._unfinished.has_settled

    def finish_held(self, holder: object) -> None:
        """Deletes what was settled for `holder`, whose results are safe, or for one that is gone.

        Raises LedgerError.
        """
        self._check()
        self._unfinished.finish_held(holder)

    def finish(self, statement_id: str) -> None:
        """The statement's result is safe: its answers are deleted, and those it resumed in full. Raises LedgerError."""
        self._check()
        self._unfinished.finish(statement_id)

    def abandon(self, statement_id: str) -> None:
        """The statement failed or was stopped, or its result did not arrive although it ended well.

        `resumable` has its answers from here on, in every process.
        """
        self._check()
        self._unfinished.abandon(statement_id)

    def resumable(self, scope: bytes, keys: Sequence[bytes], *, statement_id: str | None = None) -> dict[bytes, str]:
        """The values of those of `keys` that an abandoned statement of the same scope has.

        `statement_id` is the statement that resumes, which asks for each key once: when it has taken all answers of an
        abandoned one and ends well, those serve no other, so that a third run asks anew. The first call reads all
        abandoned statements' files, about a second for a million answers.
        """
        self._check()
        return self._unfinished.resumable(scope, keys, statement_id)

    def take_over(self) -> None:
        """Makes the answers of statements whose process has died since available to `resumable`."""
        self._check()
        self._unfinished.take_over()

    def remember(self, scope: bytes, ttl_s: float, entries: list[tuple[bytes, str]]) -> None:
        """Stores durable answers for `ttl_s` seconds. Raises LedgerError, and then none of them is stored.

        May wait for other processes, so it does not belong on an event loop.
        """
        self._check()
        self._durable.remember(scope, ttl_s, entries)

    def recall(self, scope: bytes, keys: Sequence[bytes], now: float) -> dict[bytes, str]:
        """The durable values of those of `keys` that have not expired at `now` (UTC seconds)."""
        self._check()
        return self._durable.recall(scope, keys, now)

    @property
    def has_durable(self) -> bool:
        """Whether durable answers were ever stored in this home."""
        return self._durable.exists

    def forget_expired(self, now: float) -> int:
        """Deletes the durable answers that have expired at `now`. Returns how many. Raises LedgerError."""
        self._check()
        return self._durable.forget_expired(now)

    def clear(self) -> None:
        """Deletes all answers but those of this and other processes' own statements. Raises LedgerError."""
        self._check()
        self._unfinished.clear()
        self._durable.clear()

    def stats(self) -> dict[str, int | float | None]:
        """`entries`, `bytes` and `oldest_s` (UTC seconds, or None) of the durable answers; `abandoned_statements` and
        `abandoned_bytes` of those that can be resumed."""
        self._check()
        entries, size, oldest_s = self._durable.stats()
        abandoned = self._unfinished.sizes()
        return {
            "entries": entries,
            "bytes": size,
            "oldest_s": oldest_s,
            "abandoned_statements": len(abandoned),
            "abandoned_bytes": sum(abandoned),
        }

    def close(self) -> None:
        """Finishes what ended well, abandons what still runs, and closes the files.

        Again, or in a forked child, it does nothing.
        """
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._unfinished.close()
        self._durable.close()

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise LedgerError(
                "the answers were opened before this process was forked; open them in each process (spawn, not fork)"
            )
        if self._closed:
            raise LedgerError("the answers are closed")


def _release_after_fork() -> None:
    """A child that outlives its parent must not keep the parent's statements from being resumed."""
    for store in list(_stores):
        with contextlib.suppress(OSError):
            store._unfinished.release_after_fork()


os.register_at_fork(after_in_child=_release_after_fork)
