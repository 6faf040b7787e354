"""Where limits are counted: in this process here, in a store that several processes share in `leases`.

What the two have in common, and what a store must be able to do. Knows neither callers nor requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from aiq.policy.limits.rules import CONCURRENCY, Scope
from aiq.policy.limits.share import Share
from aiq.policy.limits.window import NEVER, InFlight, LimitState, Window

ASKED = "|asked"
"""Behind the name of a window: that of the charges of who asks in person. One of 0 says that somebody asks."""


class StoreUnavailable(Exception):
    """The store does not answer. Its text says what to do; `passing` whether waiting may help."""

    def __init__(self, message: str, *, passing: bool = True) -> None:
        self.passing = passing
        super().__init__(message)


class Want(NamedTuple):
    """What a process asks of one limit: `need`, and up to `surplus` more. Times in microseconds.

    What is given counts from now until `period_us` after the end of its lease.
    """

    name: str
    limit: int
    period_us: int
    grain_us: int
    lease_us: int
    need_us: int
    """`lease_us` where only the need is given. It is used at once, and the shorter this is, the less is lost."""
    need: int
    surplus: int
    share: int = 0
    """What a batch leaves to who asks in person, less what those used: as `asked` knows."""

    @property
    def asked(self) -> str:
        """Where it stands in the store whether somebody asks in person, and what they used."""
        return self.name + ASKED

    def ends_us(self, amount: int) -> int:
        """How long a lease on this amount lasts."""
        return self.lease_us if amount > self.need else self.need_us


class Change(NamedTuple):
    """What becomes of a charge in the store: `amount` is added (negative: given back). `row` 0: a new one, by force,
    and of 0 as well.

    `renew_us` above 0: it ends that much from now, whatever it was before.
    """

    name: str
    row: int
    amount: int
    period_us: int
    renew_us: int = 0


class Leased(NamedTuple):
    """What a store answers. `leases` are row and amount for each want, in order; None: wait, `blocked` is the clause.

    `epoch` is another one when the store has lost what it knew.
    """

    leases: list[tuple[int, int]] | None
    wait_us: int
    blocked: int
    epoch: str


class LimitStore(Protocol):
    """Shared windows. All or nothing over all clauses; one want of each clause that fits is enough."""

    forgets: bool
    """Whether it may lose what it knows while processes use it."""

    async def exchange(self, changes: Sequence[Change], clauses: Sequence[Sequence[Want]]) -> Leased:
        """Makes the changes, then leases. Raises StoreUnavailable, and then nothing was done or it will lapse."""

    async def close(self) -> None:
        """Gives up its connection."""


class Lacking(NamedTuple):
    """A clause that cannot grant an amount: its scopes and their buckets."""

    scopes: Sequence[Scope]
    buckets: Sequence[Any]
    amount: int
    interactive: bool


class Book(Protocol):
    """The buckets of one gateway. Used on the event loop only."""

    poll_us: int
    """Who waits asks again at least this often, because another process may have given something back."""

    def bucket(self, scope: Scope) -> LimitState:
        """The bucket of a scope, the same for every asker, with the scope's limit from now on."""

    async def refill(self, lacking: Sequence[Lacking], now_us: int) -> tuple[int, int]:
        """Microseconds to wait until all of the clauses can grant, and which of them is the last to.

        0: try again now. Raises StoreUnavailable.
        """

    def prune(self, prefix: str, now_us: int) -> None:
        """Drops the buckets of these names that hold nothing. Buckets that were got before must not be used."""

    async def close(self) -> None:
        """Gives back what is leased."""


class MemoryBook:
    """Limits of this process alone."""

    poll_us = NEVER

    def __init__(self) -> None:
        self._buckets: dict[str, Window | InFlight] = {}

    def bucket(self, scope: Scope) -> LimitState:
        bucket = self._buckets.get(scope.name)
        if bucket is None:
            period_us = round(scope.limit.period_s * 1e6)
            made = InFlight(scope.amount) if scope.unit == CONCURRENCY else Window(scope.amount, period_us)
            made.share = Share(period_us)
            bucket = self._buckets[scope.name] = made
        bucket.limit = scope.amount  # it may have been changed; what was used still counts
        return bucket

    async def refill(self, lacking: Sequence[Lacking], now_us: int) -> tuple[int, int]:
        waits = [min(_wait_us(bucket, clause, now_us) for bucket in clause.buckets) for clause in lacking]
        worst = max(range(len(waits)), key=waits.__getitem__)
        return waits[worst], worst

    def prune(self, prefix: str, now_us: int) -> None:
        self._buckets = {
            name: bucket
            for name, bucket in self._buckets.items()
            if not name.startswith(prefix) or bucket.room(now_us) != bucket.limit
        }

    async def close(self) -> None:
        """Nothing to give back."""


def _wait_us(bucket: Window | InFlight, clause: Lacking, now_us: int) -> int:
    """Until there is room, and the share of who asks in person besides, or nobody asks any more."""
    alone = bucket.wait_us(now_us, clause.amount)
    kept = 0 if clause.interactive else bucket.share.kept(now_us, bucket.limit, clause.amount)
    if not kept:
        return alone
    return min(bucket.wait_us(now_us, clause.amount + kept), max(alone, bucket.share.until_us - now_us))
