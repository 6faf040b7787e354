"""What is left of one unit of a provider's quota, as far as its answers tell. Knows no request, no header and no clock.

A bucket refills all the time. Our own takings are booked at once, and each answer corrects the balance as it was when
its request left, so that what is in flight is never counted twice or forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiq.providers.base import StatedLimit

PERIOD_S = 60.0
"""In which a bucket refills, until its answers tell: providers count by the minute."""
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 1.0, 86_400.0
LEAST_RESERVE, MOST_RESERVE = 0.005, 0.05
"""Shares of a limit that are not asked for, because requests do not arrive exactly when and in which order they left.

Doubled by a refusal and back to the least with answers. Costs nothing once the bucket is in use.
"""
_RECOVERY = 0.99
_MOST_WEIGHT = 64.0
_MEMORY = 0.98
"""What an observation of the weight counts after the next one."""
_GAIN = 0.1
"""The part of a surprise that is believed where it is a good one."""
_LATE_GAIN = 0.05
"""The part of the mean of what requests used that is the last one's."""
_FULL = 0.95
"""Of a bucket as full as this it is not known what ran over."""

Mark = tuple[float, float, float]
"""What was booked for a request; the balance then, without its corrections; and the sum of all bookings, this included.

The balance is NaN for one that left before anything was stated.
"""


class QuotaBucket:
    """One unit of a quota, in its units and in seconds of a monotonic clock.

    An answer tells what was left when its request arrived, about when it left us. So the balance is corrected by the
    difference to what it was then, less what it has been corrected by since.
    """

    __slots__ = (
        "_at", "_balance", "_before", "_corrected", "_first", "_least_weight", "_limit", "_lowest", "_newest",
        "_offset", "_ours", "_period_s", "_reserve", "_seen", "_sent", "_weight",
    )  # fmt: skip

    def __init__(
        self, stated: StatedLimit, in_flight: float, cost: float, now: float, prior: float, least_weight: float
    ) -> None:
        """`in_flight` is what was sent before anything was stated, `cost` is a request like the first.

        `prior` is how many requests count as seen before the first, at a weight of 1; `least_weight` is the least that
        a unit of ours may be taken for.
        """
        self._limit, self._period_s, self._reserve = stated.limit, PERIOD_S, LEAST_RESERVE
        self._before, self._lowest, self._at = in_flight, stated.remaining, now
        self._balance = self._first = stated.remaining - in_flight
        self._corrected = self._offset = self._sent = self._newest = 0.0
        self._ours = self._seen = prior * max(1.0, cost)
        # What a unit that we take is seen to take: more where others use the same key, or the provider counts more.
        self._weight, self._least_weight = 1.0, least_weight
        self._learn_period(stated)

    def wait_s(self, units: float, now: float, ahead: Sequence[float] = ()) -> float:
        """Seconds until there is room for `units`, after the units of those `ahead`."""
        return self._room_s(self._weight * units, self._weight * sum(ahead) if ahead else 0.0, now)

    def take(self, units: float) -> Mark:
        """Books units that go now, after `wait_s` has found room."""
        self._balance -= self._weight * units
        self._sent += units
        return units, self._balance - self._corrected, self._sent

    def learn(self, stated: StatedLimit, mark: Mark, now: float, refused: bool) -> bool:
        """Corrects the balance by an answer. True where its request was refused and this is what it lacked.

        `mark` is what `take` gave for that request.
        """
        cost, reference, sent = mark
        lacking = self._lacks(stated, cost * max(1.0, self._weight), refused)
        if reference != reference:  # NaN: it left before anything was stated, and all that is left is for later ones
            self._before = max(0.0, self._before - cost)
            self._lowest = min(self._lowest, stated.remaining)
            if not self._newest:
                self._correct(self._lowest - self._before - self._first - self._corrected, now)
            return lacking
        if sent <= self._newest:  # one that left later told more
            return lacking
        offset = stated.remaining - reference
        if not refused and self._newest and stated.remaining < _FULL * stated.limit:
            ours = sent - self._newest
            seen = min(max(self._weight * ours + self._offset - offset, 0.0), _MOST_WEIGHT * ours)
            self._seen, self._ours = _MEMORY * self._seen + seen, _MEMORY * self._ours + ours
            self._weight = min(max(self._seen / self._ours, self._least_weight), _MOST_WEIGHT)
        self._newest, self._offset, self._limit = sent, offset, stated.limit
        error = offset - self._corrected
        # More than expected is often one that overtook others on its way: less is believed at once, more by and by.
        self._correct(error if error < 0.0 or refused else _GAIN * error, now)
        self._learn_period(stated)
        return lacking

    def _room_s(self, units: float, ahead: float, now: float) -> float:
        self._refill(now)
        limit, needed = self._limit, units + self._reserve * self._limit
        # More than fits is asked of a full bucket: the provider knows whether it ever fits.
        missing = (needed if needed < limit else limit) + ahead - self._balance
        return missing * self._period_s / limit if missing > 0.0 else 0.0

    def _lacks(self, stated: StatedLimit, units: float, refused: bool) -> bool:
        """Whether a refusal is for want of this. One makes the reserve larger, an answer smaller again."""
        lacking = refused and stated.remaining < max(2 * units, MOST_RESERVE * stated.limit)
        if lacking:
            self._reserve = min(2 * self._reserve, MOST_RESERVE)
        elif self._reserve > LEAST_RESERVE:
            self._reserve = max(_RECOVERY * self._reserve, LEAST_RESERVE)
        return lacking

    def _correct(self, error: float, now: float) -> None:
        self._refill(now)
        self._balance = min(self._limit, self._balance + error)
        self._corrected += error

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._balance = min(self._limit, self._balance + (now - self._at) * self._limit / self._period_s)
            self._at = now

    def _learn_period(self, stated: StatedLimit) -> None:
        """From how long it takes to be full again: the more is missing, the more exactly it tells."""
        missing = stated.limit - stated.remaining
        if stated.reset_s is None or missing <= 0.0:
            return
        period_s = min(max(stated.limit * stated.reset_s / missing, SHORTEST_PERIOD_S), LONGEST_PERIOD_S)
        self._period_s += missing / stated.limit * (period_s - self._period_s)


class LateBucket(QuotaBucket):
    """A unit that a provider takes when it knows how much it was: output tokens.

    What it states has nothing of what is in flight, and never less than 0, though it may be owed some. So what is in
    flight is expected, by what others before it used, and settled when it is over.
    """

    __slots__ = ("_answers", "_flying", "_mean")

    def __init__(self, stated: StatedLimit, in_flight: float, cost: float, now: float) -> None:
        super().__init__(stated, in_flight, cost, now, 1.0, 1.0)
        self._flying, self._mean, self._answers = in_flight, cost, 0

    def wait_s(self, units: float, now: float, ahead: Sequence[float] = ()) -> float:
        """Seconds until there is room for an answer of at most `units`, after those `ahead`."""
        return self._room_s(self._expected(units), sum(map(self._expected, ahead)), now)

    def take(self, units: float) -> Mark:
        """Books what is likely of `units`; its balance is the one without what is in flight."""
        expected = self._expected(units)
        self._balance -= expected
        self._flying += expected
        self._sent += 1.0
        return expected, self._balance + self._flying - self._corrected, self._sent

    def settle(self, booked: float, used: float | None, now: float) -> None:
        """The request is over: books what it `used`, None for nothing, instead of what was expected."""
        self._refill(now)
        self._flying = max(0.0, self._flying - booked)
        self._balance += booked - (used or 0.0)
        if used is not None:
            self._answers += 1
            self._mean += max(_LATE_GAIN, 1 / self._answers) * (used - self._mean)

    def learn(self, stated: StatedLimit, mark: Mark, now: float, refused: bool) -> bool:
        """As `QuotaBucket.learn`."""
        cost, reference, sent = mark
        lacking = self._lacks(stated, cost, refused)
        if not sent > self._newest:
            return lacking
        self._newest, self._limit = sent, stated.limit
        error = stated.remaining - reference - self._corrected
        if error < 0.0:
            self._correct(error, now)
        elif stated.remaining > 0.0:
            self._correct(_GAIN * error, now)
        if stated.remaining > 0.0:
            self._learn_period(stated)
        return lacking

    def _expected(self, units: float) -> float:
        return min(units, self._mean)
