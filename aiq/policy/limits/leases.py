"""Limits that several processes share. Each takes leases on parts of a limit, so that no row waits for the store.

The rule: in the store, what was leased counts from the lease on, and until a whole period after the lease's end. It
may only be used until that end, by this process' own monotonic clock, started before the store was asked. So every use
is counted for the whole period after it, and no rolling period, in all processes together, holds more than the limit.
What is left at the end of a lease goes back. Knows neither callers nor requests, and no store's technique.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from aiq.policy.limits.book import ASKED, Change, Lacking, LimitStore, StoreUnavailable, Want
from aiq.policy.limits.rules import CONCURRENCY, Scope
from aiq.policy.limits.share import Share, kept_us, share_of
from aiq.policy.limits.window import IN_FLIGHT_POLL_US, NEVER, Window, grain_us

MAX_LEASE_US = 1_000_000
LEASES_IN_A_PERIOD = 32
"""A lease ends after this part of the period: at the most, so much of a limit is lost."""
NEED_US = 2_000
"""A lease on no more than is needed at once ends after this; where the store took longer, after twice its last time."""
LEASES_OF_A_LIMIT = 64
"""A lease takes no more than this part of a limit beyond what is needed at once, so that no process sits on it."""
HOLD_US = 60_000_000
"""A place in flight of a process that died is free again after this."""
QUIET_US = 4_000_000
"""After a store has lost what it knew, nothing is leased for this long, so that all processes have told it first."""
HEARTBEAT_S = 1.0
"""How often a process asks a store that may forget whether it has, as long as it took something of a period."""
ASKS_TOLD = 64
"""While somebody asks in person, the store is told so often in the time for which that counts, and what they used."""
FLUSH_S = 0.05
"""What is given back waits so long for more of it."""


class Lease:
    """The part of one limit that this process holds. `limit` is that of all processes together."""

    __slots__ = (
        "_book",
        "_left",
        "_need_us",
        "_row",
        "_size",
        "lease_us",
        "limit",
        "name",
        "period_us",
        "recent",
        "share",
        "until_us",
    )

    def __init__(self, book: LeasedBook, scope: Scope) -> None:
        self._book, self.name, self.limit = book, scope.name, scope.amount
        self.period_us = 0 if scope.unit == CONCURRENCY else round(scope.limit.period_s * 1e6)
        self.lease_us = min(MAX_LEASE_US, self.period_us // LEASES_IN_A_PERIOD) or HOLD_US
        self._need_us = min(self.lease_us, NEED_US) if self.period_us else HOLD_US
        self.share: Share = _SharedShare(book, scope.name + ASKED, self)
        self._left = self._row = self.until_us = 0
        self._size = 0  # what the next one asks for beyond the need: doubled when used up, halved when not
        self.recent = Window(NEVER, max(1, self.period_us))
        """What this process took, in case the store forgets it."""

    def room(self, now_us: int) -> int:
        if self._left and now_us >= self.until_us:
            self._size //= 2
            self.give_up()
        return self._left

    def charge(self, now_us: int, amount: int) -> int:
        """From the lease, or by force in the store. The row of the store that holds it, 0 while unknown."""
        if self.room(now_us) >= amount:
            self._left -= amount
            return self._row
        self._book.change(self, 0, amount)
        return 0

    def refund(self, charge: int, amount: int) -> None:
        self._book.change(self, charge, -amount)

    def give_up(self) -> None:
        """What is not used goes back."""
        if self._left:
            self._book.change(self, self._row, -self._left)
            self._left = 0

    def forget(self) -> None:
        """What is left is not there any more."""
        self._left = 0

    @property
    def held(self) -> bool:
        """Whether something is left of it."""
        return self._left > 0

    def want(self, need: int, *, surplus: bool, interactive: bool) -> Want:
        """What to ask the store for. What is left goes back with it."""
        self.give_up()
        more = self._size if surplus else 0
        grain = grain_us(self.limit, self.period_us)
        share = 0 if interactive else max(0, min(share_of(self.limit), self.limit - need))
        return Want(self.name, self.limit, self.period_us, grain, self.lease_us, self._need_us, need, more, share)

    def take(self, row: int, amount: int, want: Want, asked_us: int, now_us: int) -> None:
        """What the store gave. What it gave to another request in the meantime and is not used goes back."""
        self.give_up()
        self._row, self._left, self.until_us = row, amount, asked_us + want.ends_us(amount)
        self._need_us = min(self.lease_us, max(NEED_US, 2 * (now_us - asked_us)))
        self._size = min(max(want.need, 2 * self._size), self.limit // LEASES_OF_A_LIMIT)
        self.recent.charge(asked_us, amount)


class ConcurrencyLease(Lease):
    """Places in flight that this process holds. One that gets free is kept for a moment, for who comes next here.

    A while after the store was asked last it goes back: who asks in person elsewhere may be waiting for it.
    """

    __slots__ = ("_free",)

    def __init__(self, book: LeasedBook, scope: Scope) -> None:
        super().__init__(book, scope)
        self._free: list[int] = []  # their rows

    def room(self, now_us: int) -> int:
        if self._free and now_us >= self.until_us:
            self.give_up()
        return len(self._free)

    def charge(self, now_us: int, amount: int) -> int:
        if self._free:
            return self._free.pop()
        self._book.change(self, 0, amount)
        return 0

    def refund(self, charge: int, amount: int) -> None:
        if charge:
            self._free.append(charge)
            self._book.flush_soon()

    def give_up(self) -> None:
        rows, self._free = self._free, []
        for row in rows:
            self._book.change(self, row, -1)

    def forget(self) -> None:
        self._free.clear()

    def take(self, row: int, amount: int, want: Want, asked_us: int, now_us: int) -> None:
        self._free.append(row)
        self.until_us = asked_us + MAX_LEASE_US


class _SharedShare(Share):
    """As `Share`, of a limit that processes share: the store keeps what a batch leaves, and is told who asks."""

    __slots__ = ("_again_us", "_book", "_lease", "_name", "_since_us", "_untold")

    def __init__(self, book: LeasedBook, name: str, lease: Lease) -> None:
        super().__init__(lease.period_us)
        self._book, self._name, self._lease = book, name, lease
        self._again_us, self._since_us, self._untold = -NEVER, 0, 0

    def ask(self, now_us: int) -> None:
        if now_us < self._again_us:
            return
        lasts_us = kept_us(self._period_us)
        self._again_us = now_us + min(lasts_us // ASKS_TOLD, self._period_us // 4 or lasts_us)
        self._book.note_of_share(self._name, 0, lasts_us)
        # What the store is told late must not count there when the charges themselves do not any more.
        counts_us = self._period_us - (now_us - self._since_us) - round(2e6 * FLUSH_S)
        if self._untold and counts_us > 0:
            self._book.note_of_share(self._name, self._untold, counts_us)
        self._untold = 0

    def use(self, now_us: int, amount: int) -> None:
        if self._period_us and self.left(now_us, self._lease.limit):
            super().use(now_us, amount)
            self._since_us = self._since_us if self._untold else now_us
            self._untold += amount


class LeasedBook:
    """Leases on the limits of a store. Used on the event loop only."""

    poll_us = round(FLUSH_S * 1e6)

    def __init__(
        self,
        store: LimitStore,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`clock` is monotonic, in seconds, and `sleep` waits by it."""
        self._store, self._clock, self._sleep = store, clock, sleep
        self._leases: dict[str, Lease] = {}
        self._changes: dict[tuple[str, int], Change] = {}
        self._asked: dict[str, int] = {}  # names of limits that somebody asks in person, and how long that counts
        self._in_flight: set[tuple[str, int]] = set()
        self._renewed_us = self._quiet_until_us = 0
        self._epoch: str | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._heart: asyncio.Task[None] | None = None

    def bucket(self, scope: Scope) -> Lease:
        lease = self._leases.get(scope.name)
        if lease is None:
            lease = self._leases[scope.name] = (ConcurrencyLease if scope.unit == CONCURRENCY else Lease)(self, scope)
        lease.limit = scope.amount
        return lease

    def change(self, lease: Lease, row: int, amount: int) -> None:
        """Notes what has to be written to the store."""
        self._note(Change(lease.name, row, amount, lease.period_us))
        if not lease.period_us and amount < 0:
            self._in_flight.discard((lease.name, row))
        self.flush_soon()

    def note_of_share(self, name: str, amount: int, lasts_us: int) -> None:
        """Notes that somebody asks in person (an amount of 0), or what they were granted."""
        if amount:
            self._note(Change(name, 0, amount, lasts_us))
        else:
            self._asked[name] = lasts_us
        self.flush_soon()

    def flush_soon(self) -> None:
        """Tells the store in a moment."""
        self._flusher = _running(self._flusher, self._flush)

    async def refill(self, lacking: Sequence[Lacking], now_us: int) -> tuple[int, int]:
        """As `Book.refill`. Asks the store."""
        if now_us < self._quiet_until_us:
            return self._quiet_until_us - now_us, 0
        clauses = [
            [
                lease.want(clause.amount, surplus=len(clause.buckets) == 1, interactive=clause.interactive)
                for lease in clause.buckets
            ]
            for clause in lacking
        ]
        wait_us, blocked = await self._exchange(clauses, [lease for clause in lacking for lease in clause.buckets])
        if wait_us and not lacking[blocked].buckets[0].period_us:
            wait_us = IN_FLIGHT_POLL_US
        return wait_us, blocked

    def prune(self, prefix: str, now_us: int) -> None:
        in_flight = {name for name, _ in self._in_flight}
        self._leases = {
            name: lease
            for name, lease in self._leases.items()
            if not name.startswith(prefix) or lease.held or lease.recent.room(now_us) < NEVER or name in in_flight
        }

    async def close(self) -> None:
        """Gives back what is leased, as far as the store can be reached."""
        for lease in self._leases.values():
            lease.give_up()
        for task in (self._flusher, self._heart):
            if task is not None:
                task.cancel()
        try:
            if self._changes:
                await self._exchange([], [])
        except StoreUnavailable:
            return
        finally:
            await self._store.close()

    def _note(self, change: Change) -> None:
        key = (change.name, change.row)
        before = self._changes.get(key)
        self._changes[key] = change if before is None else change._replace(amount=before.amount + change.amount)

    async def _exchange(self, clauses: Sequence[Sequence[Want]], leases: Sequence[Lease]) -> tuple[int, int]:
        asked_us = self._now_us()
        changes = [change for change in self._changes.values() if change.amount]
        self._changes = {}
        asked, self._asked = self._asked, {}
        changes += [Change(name, 0, 0, lasts_us) for name, lasts_us in asked.items()]
        if self._in_flight and asked_us - self._renewed_us >= HOLD_US // 3:
            self._renewed_us = asked_us
            changes += [Change(name, row, 0, 0, HOLD_US) for name, row in self._in_flight]
        try:
            answer = await self._store.exchange(changes, clauses)
        except BaseException:
            # Whether it was done is not known. A debt may count twice; what was given back twice would be used twice.
            self._asked = asked | self._asked
            for change in changes:
                if change.amount > 0:
                    self._note(change)
            raise
        forgotten = self._epoch is not None and answer.epoch != self._epoch
        self._epoch = answer.epoch
        if answer.leases is not None:
            now_us, wants = self._now_us(), [want for clause in clauses for want in clause]
            for lease, (row, amount), want in zip(leases, answer.leases, wants, strict=True):
                lease.take(row, amount, want, asked_us, now_us)
                if not lease.period_us:
                    self._in_flight.add((lease.name, row))
        if leases:
            self._heart = _running(self._heart, self._beat)
        if forgotten:
            return self._tell_again(asked_us), 0
        return answer.wait_us, answer.blocked

    def _tell_again(self, now_us: int) -> int:
        """The store is empty, as after a restart: what this process took lately must count there again.

        Microseconds until all processes have done so.
        """
        longest_us = 0
        for lease in self._leases.values():
            used_units = NEVER - lease.recent.room(now_us)
            if lease.period_us and used_units:
                longest_us = max(longest_us, lease.period_us)
                self.change(lease, 0, used_units)
            lease.forget()
        pause_us = min(QUIET_US, longest_us)
        self._quiet_until_us = now_us + pause_us
        return pause_us

    async def _flush(self) -> None:
        """Tells the store what has changed when nothing else did for a moment."""
        while True:
            await self._sleep(FLUSH_S)
            for lease in self._leases.values():
                if not lease.period_us:
                    lease.give_up()
            if not self._changes and not self._asked:
                return
            try:
                await self._exchange([], [])
            except StoreUnavailable:
                await self._sleep(HEARTBEAT_S)

    async def _beat(self) -> None:
        """Gives leases back at their end, and shows the store that this process is there as long as it matters."""
        while True:
            now_us = self._now_us()
            ends_us = [lease.until_us for lease in self._leases.values() if lease.held]
            used = any(lease.recent.room(now_us) < NEVER for lease in self._leases.values())
            if self._store.forgets and used:
                next_s = HEARTBEAT_S
            elif self._in_flight:
                next_s = HOLD_US / 3e6
            elif ends_us:
                next_s = math.inf
            else:
                return
            await self._sleep(min(next_s, max(1, min(ends_us) - now_us) / 1e6) if ends_us else next_s)
            for lease in self._leases.values():
                lease.room(self._now_us())
            if next_s < math.inf:
                with contextlib.suppress(StoreUnavailable):
                    await self._exchange([], [])

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)


def _running(
    task: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]]
) -> asyncio.Task[None] | None:
    if task is not None and not task.done():
        return task
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a generator that is collected after its loop has ended; `close` tells the store
        return None
    return loop.create_task(work())
