"""What serving a request takes: where it may go, and what the ledger will say of it.

Plain values of one gateway; they know policy's parts and must never decide anything themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from aiq.config.endpoint import Endpoint, ServedEntity
from aiq.errors import ProviderError, RequestFailed
from aiq.ledger.prices import PriceTag
from aiq.policy.concurrency import Gate
from aiq.policy.ejection import Health
from aiq.policy.guardrails.guards import Guards
from aiq.policy.hedging import Latencies
from aiq.policy.limits import Grant, RateLimiter
from aiq.policy.retry import RetryQuota
from aiq.policy.routing import Router
from aiq.providers import Adapter
from aiq.request import Answer, Request, Usage, new_request_id
from aiq.tokens import AccessToken
from aiq.transport import Transport

NextAttempt = Callable[[float | None, Request], Awaitable[object]]
"""Told what an attempt cost in US dollars, None where nobody knows, and what is sent next, before it is."""

NOTHING = Usage(0, 0)
MAY_BE_BILLED = frozenset({"timeout", "bad_answer"})
"""Failures after which nobody knows whether the provider did its work."""


class Target(NamedTuple):
    """A served entity with what is needed to call it."""

    entity: ServedEntity
    adapter: Adapter
    gate: Gate
    quota: RetryQuota
    price: PriceTag | None
    health: Health
    latencies: Latencies
    token: AccessToken | None = None

    @property
    def unpriced(self) -> bool:
        """Whether its calls cost something that nobody knows. A model server bills nobody."""
        return self.price is None and self.entity.provider != "model-server"


class Route(NamedTuple):
    """An endpoint with what is needed to serve it. Times in seconds, infinite where there is no limit.

    `streamed`: whole answers are asked for as streams too, so that silence is noticed. `takes_link`: whether all
    targets take a link to an image as it is; None: they take any.
    """

    endpoint: Endpoint
    limiter: RateLimiter
    router: Router
    targets: dict[str, Target]
    transport: Transport
    timeout_s: float
    first_token_s: float
    idle_s: float
    streamed: bool
    hedged: bool
    guards: Guards | None
    takes_link: Callable[[str], bool] | None = None


class Trace:
    """What the ledger will say of one request. Times in seconds of the monotonic clock unless said."""

    __slots__ = (
        "attempt",
        "billed",
        "billed_usd",
        "characters",
        "ended",
        "fallback_from",
        "fallback_reason",
        "grant",
        "guards",
        "in_flight",
        "limit_wait_s",
        "limited_by",
        "next_attempt",
        "ready",
        "repairing",
        "request_id",
        "request_json",
        "streaming",
        "unknown",
        "winner",
    )

    def __init__(self, ready: float, *, streaming: bool = False) -> None:
        self.request_id = new_request_id()
        self.ready = ready  # for the attempt that comes next
        self.ended = False
        self.attempt = self.in_flight = 0
        self.grant: Grant | None = None
        self.billed = NOTHING  # over all attempts
        self.billed_usd: float | None = 0.0
        self.unknown = False  # whether an attempt may have been billed for all we know
        self.limit_wait_s = 0.0
        self.limited_by: str | None = None
        self.next_attempt: NextAttempt | None = None
        self.guards: tuple[str, ...] = ()  # what acted, with its side
        self.fallback_from: str | None = None
        self.fallback_reason: str | None = None
        self.repairing = False  # whether the next attempt is to put an answer of the wrong form right
        self.winner: Answer | None = None  # of several attempts at the same time
        self.request_json: str | None = None
        self.characters = 0
        self.streaming = streaming


def cost_of_failure(error: RequestFailed, prices: Iterable[PriceTag | None]) -> float | None:
    """US dollars of an attempt that failed, at the dearest of `prices`; None where nobody knows if it was billed."""
    usage = getattr(error, "usage", None)
    if isinstance(usage, Usage):
        return max((price.cost_usd(usage) for price in prices if price is not None), default=0.0)
    return None if isinstance(error, ProviderError) and error.kind in MAY_BE_BILLED else 0.0
