"""Those who wait at one endpoint until its limits have room: fair between users, bounded, with deadlines.

A user over a limit of its own holds up nobody else; a request that is too large for the room there is holds up those
behind it that need the same room, so that small ones do not starve it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import warnings
from collections.abc import Awaitable, Callable, Sequence

from aiq.errors import PolicyError
from aiq.policy.limits.book import Book, Lacking, StoreUnavailable
from aiq.policy.limits.clauses import Plan
from aiq.policy.limits.fairness import FairQueue
from aiq.policy.limits.grant import Grant
from aiq.policy.limits.rules import CALLS, Scope
from aiq.policy.limits.window import NEVER
from aiq.policy.waits import Wait

MAX_WAITING = 100_000
STORE_AWAY_US = 1_000_000
"""While the store does not answer, it is asked again after this."""
_BEHIND_OTHERS_US = 1_000_000
"""There is room for a request, but others that came before need it, and how soon they end is not known."""
_LONGEST_S = 3600.0
_ASKED_AT_ONCE = 16
"""Users whose limits are asked of the store before the search for those who can go begins again."""


class Turn:
    """A request that waits. Times in microseconds of the limiter's clock."""

    __slots__ = ("characters", "deadline_us", "done", "interactive", "limit", "needs", "plan", "retry_us", "until_us")

    def __init__(
        self,
        plan: Plan,
        needs: Sequence[int],
        characters: int,
        deadline_us: int = NEVER,
        *,
        interactive: bool = False,
    ) -> None:
        self.plan, self.needs, self.characters, self.deadline_us = plan, needs, characters, deadline_us
        self.interactive = interactive
        self.done: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self.limit: Scope | None = None
        self.retry_us = self.until_us = 0

    def charge(self, now_us: int) -> Grant | None:
        """Everything charged, or nothing and None."""
        return self.plan.charge(self.needs, self.characters, now_us, self.interactive)

    def lacking(self, now_us: int) -> list[Lacking]:
        """What cannot be granted of it."""
        return self.plan.lacking(self.needs, now_us, self.interactive)


class WaitingRoom:
    """The queue of one endpoint, and the one who calls."""

    def __init__(
        self, endpoint: str, book: Book, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._endpoint, self._book, self._clock, self._sleep = endpoint, book, clock, sleep
        self._queue: FairQueue[Turn] = FairQueue()
        self._deadlines: list[tuple[int, int, Turn]] = []
        self._number = itertools.count()
        self._caller: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._away: StoreUnavailable | None = None
        self._full: Scope | None = None  # the last limit that a request had to wait for, and when that was
        self._full_us = -1
        self._next: tuple[int, Scope] | None = None  # when the next one may go, and the limit that it waits for

    def __len__(self) -> int:
        return len(self._queue)

    def waits(self) -> Wait | None:
        """What those who wait here wait for; None where none does. Any thread."""
        requests, following, full = len(self._queue), self._next, self._full
        if not requests:
            return None
        if self._away is not None:
            return Wait(requests, f"the store of the rate limits of '{self._endpoint}', which does not answer")
        if following is not None:
            return Wait(requests, following[1].plainly(), (following[0] - self._now_us()) / 1e6)
        return Wait(requests, full.plainly() if full is not None else f"the rate limits of '{self._endpoint}'")

    async def wait(self, user: str, turn: Turn, cost: int, *, refuse: bool) -> Grant:
        """The grant of a turn, when it has come. `cost` is what it counts for among users.

        `refuse` raises PolicyError where that is not now. A caller that is cancelled leaves nothing charged.
        """
        if len(self._queue) >= MAX_WAITING:
            raise PolicyError(
                f"{MAX_WAITING} requests wait for the rate limits of '{self._endpoint}' already. Try again later, or "
                "raise the limits.",
                endpoint=self._endpoint,
                status=429,
                error_code="REQUEST_LIMIT_EXCEEDED",
                retry_after_s=1.0,
            )
        since_us = self._now_us()
        if turn.interactive and turn.plan.is_in_share(turn.needs, since_us):
            return await self._of_share(turn)
        next_of_user = self._queue.push(user, turn, cost, first=refuse)
        try:
            if next_of_user:
                self._serve(since_us)
            if not turn.done.done():
                if refuse:
                    await self._ask_for(turn)
                else:
                    self._call(turn, wake=next_of_user)
            grant = await turn.done
        except BaseException:
            if turn.done.done() and not turn.done.cancelled() and turn.done.exception() is None:
                for bucket, charge, amount, _ in turn.done.result().charges:
                    bucket.refund(charge, amount)
            self.wake()  # requests behind it may go
            raise
        finally:
            self._queue.remove(user, turn)
        if self._full_us >= since_us:  # otherwise it only took a moment to ask the store
            grant.waited_s = (self._now_us() - since_us) / 1e6
            limit = turn.limit or self._full
            grant.limit = limit.title() if limit is not None else None
        return grant

    def wake(self) -> None:
        """Something may be granted earlier than was thought."""
        self._woken.set()

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)

    def _call(self, turn: Turn, *, wake: bool) -> None:
        if turn.deadline_us < NEVER:
            heapq.heappush(self._deadlines, (turn.deadline_us, next(self._number), turn))
            wake = True
        if self._caller is None or self._caller.done():
            self._caller = asyncio.get_running_loop().create_task(self._call_all())
        elif wake:
            self.wake()

    def _serve(self, now_us: int) -> list[tuple[Turn, list[Lacking]]]:
        """Grants what can be granted now. Returns the next of each user who lacks something, and what."""
        blocked: list[tuple[Turn, list[Lacking]]] = []
        claimed: set[int] = set()
        turns = self._queue.turns()
        turn = next(turns, None)
        while turn is not None:
            served = False
            if not turn.done.done():
                plan = turn.plan
                behind = claimed and any(all(id(b) in claimed for b in clause.buckets) for clause in plan.clauses)
                grant = None if behind else turn.charge(now_us)
                if grant is not None:
                    turn.done.set_result(grant)
                    served = True
                else:
                    lacking = turn.lacking(now_us)
                    if lacking:
                        blocked.append((turn, lacking))
                        claimed.update(id(bucket) for clause in lacking for bucket in clause.buckets)
                        if any(clause.scopes[0].limit.key == "endpoint" for clause in lacking):
                            break
            try:
                turn = turns.send(served)
            except StopIteration:
                break
        return blocked

    async def _of_share(self, turn: Turn) -> Grant:
        """One try for who asks in person and takes of the share that batches leave, so nobody is overtaken by it."""
        while (grant := turn.charge(self._now_us())) is None:
            await self._refilled(turn, turn.lacking(self._now_us()))
        return grant

    async def _ask_for(self, turn: Turn) -> None:
        """One try for a request that does not wait. Raises PolicyError where it does not succeed."""
        while not turn.done.done():
            lacking = turn.lacking(self._now_us())
            if not lacking:
                raise self._exceeded(turn.plan.clauses[0].scopes[0], _BEHIND_OTHERS_US)
            await self._refilled(turn, lacking)
            self._serve(self._now_us())

    async def _refilled(self, turn: Turn, lacking: Sequence[Lacking]) -> None:
        """Asks the store for what a request lacks. Raises PolicyError where that is not there now."""
        try:
            wait_us, last = await self._book.refill(lacking, self._now_us())
        except StoreUnavailable as error:
            raise self._store_away(error) from None
        if wait_us:
            raise self._exceeded(lacking[last].scopes[0], wait_us)

    async def _call_all(self) -> None:
        """Calls one request after another until none waits."""
        try:
            while len(self._queue):
                self._woken.clear()
                wait_us = await self._round()
                if not len(self._queue):
                    return
                if wait_us <= 0:
                    continue
                while self._deadlines and self._deadlines[0][2].done.done():
                    heapq.heappop(self._deadlines)
                if self._deadlines:
                    wait_us = min(wait_us, max(0, self._deadlines[0][0] - self._now_us()))
                await self._pause(wait_us / 1e6)
        except Exception as error:  # a bug: no request may wait for a caller that is gone
            for turn in self._queue.all():
                if not turn.done.done():
                    turn.done.set_exception(error)

    async def _pause(self, seconds: float) -> None:
        sleeper = asyncio.ensure_future(self._sleep(min(seconds, _LONGEST_S)))
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({sleeper, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            woken.cancel()

    async def _round(self) -> int:
        """Calls those whose turn it is. Returns the microseconds until the next turn."""
        now_us = self._now_us()
        while self._deadlines and self._deadlines[0][0] <= now_us:
            self._fail(heapq.heappop(self._deadlines)[2])
        blocked = self._serve(now_us)
        # Those who were served go on now and not after the store was asked, whose answer is to be used at once.
        await asyncio.sleep(0)
        now_us = self._now_us()
        wait_us, asked = NEVER, 0
        for turn, lacking in blocked:
            if turn.done.done():
                continue
            if turn.retry_us > now_us:
                wait_us = min(wait_us, turn.retry_us - now_us)
                continue
            if asked == _ASKED_AT_ONCE and self._book.poll_us < NEVER:
                return 0
            asked += 1
            try:
                own_us, last = await self._book.refill(lacking, now_us)
            except StoreUnavailable as error:
                own_us = self._wait_for_store(turn, error)
            else:
                if not own_us:
                    self._away = None
                    return 0
                self._away = None
                turn.limit, turn.until_us = lacking[last].scopes[0], now_us + own_us
                self._full, self._full_us = turn.limit, now_us
                # A call stays counted, while what is reserved of other limits may go back before its time.
                hopeless = turn.until_us > turn.deadline_us and turn.limit.unit == CALLS
                if hopeless and not turn.done.done():
                    turn.done.set_exception(self._exceeded(turn.limit, own_us))
                    wait_us = 0
            own_us = min(own_us, self._book.poll_us)
            if self._book.poll_us < NEVER:
                turn.retry_us = now_us + own_us
            wait_us = min(wait_us, own_us)
        due = [(turn.until_us, turn.limit) for turn, _ in blocked if turn.limit is not None and not turn.done.done()]
        self._next = min(due, key=lambda each: each[0], default=None)
        return wait_us

    def _wait_for_store(self, turn: Turn, error: StoreUnavailable) -> int:
        if not error.passing:
            if not turn.done.done():
                turn.done.set_exception(self._store_away(error))
            return 0
        if self._away is None:
            warnings.warn(f"requests to '{self._endpoint}' wait: {error}", stacklevel=2)
        self._away = error
        self._full_us = self._now_us()
        return STORE_AWAY_US

    def _fail(self, turn: Turn) -> None:
        """Its deadline has come."""
        if turn.done.done():
            return
        if self._away is not None:
            turn.done.set_exception(self._store_away(self._away))
        else:
            wait_us = turn.until_us - self._now_us()
            scope = turn.limit or turn.plan.clauses[0].scopes[0]
            turn.done.set_exception(self._exceeded(scope, wait_us if 0 < wait_us < NEVER else _BEHIND_OTHERS_US))

    def _exceeded(self, scope: Scope, wait_us: int) -> PolicyError:
        return PolicyError(
            f"User defined rate limit(s) exceeded for '{self._endpoint}'. {scope.words()}",
            endpoint=self._endpoint,
            status=429,
            error_code="REQUEST_LIMIT_EXCEEDED",
            retry_after_s=wait_us / 1e6,
            limit=scope.title(),
        )

    def _store_away(self, error: StoreUnavailable) -> PolicyError:
        return PolicyError(
            f"The rate limits of '{self._endpoint}' cannot be checked, so nothing is asked: {error}",
            endpoint=self._endpoint,
            status=503,
            error_code="TEMPORARILY_UNAVAILABLE",
            retry_after_s=STORE_AWAY_US / 1e6,
        )
