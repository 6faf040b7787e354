"""A statement that several processes work on: each distinct request is asked by one of them, and paid once.

Who asks is settled a batch of keys at a time, in a store they share. Knows the store, no engine and no provider.
"""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from aiq.answers.shared import Entry, Shared, SharedAnswers
from aiq.batch.answers import decoded, encoded
from aiq.batch.budget import Budget
from aiq.batch.kept import KeptAnswers
from aiq.batch.slots import Ask, Slot
from aiq.batch.statement import Statement
from aiq.errors import LedgerError, RequestFailed
from aiq.gateway import Gateway
from aiq.request import Caller, Task

POLL_S = 0.05
"""How often it is looked whether another process has its answer."""


class _AnswerGroup:
    """Answers that are stored together."""

    def __init__(self) -> None:
        self.entries: dict[Shared, list[Entry]] = {}
        self.stored = asyncio.Event()


class SharedStatement(Statement):
    """The part of one process in a statement."""

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        store: SharedAnswers,
        shared_for: Callable[[str], Shared | None],
        statement_id: str,
        *,
        kept: KeptAnswers | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`shared_for` says with whom the answers of an endpoint are shared; None: with nobody."""
        super().__init__(gateway, caller, kept=kept, budget=budget, statement_id=statement_id)
        self._store, self._shared_for = store, shared_for
        self._claimed: dict[bytes, Shared] = {}
        self._claiming = threading.Lock()
        self._group: _AnswerGroup | None = None
        self._storing: asyncio.Task[None] | None = None
        self._alone = False
        """True after the store has failed: this process goes on by itself, and may pay again."""

    def ask(self, endpoint: str, task: Task, asks: Iterable[Ask], *, fail_fast: bool) -> list[Any]:
        asks = list(asks)
        shared = self._shared_for(endpoint)
        if shared is None:
            return super().ask(endpoint, task, asks, fail_fast=fail_fast)
        values: dict[bytes, Any] = {}
        waiting = asks
        while waiting:
            theirs = self._divide(endpoint, shared, waiting)
            own = [ask for ask in waiting if ask.key not in theirs]
            if own:
                answers = super().ask(endpoint, task, own, fail_fast=fail_fast)
                values.update(zip((ask.key for ask in own), answers, strict=True))
                self._settle(shared, [ask.key for ask in own], values)
            waiting = [ask for ask in waiting if ask.key in theirs]
            if waiting and not own:
                time.sleep(POLL_S)
                with self._lock:
                    self._raise_if_stopped()
        return [values[ask.key] for ask in asks]

    def end(self, *, well: bool) -> None:
        super().end(well=well)
        with self._claiming:
            rest, self._claimed = self._claimed, {}
        for shared in set(rest.values()):
            keys = [key for key, claimed_for in rest.items() if claimed_for == shared]
            self._guarded(partial(self._store.release, shared, keys))

    def _keeps(self, endpoint: str) -> bool:
        return not self._alone and self._shared_for(endpoint) is not None

    def _divide(self, endpoint: str, shared: Shared, asks: Sequence[Ask]) -> set[bytes]:
        """The keys that another process asks for. What is answered already is this statement's from here on."""
        keys: Sequence[bytes] = [ask.key for ask in asks]
        with self._lock:
            self._raise_if_stopped()
            known = self._answers.find(keys)
            keys = [key for key in keys if key not in known and key not in self._slots]
        if not keys or self._alone:
            return set()
        try:
            claimed = self._store.claim(shared, keys)
        except LedgerError as error:
            self._give_up(error)
            return set()
        with self._claiming:
            self._claimed.update((key, shared) for key in claimed.mine)
        with self._lock:
            for key, text in (claimed.known | claimed.reused).items():
                if key not in self._slots and not self._answers.find([key]):
                    self._answers.add(key, decoded(text.encode("utf-8", "surrogatepass")))
            self.progress.reused += len(claimed.reused)
        self.gateway.record_hits(endpoint, self.caller, self.id, len(claimed.reused), asks[0].function)
        return set(claimed.theirs)

    def _settle(self, shared: Shared, keys: Sequence[bytes], values: dict[bytes, Any]) -> None:
        """Shares what was claimed and then found elsewhere: durable answers of an earlier statement."""
        with self._claiming:
            left = [key for key in keys if key in self._claimed and not isinstance(values[key], RequestFailed)]
            for key in left:
                del self._claimed[key]
        if left and not self._alone:
            self._guarded(partial(self._store.keep, shared, [_entry(key, values[key]) for key in left]))

    async def _save(self, endpoint: str, slots: Sequence[Slot], values: Sequence[Any]) -> None:
        await super()._save(endpoint, slots, values)
        await self._share(endpoint, slots, values)

    async def _save_failure(self, endpoint: str, slots: Sequence[Slot], error: RequestFailed) -> None:
        await self._share(endpoint, slots, [error] * len(slots))

    async def _share(self, endpoint: str, slots: Sequence[Slot], values: Sequence[Any]) -> None:
        shared = self._shared_for(endpoint)
        if self._alone or shared is None:
            return
        if self._group is None:
            self._group = _AnswerGroup()
        group = self._group
        entries = group.entries.setdefault(shared, [])
        entries.extend(_entry(slot.key, value) for slot, value in zip(slots, values, strict=True))
        if self._storing is None:
            self._storing = asyncio.get_running_loop().create_task(self._store_groups())
        # An answer that is not stored still has its place in flight: a process that is killed repays no more than that.
        await group.stored.wait()

    async def _store_groups(self) -> None:
        try:
            while self._group is not None:
                await asyncio.sleep(self._store.together_s)
                group, self._group = self._group, None
                try:
                    for shared, entries in group.entries.items():
                        await self._keep_shared(shared, entries)
                        with self._claiming:
                            for entry in entries:
                                self._claimed.pop(entry.key, None)
                finally:
                    group.stored.set()
        finally:
            self._storing = None

    async def _keep_shared(self, shared: Shared, entries: Sequence[Entry]) -> None:
        # A thread costs more than most of these writes, and waits for the loop at each of its turns.
        try:
            if self._store.keep_at_once(shared, entries):
                return
        except LedgerError as error:
            self._give_up(error)
        else:
            await asyncio.to_thread(self._guarded, partial(self._store.keep, shared, entries))

    def _guarded(self, write: Callable[[], object]) -> None:
        """Answers that cannot be shared must not fail the statement that has them."""
        try:
            write()
        except LedgerError as error:
            self._give_up(error)

    def _give_up(self, error: LedgerError) -> None:
        if not self._alone:
            self._alone = True
            warnings.warn(f"{error} (a retried task asks again for what it had)", stacklevel=2)


def _entry(key: bytes, value: Any) -> Entry:
    text = encoded(value).decode("utf-8", "surrogatepass")
    return Entry(key, text, isinstance(value, RequestFailed))
