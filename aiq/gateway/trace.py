"""What the ledger will say of one request (`Trace`) and of each of its calls (`Attempt`).

Notes that the pipeline's steps write while they work; they decide nothing themselves.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiq.errors import ProviderError
from aiq.gateway.routes import Target
from aiq.policy.limits import Grant
from aiq.policy.quota import PlaceInFlight
from aiq.providers.base import StreamDecoder
from aiq.request import Answer, Request, Usage, new_request_id

NextAttempt = Callable[[float | None, Request], Awaitable[object]]
"""Called after a failed attempt with its cost in US dollars (None if unknown) and the request that is sent next."""

NOTHING = Usage(0, 0)


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

    def __init__(self, ready: float, request_id: str | None, *, streaming: bool = False) -> None:
        self.request_id = request_id or new_request_id()
        self.ready = ready  # for the attempt that comes next
        self.ended = False
        self.attempt = self.in_flight = 0
        self.grant: Grant | None = None
        self.billed = NOTHING  # over all attempts
        self.billed_usd: float | None = 0.0
        self.unknown = False  # whether an attempt may have been billed without saying so
        self.limit_wait_s = 0.0
        self.limited_by: str | None = None
        self.next_attempt: NextAttempt | None = None
        self.guards: tuple[str, ...] = ()  # the guardrails that acted, with their side
        self.fallback_from: str | None = None
        self.fallback_reason: str | None = None
        self.repairing = False  # whether the next attempt is to correct an answer of the wrong form
        self.winner: Answer | None = None  # of several attempts at the same time
        self.request_json: str | None = None
        self.characters = 0
        self.streaming = streaming

    def add_bill(self, usage: Usage, cost_usd: float | None) -> None:
        """Adds what an attempt was billed to what the request was."""
        before = self.billed
        if before is NOTHING:
            self.billed = usage
        else:
            self.billed = Usage(
                before.input_tokens + usage.input_tokens,
                before.output_tokens + usage.output_tokens,
                estimated=before.estimated or usage.estimated,
            )
        if self.billed_usd is not None:
            self.billed_usd = None if cost_usd is None else self.billed_usd + cost_usd


class Attempt:
    """One call. It ends with `answer` or `error`, or with neither where it was given up."""

    __slots__ = (
        "answer",
        "decoder",
        "error",
        "fallback_from",
        "fallback_reason",
        "first_token",
        "hedge",
        "lacking",
        "number",
        "probe",
        "ready",
        "repair",
        "repairs",
        "sent",
        "slot",
        "start_us",
        "target",
        "token_number",
    )

    def __init__(
        self,
        target: Target,
        slot: PlaceInFlight,
        trace: Trace,
        fallback_from: str | None,
        now: float,
        *,
        hedge: bool = False,
    ) -> None:
        """`now` is monotonic, in seconds; `slot` is a slot of the target's gate."""
        trace.attempt += 1
        trace.in_flight += 1
        self.target, self.number, self.fallback_from = target, trace.attempt, fallback_from
        self.slot, self.lacking = slot, False  # whether it was refused for want of quota
        self.fallback_reason, self.hedge = trace.fallback_reason, hedge
        self.repairs = trace.repairing
        self.repair: Request | None = None  # what may correct an answer of the wrong form
        self.ready, self.sent = trace.ready, now
        self.token_number = 0  # of the access token that it carries
        self.start_us = time.time_ns() // 1000
        self.probe = target.health.ejected and target.health.ask()
        self.answer: Answer | None = None
        self.error: ProviderError | None = None
        self.decoder: StreamDecoder | None = None
        self.first_token: float | None = None  # when it came, of a streamed answer
