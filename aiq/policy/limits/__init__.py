"""How much an endpoint may be asked: calls, tokens, dollars, at once. Must never know a wire format.

The rule: a request counts from the moment it is granted, and no interval of one period, wherever it starts, holds more
than the limit. (A bucket with a burst would let twice the limit pass in one minute.) Every limit is therefore a log of
its charges, exact up to a limit of 1,000. Above that, charges of a thousandth of the period are one, dated to the last
of them, and above 64 processes take leases (`leases`), which end before they could count wrongly: both only ever
refuse too much, together at most 5 % of a limit. A correction upwards (debt) counts from when it is known.

    rules, clauses   which limits hold for whom, and one caller's as a test and a charge (grant)
    book, window     what a place to count in must be able to do; counting in memory
    leases           the part of a shared limit that this process holds; file_store, redis_store: where the rest is
    estimate         how many tokens a request will take
    waiting          whose turn it is; fairness: between users
    limiter          all of it for one endpoint; store: opens what the settings say
"""

from __future__ import annotations

from aiq.policy.limits.grant import Grant
from aiq.policy.limits.limiter import RateLimiter
from aiq.policy.limits.store import open_book

__all__ = ["Grant", "RateLimiter", "open_book"]
