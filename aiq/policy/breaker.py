"""The circuit breaker of a served entity: batches that can ask no other one wait while it answers nothing.

Open, it lets one request at a time try the entity, with growing pauses; the others wait for what becomes of it. Knows
failures by their class, a clock and a sleep; it does not know which other entity could be asked, or a wire format.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from aiq.errors import ErrorKind, ProviderError

OPENS_AFTER = 20
"""Failures in a row after which it opens. Where six of ten requests fail by chance, so many in a row come once in
27,000, and cost a quarter of a second."""
OPENS_AT_ATTEMPT = 4
"""And only once a request has failed so often: what is over in a second or two takes the usual retries."""
_SILENCE = 4
"""A timeout counts as so many failures: it took as long as many requests, and is hardly chance."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 60.0
"""Between two probes, doubled with each that fails. With 10 retries a batch waits for some three minutes."""
MOST_SILENT_PROBES = 2
"""Each takes the endpoint's timeout."""
_PRIOR_FAILED, _PRIOR = 0.5, 5.0
_EVIDENCE = 20.0
_REMEMBERED = 200.0
"""First attempts of which `chance` is the share that failed."""

_COUNTED: frozenset[ErrorKind] = frozenset({"overloaded", "network", "timeout", "bad_answer", "rate_limited"})
_REFUSED: frozenset[ErrorKind] = frozenset({"quota_exhausted", "auth", "not_found", "certificate"})
"""What a person must put right is not waited for."""

Turn = Literal["go", "probe", "last", "give_up"]
"""What a request may do: be sent as usual; be sent alone, and its end reported; be sent with all others that wait, for
the last time; or fail without having been sent."""


class _Waiting:
    """A request that waits. `fresh`: it has not been sent yet, so that its own text cannot be at fault."""

    __slots__ = ("fresh", "statement_id", "turn")

    def __init__(self, statement_id: str, fresh: bool) -> None:
        self.statement_id, self.fresh = statement_id, fresh
        self.turn: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()


class Breaker:
    """Used on the event loop only."""

    __slots__ = (
        "_clock",
        "_failures_before",
        "_first",
        "_first_failed",
        "_line",
        "_pause_s",
        "_probing",
        "_retries",
        "_silent",
        "_sleep",
        "_timer",
        "_until",
        "_weight",
        "announced",
        "answers",
        "failed_probes",
        "is_open",
        "last_error",
        "last_words",
    )

    def __init__(
        self, retries: int, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """`retries` probes may fail before a statement gives up; with 0 it never opens. `clock` is in seconds."""
        self._retries, self._clock, self._sleep = retries, clock, sleep
        self._weight = 0
        self._silent = True  # whether all failures since the last answer were timeouts
        self._pause_s = self._until = 0.0
        self._probing = False
        self._line: list[_Waiting] = []
        self._timer: asyncio.Task[None] | None = None
        self._failures_before: dict[str, int] = {}
        """By statement that has seen it fail since the last answer: the probes that had failed before."""
        self._first = self._first_failed = 0.0
        self.is_open = self.announced = False
        self.answers = 0
        self.failed_probes = 0
        """Since the last answer."""
        self.last_error: ProviderError | None = None
        self.last_words = ""
        """Of the last error, as it came."""

    @property
    def chance(self) -> float:
        """The share of requests that fail at their first attempt, below 1; 0 while too few were sent to tell."""
        if self._first < _EVIDENCE:
            return 0.0
        return (self._first_failed + _PRIOR_FAILED) / (self._first + _PRIOR)

    @property
    def pause_s(self) -> float:
        """Seconds until the next probe."""
        return max(0.0, self._until - self._clock())

    @property
    def opens_again(self) -> bool:
        """Whether an answer now ends an outage, after which requests may soon be as many as before."""
        return self.is_open and self.last_error is not None and self.last_error.kind != "rate_limited"

    def answered(self, *, first: bool) -> None:
        """It works: it answered, or refused a request for what the request is. `first`: at the first attempt."""
        self.answers += 1
        if first:
            self._count_first(0.0)
        if self._weight:
            self._close()

    def failed(self, error: ProviderError, statement_id: str, attempt: int, *, lacking: bool = False) -> None:
        """An attempt failed, of this number from 1. `lacking`: it was refused for want of a stated quota."""
        first = attempt == 1
        if error.kind not in _COUNTED:
            if error.kind not in _REFUSED:
                self.answered(first=first)
            elif self._weight:
                self._close()
            return
        if first and error.kind != "rate_limited":
            self._count_first(1.0)
        if error.kind == "rate_limited" and (lacking or error.retry_after_s is not None):
            if self._weight:  # it says itself when to come again
                self._close()
            return
        if error.once:
            return  # billed: the next one may be, too
        self.last_error, self.last_words = error, error.reason
        self._silent &= error.kind == "timeout"
        self._weight += _SILENCE if error.kind == "timeout" else 1
        self._failures_before.setdefault(statement_id, self.failed_probes)
        in_vain = attempt >= min(OPENS_AT_ATTEMPT, self._retries) or error.kind == "timeout"
        if not self.is_open and self._weight >= OPENS_AFTER and in_vain and self._retries > 0:
            self.is_open = True
            self._pause_s = FIRST_PAUSE_S
            self._until = self._clock() + self._pause_s

    def given_up(self, statement_id: str) -> bool:
        """Whether so many probes have failed since a statement first saw it fail that its requests wait no more."""
        before = self._failures_before.get(statement_id)
        most = min(self._retries, MOST_SILENT_PROBES) if self._silent else self._retries
        return self.is_open and before is not None and self.failed_probes - before >= most

    async def turn(self, statement_id: str, *, fresh: bool) -> Turn:
        """Waits while it is open. After `probe`, `probe_ended` must be called.

        A statement that has not seen it fail yet probes at once. After the last probe each request is sent once, one
        at a time. Where all was silent, which takes long, those that have been sent before are so all at once, and
        fresh ones are given up.
        """
        waiting = _Waiting(statement_id, fresh)
        place = next((i for i, other in enumerate(self._line) if fresh and not other.fresh), len(self._line))
        self._line.insert(place, waiting)
        self._advance()
        try:
            return await waiting.turn
        except BaseException:
            if waiting in self._line:
                self._line.remove(waiting)
            elif waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.result() == "probe":
                self.probe_ended(failed=False)
            raise

    def probe_ended(self, *, failed: bool) -> None:
        """The probe is over. Not `failed`: it was answered, or never sent."""
        self._probing = False
        if failed and self.is_open:
            self.failed_probes += 1
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            self._until = self._clock() + self._pause_s
        self._advance()

    def _count_first(self, failed: float) -> None:
        self._first += 1.0
        self._first_failed += failed
        if self._first >= _REMEMBERED:
            self._first, self._first_failed = self._first / 2, self._first_failed / 2

    def _close(self) -> None:
        self._weight, self._silent, self.failed_probes = 0, True, 0
        self.is_open = self.announced = False
        self._failures_before.clear()
        self._advance()

    def _advance(self) -> None:
        """Lets go who may go now; whoever comes next is looked at again when it is time."""
        if not self.is_open:
            self._dismiss("go", lambda _: True)
        elif not self._probing:
            if self._silent:
                self._dismiss("give_up", lambda waiting: waiting.fresh and self.given_up(waiting.statement_id))
                self._dismiss("last", lambda waiting: self.given_up(waiting.statement_id))
            waits = [(self._wait_s(waiting.statement_id), i) for i, waiting in enumerate(self._line)]
            wait_s, place = min(waits, default=(0.0, 0))
            if waits and wait_s <= 0.0:
                self._probing = True
                self._say(self._line.pop(place), "probe")
            elif waits:
                self._wake_after(wait_s)
        if not self._line and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_s(self, statement_id: str) -> float:
        if statement_id not in self._failures_before or self.given_up(statement_id):
            return 0.0
        return self.pause_s

    def _dismiss(self, turn: Turn, which: Callable[[_Waiting], bool]) -> None:
        going = [waiting for waiting in self._line if which(waiting)]
        if going:
            self._line = [waiting for waiting in self._line if waiting not in going]
        for waiting in going:
            self._say(waiting, turn)

    def _say(self, waiting: _Waiting, turn: Turn) -> None:
        if not waiting.turn.done():
            waiting.turn.set_result(turn)
        elif turn == "probe":  # it was cancelled in this moment
            self._probing = False
            asyncio.get_running_loop().call_soon(self._advance)

    def _wake_after(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.ensure_future(self._wake(wait_s))

    async def _wake(self, wait_s: float) -> None:
        await self._sleep(wait_s)
        self._timer = None
        self._advance()
