"""The share of a limit that batches leave to who asks in person, who is refused where a batch would wait.

From the moment somebody asks, and for a period (at least a minute) after it, a batch leaves a tenth of the limit free,
less what was used in person in the last period. So who was told to come again finds room, and a batch is held up by no
more than that tenth: beyond it, who asks in person is one of many. Knows neither callers nor stores.
"""

from __future__ import annotations

from aiq.policy.limits.window import NEVER, Window

PART = 10
_MINUTE_US = 60_000_000
_LATE_US = 5_000_000


def share_of(limit: int) -> int:
    """A tenth of a limit, and at least one where a batch then still has one."""
    return limit // PART or (1 if limit > 1 else 0)


def kept_us(period_us: int) -> int:
    """How long the share is kept after somebody asked: until they are back, as late as clients come."""
    return max(period_us, _MINUTE_US) * 21 // 20 + _LATE_US


class Share:
    """The share of one limit, kept in this process' memory. Of places in flight, what is used does not count."""

    __slots__ = ("_period_us", "_used", "until_us")

    def __init__(self, period_us: int) -> None:
        self._period_us = period_us
        self._used = Window(NEVER, max(1, period_us))
        self.until_us = 0
        """Until when a batch leaves it free."""

    def ask(self, now_us: int) -> None:
        """Somebody asks in person."""
        self.until_us = now_us + kept_us(self._period_us)

    def use(self, now_us: int, amount: int) -> None:
        """What was granted to who asks in person."""
        if self._period_us:
            self._used.charge(now_us, amount)

    def left(self, now_us: int, limit: int) -> int:
        """What of the share was not used in the last period."""
        return max(0, share_of(limit) - NEVER + self._used.room(now_us))

    def kept(self, now_us: int, limit: int, need: int) -> int:
        """What a batch leaves free that needs so much. Who needs more than all but the share leaves what it can."""
        return max(0, min(self.left(now_us, limit), limit - need)) if now_us < self.until_us else 0
