"""What to do after a failed attempt: try the same entity again and when, ask the next one, or give up.

Pure decisions with passed-in randomness. Sources: the vendors' error references; Databricks retries 429 and 5xx up to
10 times; botocore's standard mode for the retry quota.
"""

from __future__ import annotations

import math
import random
from typing import Literal, NamedTuple

from aiq.config.endpoint import Settings
from aiq.errors import ErrorKind, ProviderError

MAX_HINT_BEFORE_FALLBACK_S = 5.0
"""A Retry-After longer than this is not waited for while another entity can be asked."""
MAX_WAIT_S = 3600.0
"""A Retry-After longer than this is not waited for at all."""
BACKOFF_BASE_S = 0.25
BACKOFF_CAP_S = 20.0
ANSWERED_CAP_S = 1.0
"""The longest backoff while the entity answers other requests."""
LOST_BY_CHANCE = 1e-7
"""A row is tried until so many failures in a row are no chance any more, and as often as `retries` says."""
MOST_TIMES = 3
"""But at most this many times as often as `retries` says."""

_RETRYABLE: frozenset[ErrorKind] = frozenset(
    {"rate_limited", "overloaded", "network", "bad_answer", "timeout", "adapted"}
)
_FALL_BACK: frozenset[ErrorKind] = _RETRYABLE | {
    "quota_exhausted", "too_large", "auth", "not_found", "context_length", "no_answer", "certificate"
}  # fmt: skip


class Step(NamedTuple):
    """`again` waits `delay_s` seconds and asks the same entity; `next` asks the next one; `fail` ends the request.

    `spent`: only the retry quota forbids another attempt.
    """

    action: Literal["again", "next", "fail"]
    delay_s: float = 0.0
    spent: bool = False


class RetryQuota:
    """Bounds retries so that they cannot amplify an outage: each costs, each success gives back.

    It holds where another entity can be asked, and for interactive requests. A batch that can ask no other entity has
    time: it slows down, and waits where nothing is answered (`breaker`). A 429 is free: its pace is set by the
    provider's hint and the adaptive concurrency, and a batch waits its turn.
    """

    def __init__(self, capacity: int = 500, cost: int = 5, refund: int = 1) -> None:
        self._capacity, self._cost, self._refund = capacity, cost, refund
        self.available = capacity

    def spend(self) -> bool:
        """False when the quota is spent."""
        if self.available < self._cost:
            return False
        self.available -= self._cost
        return True

    def succeeded(self) -> None:
        if self.available < self._capacity:
            self.available += self._refund


class RetryPolicy:
    """Decides by the error's class."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self._alone, self._before_fallback, self._rng = (
            settings.retries,
            settings.retries_before_fallback,
            rng,
        )

    def decide(
        self,
        error: ProviderError,
        retries: int,
        quota: RetryQuota,
        *,
        next_entity: bool,
        hurry: bool = False,
        repair: bool = False,
        patient: bool = False,
        answers_others: bool = False,
        chance: float = 0.0,
        offer_s: float = 0.0,
    ) -> Step:
        """`retries` is how often this entity was already asked again.

        `next_entity` is whether another one can be asked instead: one with more context, where that was too small.
        `hurry` is for interactive callers: retries as if there were a next entity, and no long pauses.
        `repair` is whether the entity can be asked to correct an answer of the wrong form; no other one is asked then,
        because a model that keeps failing to do so would cost twice at every entity.
        `patient` is for a batch that can ask no other entity: it draws on no quota, and where the entity
        `answers_others` it is asked soon again. `chance` is how often it fails where that is chance, else 0: a row is
        asked more often then.
        `offer_s` is how many seconds the next entity would let it wait: a shorter hint is waited for instead.
        """
        if error.kind == "rate_limited" and not hurry and offer_s > (error.retry_after_s or math.inf):
            next_entity = False
        if error.kind == "bad_schema":
            return Step("again" if repair else "fail")
        give_up = Step("next") if next_entity and error.kind in _FALL_BACK else Step("fail")
        if error.kind not in _RETRYABLE:
            return give_up
        if error.kind == "adapted":
            # Not only as the first retry: the adapter may learn it after an overload was waited out.
            return Step("again") if retries <= self._before_fallback else give_up
        if error.kind == "timeout":
            limit = 0 if next_entity or hurry else 1  # a silent route stays silent; ask it twice only if it is alone
        elif next_entity or hurry:
            limit = self._before_fallback
        else:
            limit = self._most(chance) if patient else self._alone
        if error.once:
            limit = min(limit, 1)
        hint = error.retry_after_s
        if hint is not None and hint > MAX_WAIT_S:
            return give_up
        if retries >= limit or ((next_entity or hurry) and hint is not None and hint > MAX_HINT_BEFORE_FALLBACK_S):
            return give_up
        if error.kind != "rate_limited" and not patient and not quota.spend():
            return give_up._replace(spent=True)
        if hint is not None:
            # Everybody who got the same hint would come back in the same instant.
            return Step("again", hint + self._rng.random() * min(1.0, 0.1 * hint))
        cap_s = ANSWERED_CAP_S if patient and answers_others else BACKOFF_CAP_S
        return Step("again", min(cap_s, BACKOFF_BASE_S * 2**retries) * (0.5 + 0.5 * self._rng.random()))

    def _most(self, chance: float) -> int:
        """Retries of a row at an entity that fails so often by chance: as configured, and more where it fails a lot."""
        if not 0.0 < chance < 1.0:
            return self._alone
        needed = math.ceil(math.log(LOST_BY_CHANCE) / math.log(chance)) - 1
        return max(self._alone, min(needed, MOST_TIMES * self._alone))
