"""What a provider still lets through to one served entity, learnt from what its answers state. Knows no header.

A bucket a unit (requests, tokens) that refills continuously. Our own takings are booked at once, and each answer
corrects the balance as it was when its request left, so that what is in flight is never counted twice or forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from aiq.policy.limits.estimate import CHARACTERS_PER_TOKEN, allowed_output_tokens
from aiq.providers.base import StatedLimit, StatedLimits, text_characters
from aiq.request import Request

LONGEST_WAIT_S = 60.0
"""Without a request for so long, the next one goes whatever was stated: only a Retry-After may hold for longer."""
PERIOD_S = 60.0
"""In which a bucket refills, until its answers tell: providers count by the minute."""
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 1.0, 86_400.0
LEAST_RESERVE, MOST_RESERVE = 0.005, 0.05
"""Shares of a limit that are not asked for, because requests do not arrive exactly when and in which order they left.

Doubled by a refusal and back to the least with answers. Costs nothing once the bucket is in use.
"""
_RECOVERY = 0.99
_AT_ONCE_S = 0.001
"""The reserve is worth more than this."""
_MOST_WEIGHT = 64.0
_LEAST_WEIGHT_OF_TOKENS = 0.05
_MEMORY = 0.98
"""What an observation of the weight counts after the next one."""
_PRIOR = 30.0
"""Requests that count as seen before the first."""
_GAIN = 0.1
"""The part of a surprise that is believed where it is a good one."""
_FULL = 0.95
"""Of a bucket as full as this nobody knows what ran over."""


class Slot(NamedTuple):
    """A place in flight, with the balances when it was given: what its answer states is compared with them.

    `requests` and `tokens` are balances without their corrections, NaN where nothing had been stated yet; `..._taken`
    are sums of what had been taken, this one included; `cost` is its own tokens.
    """

    requests: float
    tokens: float
    requests_taken: float
    tokens_taken: float
    cost: float


UNMETERED = Slot(math.nan, math.nan, 0.0, 0.0, 0.0)
"""Of a served entity whose answers state nothing."""


class Bucket:
    """One unit of a quota, in its units and in seconds of a monotonic clock.

    An answer tells what was left when its request arrived, about when it left us. So the balance is corrected by the
    difference to what it was then, less what it has been corrected by since.
    """

    __slots__ = (
        "_at", "_balance", "_before", "_corrected", "_first", "_least_weight", "_limit", "_lowest", "_newest",
        "_offset", "_ours", "_period_s", "_reserve", "_seen", "_weight", "taken",
    )  # fmt: skip

    def __init__(
        self, stated: StatedLimit, in_flight: float, cost: float, now: float, least_weight: float = 1.0
    ) -> None:
        """`in_flight` is what was sent before anything was stated, `cost` is a request like the first.

        `least_weight` is the least that a unit of ours may be taken for.
        """
        self._limit, self._period_s, self._reserve = stated.limit, PERIOD_S, LEAST_RESERVE
        self._before, self._lowest, self._at = in_flight, stated.remaining, now
        self._balance = self._first = stated.remaining - in_flight
        self._corrected = self._offset = self.taken = self._newest = 0.0
        self._ours = self._seen = _PRIOR * max(1.0, cost)
        # What a unit that we take is seen to take: more where others use the same key, or the provider counts more.
        self._weight, self._least_weight = 1.0, least_weight
        self._learn_period(stated)

    @property
    def reference(self) -> float:
        """The balance as a later answer is compared with it."""
        return self._balance - self._corrected

    def wait_s(self, units: float, ahead: float, now: float) -> float:
        """Seconds until there is room for `units`, after `ahead` units of others."""
        self._refill(now)
        # More than fits is asked of a full bucket: the provider knows whether it ever fits.
        needed = min(self._weight * units + self._reserve * self._limit, self._limit) + self._weight * ahead
        return max(0.0, needed - self._balance) * self._period_s / self._limit

    def take(self, units: float) -> None:
        """Books units that go now, after `wait_s` has found room."""
        self._balance -= self._weight * units
        self.taken += units

    def learn(
        self, stated: StatedLimit, cost: float, reference: float, taken: float, now: float, refused: bool
    ) -> bool:
        """Corrects the balance by an answer. True where its request was refused and this is what it lacked.

        `cost` is that request's; `reference` and `taken` are as they were when it left.
        """
        lacking = refused and stated.remaining < max(2 * cost * max(1.0, self._weight), MOST_RESERVE * stated.limit)
        if lacking:
            self._reserve = min(2 * self._reserve, MOST_RESERVE)
        elif self._reserve > LEAST_RESERVE:
            self._reserve = max(_RECOVERY * self._reserve, LEAST_RESERVE)
        if reference != reference:  # NaN: it left before anything was stated, and all that is left is for later ones
            self._before = max(0.0, self._before - cost)
            self._lowest = min(self._lowest, stated.remaining)
            if not self._newest:
                self._correct(self._lowest - self._before - self._first - self._corrected, now)
            return lacking
        if taken <= self._newest:  # one that left later told more
            return lacking
        offset = stated.remaining - reference
        if not refused and self._newest and stated.remaining < _FULL * stated.limit:
            ours = taken - self._newest
            seen = min(max(self._weight * ours + self._offset - offset, 0.0), _MOST_WEIGHT * ours)
            self._seen, self._ours = _MEMORY * self._seen + seen, _MEMORY * self._ours + ours
            self._weight = min(max(self._seen / self._ours, self._least_weight), _MOST_WEIGHT)
        self._newest, self._offset, self._limit = taken, offset, stated.limit
        error = offset - self._corrected
        # More than expected is often one that overtook others on its way: less is believed at once, more by and by.
        self._correct(error if error < 0.0 or refused else _GAIN * error, now)
        self._learn_period(stated)
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


class Quota:
    """The buckets of one served entity. Used on the event loop only."""

    __slots__ = ("_clock", "_last", "_requests", "_tokens")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock, self._last = clock, clock()
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None

    def cost(self, request: Request | None) -> float:
        """Tokens that a request will be taken to use, where they are limited.

        Source: OpenAI's guide to rate limits, the larger of `max_tokens` and the characters over 4.
        """
        if self._tokens is None or request is None:
            return 0.0
        return _tokens(request)

    def wait_s(self, tokens: float, ahead: int = 0, tokens_ahead: float = 0.0) -> float:
        """Seconds until there is room for one more request of so many tokens, after those that wait before it."""
        now, wait_s = self._clock(), 0.0
        if self._requests is not None:
            wait_s = self._requests.wait_s(1.0, ahead, now)
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(tokens, tokens_ahead, now))
        if wait_s < _AT_ONCE_S:
            return 0.0
        return wait_s if ahead else max(0.0, min(wait_s, self._last + LONGEST_WAIT_S - now))

    def take(self, tokens: float) -> Slot:
        """Books a request that goes now, for which `wait_s` has just found room."""
        requests, of_tokens = self._requests, self._tokens
        self._last = self._clock()
        balance = token_balance = math.nan
        taken = tokens_taken = 0.0
        if requests is not None:
            requests.take(1.0)
            balance, taken = requests.reference, requests.taken
        if of_tokens is not None:
            of_tokens.take(tokens)
            token_balance, tokens_taken = of_tokens.reference, of_tokens.taken
        return Slot(balance, token_balance, taken, tokens_taken, tokens)

    def learn(self, slot: Slot, request: Request, stated: StatedLimits, in_flight: int, *, refused: bool) -> bool:
        """Takes in what an answer states, or a refusal: True where that is for want of quota.

        `in_flight` counts the requests that are not answered yet, this one included.
        """
        now, lacking = self._clock(), False
        if stated.requests is not None:
            if self._requests is None:
                self._requests = Bucket(stated.requests, in_flight, 1.0, now)
            lacking = self._requests.learn(stated.requests, 1.0, slot.requests, slot.requests_taken, now, refused)
        if stated.tokens is not None:
            cost = slot.cost or _tokens(request)
            if self._tokens is None:
                self._tokens = Bucket(stated.tokens, in_flight * cost, cost, now, _LEAST_WEIGHT_OF_TOKENS)
            lacking |= self._tokens.learn(stated.tokens, cost, slot.tokens, slot.tokens_taken, now, refused)
        return lacking


def _tokens(request: Request) -> float:
    return max(1.0, text_characters(request.body) / CHARACTERS_PER_TOKEN, allowed_output_tokens(request.body) or 0)
