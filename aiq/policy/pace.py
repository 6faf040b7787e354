"""How fast a provider lets requests through that states no limits, and only says when to come again after a refusal.

Learnt from what it grants between refusals. Knows times in seconds, no request and no clock.
"""

from __future__ import annotations

import math

_FIRST_STEP, _STEP = 0.3, 0.05
"""The part of the way to the last interval that was too short, by which the interval shrinks at a time."""
_STEP_S = 1.0
"""It shrinks once in so long, or in an interval if that is longer."""
_FORGET = 0.998
"""What was too short is believed a little less with each step: a provider may let more through by now."""
_BACK = 1.05
"""An interval that was a little too short grows by this factor."""
_LEAST_S = 0.001
BURST = 16
"""Refusals in one burst that teach the first interval: fewer may be about the requests, not about their number."""
_MOST_HINTS = 1.5
"""The longest interval, in hints: a provider that grants a request after each hint is nearly used whole."""


class Pace:
    """The interval between two requests to one served entity; 0 as long as none was refused with a hint."""

    __slots__ = (
        "_burst",
        "_changed_s",
        "_first_s",
        "_granted",
        "_resumes_s",
        "_since_s",
        "_too_short_s",
        "_worked_s",
        "interval_s",
    )

    def __init__(self) -> None:
        self.interval_s = self._too_short_s = self._worked_s = 0.0
        self._granted = self._burst = 0
        self._first_s = 0.0  # the first interval, should this be a burst
        self._since_s: float | None = None
        self._resumes_s = self._changed_s = -math.inf

    def granted(self, sent_s: float, now_s: float) -> None:
        """A request that was sent then has an answer now."""
        self._granted += 1
        if self._since_s is None:
            self._since_s = sent_s
        if self.interval_s and now_s - self._changed_s >= max(_STEP_S, self.interval_s):
            self._changed_s = now_s
            self._too_short_s *= _FORGET
            self._worked_s = self.interval_s
            step = _STEP if self._too_short_s else _FIRST_STEP
            self.interval_s -= (self.interval_s - self._too_short_s) * step
            if self.interval_s < _LEAST_S:
                self.interval_s = self._too_short_s = 0.0

    def refused(self, sent_s: float, now_s: float, hint_s: float) -> None:
        """A request that was sent then is refused now, and may come again after `hint_s`.

        Of those that were sent before the last pause ended nothing is learnt: they went at the old pace.
        """
        if sent_s < self._resumes_s:
            self._burst += 1
            if self._burst == BURST and not self.interval_s:
                self.interval_s = self._first_s
            return
        self._burst = 1
        before_s, granted, since_s = self.interval_s, self._granted, self._since_s
        if self._worked_s or before_s * granted >= hint_s:
            self.interval_s = max(_BACK * before_s, self._worked_s)
        else:  # far too short, or the first one: as fast as it granted (if it did), the pause included
            since_s = sent_s if since_s is None else since_s
            average_s = (now_s + hint_s - since_s) / granted if granted else hint_s if before_s else 0.0
            self.interval_s = max(_BACK * before_s, average_s)
        self.interval_s = min(self.interval_s, _MOST_HINTS * hint_s)
        self._too_short_s = min(before_s, self.interval_s)
        if not before_s:
            self._first_s, self.interval_s = self.interval_s, 0.0
        self._worked_s = 0.0
        self._since_s = self._resumes_s = now_s + hint_s
        self._granted, self._changed_s = 0, now_s
