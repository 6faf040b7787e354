"""What may still be granted of one limit, kept in this process' memory. Knows neither callers nor requests.

Times are whole microseconds and amounts whole numbers (calls, tokens, billionths of a US dollar), so that nothing is
rounded: who waits exactly as long as told is granted at the next try.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aiq.policy.limits.share import Share

NEVER = 1 << 62
"""A wait without an end, in microseconds."""
EXACT_LIMIT = 1000
"""Up to this amount a window keeps every charge by itself; above, those of a thousandth of its period together."""
IN_FLIGHT_POLL_US = 1_000_000
"""When a place in flight gets free is not known; who is refused may try again after this."""


def grain_us(limit: int, period_us: int) -> int:
    """Charges closer than this are kept as one, dated to the last of them. 0: none are."""
    return 0 if limit <= EXACT_LIMIT else period_us // 1000


class LimitState(Protocol):
    """One limit's state. A charge may exceed the room where it must be made all the same (debt)."""

    limit: int
    share: Share
    """What batches leave of it to who asks in person."""

    def room(self, now_us: int) -> int:
        """What can be charged now without exceeding the limit; negative in debt."""

    def charge(self, now_us: int, amount: int) -> Any:
        """Counts an amount from now on. Returns what `refund` takes."""

    def refund(self, charge: Any, amount: int) -> None:
        """Takes back a part of a charge, as far as it still counts."""


class Window:
    """At most `limit` in any `period_us`, wherever it starts: a half-open interval [t, t + period)."""

    __slots__ = ("_charges", "_grain_us", "_used", "limit", "period_us", "share")
    share: Share

    def __init__(self, limit: int, period_us: int) -> None:
        self.limit, self.period_us = limit, period_us
        self._grain_us = grain_us(limit, period_us)
        self._charges: deque[list[int]] = deque()  # first and last time, and the amount that still counts
        self._used = 0

    def room(self, now_us: int) -> int:
        charges, horizon = self._charges, now_us - self.period_us
        while charges and charges[0][1] <= horizon:
            gone = charges.popleft()
            self._used -= gone[2]
            gone[2] = 0
        return self.limit - self._used

    def wait_us(self, now_us: int, amount: int) -> int:
        """Microseconds until an amount fits; 0 when it does, `NEVER` when it never can."""
        over = amount - self.room(now_us)
        if over <= 0:
            return 0
        if amount > self.limit:
            return NEVER
        for _, last, counted in self._charges:
            over -= counted
            if over <= 0:
                return last + self.period_us - now_us
        raise AssertionError("what is over the limit is somewhere in the window")

    def charge(self, now_us: int, amount: int) -> list[int]:
        self._used += amount
        if self._grain_us and self._charges and now_us - self._charges[-1][0] < self._grain_us:
            last = self._charges[-1]
            last[1] = now_us
            last[2] += amount
            return last
        entry = [now_us, now_us, amount]
        self._charges.append(entry)
        return entry

    def refund(self, charge: list[int], amount: int) -> None:
        back = min(amount, charge[2])
        charge[2] -= back
        self._used -= back


class InFlight:
    """At most `limit` at once."""

    __slots__ = ("_in_flight", "limit", "share")
    share: Share

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._in_flight = 0

    def room(self, now_us: int) -> int:
        return self.limit - self._in_flight

    def wait_us(self, now_us: int, amount: int) -> int:
        return 0 if self._in_flight + amount <= self.limit else IN_FLIGHT_POLL_US

    def charge(self, now_us: int, amount: int) -> None:
        self._in_flight += amount

    def refund(self, charge: None, amount: int) -> None:
        self._in_flight -= amount
