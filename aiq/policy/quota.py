"""What a provider still lets through to one served entity, learnt from what its answers state. Knows no header.

A bucket a unit: requests, tokens, or input and output tokens apart. A request goes when there is room in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiq.policy.buckets import LateBucket, Mark, QuotaBucket
from aiq.policy.limits.estimate import CHARACTERS_PER_TOKEN, OUTPUT_TOKENS, allowed_output_tokens
from aiq.providers.base import StatedLimit, StatedLimits
from aiq.request import Request, text_characters

LONGEST_WAIT_S = 60.0
"""Without a request for so long, the next one goes whatever was stated: only a Retry-After may hold for longer."""
_AT_ONCE_S = 0.001
"""The reserve is worth more than this."""
_PRIOR = 30.0
"""Requests that count as seen before the first."""

Costs = Sequence[float]
"""What a request takes of each bucket, in the buckets' order."""


class PlaceInFlight(NamedTuple):
    """A place in flight, with what each bucket that there was then is to be told of it later."""

    marks: Sequence[Mark]


UNMETERED = PlaceInFlight(())
"""Of a served entity whose answers state nothing."""


class EntityQuota:
    """The buckets of one served entity. Used on the event loop only."""

    __slots__ = ("_buckets", "_clock", "_first", "_last", "_late", "_measures", "_places")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock, self._last = clock, clock()
        self._buckets: list[QuotaBucket] = []
        self._late: list[tuple[int, LateBucket]] = []
        self._measures: list[Callable[[Request], float]] = []
        self._first: list[float] = []  # what a request like the first costs
        self._places: dict[int, int] = {}  # a unit's number -> its bucket's

    def costs(self, request: Request | None) -> Costs:
        """What a request is assumed to use of what is limited."""
        if request is None:
            return [1.0 if measure is _one else 0.0 for measure in self._measures]
        return [measure(request) for measure in self._measures]

    def wait_s(self, costs: Costs, ahead: Sequence[Costs] = ()) -> float:
        """Seconds until there is room for one more request of these costs, after those that wait before it."""
        now, wait_s = self._clock(), 0.0
        for place, bucket in enumerate(self._buckets):
            others = [each[place] for each in ahead] if ahead else ()
            wait_s = max(wait_s, bucket.wait_s(costs[place], now, others))
        if wait_s < _AT_ONCE_S:
            return 0.0
        return wait_s if ahead else max(0.0, min(wait_s, self._last + LONGEST_WAIT_S - now))

    def take(self, costs: Costs) -> PlaceInFlight:
        """Books a request that goes now, for which `wait_s` has just found room."""
        self._last = self._clock()
        return PlaceInFlight([bucket.take(costs[place]) for place, bucket in enumerate(self._buckets)])

    def settle(self, slot: PlaceInFlight, output_tokens: int | None) -> None:
        """The request of a slot is over. `output_tokens` is what it was billed, None where not known or nothing."""
        for place, bucket in self._late:
            booked = slot.marks[place][0] if place < len(slot.marks) else self._first[place]
            bucket.settle(booked, output_tokens, self._clock())

    def learn(
        self, slot: PlaceInFlight, request: Request, stated: StatedLimits, in_flight: int, *, refused: bool
    ) -> bool:
        """Takes in what an answer states, or a refusal: True where that is for want of quota.

        `in_flight` counts the requests that are not answered yet, this one included.
        """
        now, lacking = self._clock(), False
        for number, limit in enumerate(stated):
            if limit is None:
                continue
            place = self._places.get(number)
            if place is None:
                place = self._places[number] = self._add(number, request, limit, in_flight, now)
            mark = slot.marks[place] if place < len(slot.marks) else (self._first[place], math.nan, 0.0)
            lacking |= self._buckets[place].learn(limit, mark, now, refused)
        return lacking

    def _add(self, number: int, request: Request, limit: StatedLimit, in_flight: int, now: float) -> int:
        """A bucket of what is stated for the first time: its place."""
        unit = _UNITS[number]
        cost = unit.measure(request)
        if unit.is_late:
            late = LateBucket(limit, in_flight * cost, cost, now)
            self._late.append((len(self._buckets), late))
            self._buckets.append(late)
        else:
            self._buckets.append(QuotaBucket(limit, in_flight * cost, cost, now, _PRIOR, unit.least_weight))
        self._measures.append(unit.measure)
        self._first.append(cost)
        return len(self._buckets) - 1


def _one(request: Request) -> float:
    return 1.0


def _input(request: Request) -> float:
    return max(1.0, text_characters(request.body) / CHARACTERS_PER_TOKEN)


def _output(request: Request) -> float:
    return allowed_output_tokens(request.body) or OUTPUT_TOKENS


def _tokens(request: Request) -> float:
    """Source: OpenAI's guide to rate limits, the larger of `max_tokens` and the characters over 4."""
    return max(1.0, text_characters(request.body) / CHARACTERS_PER_TOKEN, allowed_output_tokens(request.body) or 0)


class _Unit(NamedTuple):
    """What a bucket counts. `least_weight` is the least that a unit of ours may be taken for."""

    measure: Callable[[Request], float]
    least_weight: float
    is_late: bool = False


_UNITS = (_Unit(_one, 1.0), _Unit(_tokens, 0.05), _Unit(_input, 0.02), _Unit(_output, 1.0, is_late=True))
"""In the order of `StatedLimits`. Input that is read from a cache may take next to nothing of its bucket."""
