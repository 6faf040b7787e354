"""Tells the ledger what became of a request: the only place of the gateway that builds its `Intent`s and `Outcome`s.

The outcome of a call that a dying process left open is built by the ledger itself (`ledger.groups.orphan`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import orjson

from aiq.errors import ProviderError, RequestFailed
from aiq.gateway.routes import Route
from aiq.gateway.statements import Statements
from aiq.gateway.trace import Attempt, Trace
from aiq.ledger.ledger import Ledger
from aiq.ledger.prices import STATED, cost_of
from aiq.ledger.records import Intent, Outcome
from aiq.request import Caller, Request, Usage, new_request_ids, text_characters


class Recorder:
    """Records the requests of one gateway."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._ledger, self._clock = ledger, clock
        self.observers: list[Callable[[Outcome], None]] = []
        """Told of each outcome, on the event loop: quick, and without errors."""
        self.statements = Statements(ledger, lambda: time.time_ns() // 1000)

    def intend(self, route: Route, request: Request, trace: Trace, attempt: Attempt) -> Awaitable[None]:
        """Writes the intent of an attempt, before bytes leave; durable when awaited. Raises LedgerError."""
        entity, caller = attempt.target.entity, request.caller
        return self._ledger.intend(
            Intent(
                request_id=trace.request_id,
                attempt=attempt.number,
                statement_id=request.statement_id,
                endpoint=route.endpoint.name,
                served_entity_id=entity.id,
                requester=caller.user,
                start_us=attempt.start_us,
                served_entity_name=entity.name,
                provider=entity.provider,
                model=entity.model,
                task=request.task,
                client_request_id=request.client_request_id,
                usage_context=dict(caller.usage_context) if caller.usage_context else None,
                function=request.function,
                track_usage=route.endpoint.track_usage,
            )
        )

    def attempt(
        self,
        route: Route,
        request: Request,
        trace: Trace,
        attempt: Attempt,
        status: str,
        *,
        final: bool,
        refusal: RequestFailed | None = None,
        usage: Usage | None = None,
    ) -> None:
        """The outcome of an attempt. `refusal`: the error of a policy that refused its answer.

        `usage` is what was billed where neither an answer nor an error says it.
        """
        self._record(route, request, trace, attempt, status, final, refusal, usage)

    def refused(self, route: Route, request: Request, trace: Trace, refusal: RequestFailed) -> None:
        """The outcome of a request that policy refused before an attempt, or between two."""
        status = "error" if isinstance(refusal, ProviderError) else "refused"
        self._record(route, request, trace, None, status, True, refusal, None)

    def cancelled(self, route: Route, request: Request, trace: Trace) -> None:
        """The outcome of a request that was cancelled while it waited: for a limit, a slot or its next attempt."""
        self._record(route, request, trace, None, "cancelled", True, None, None)

    def hits(self, route: Route, caller: Caller, statement_id: str, count: int, function: str | None = None) -> None:
        """The outcomes of `count` requests that kept answers served: each is a row that cost nothing. Any thread."""
        hit = Outcome(
            request_id="",
            attempt=0,
            statement_id=statement_id,
            endpoint=route.endpoint.name,
            served_entity_id=None,
            served_entity_name=None,
            provider=None,
            model=None,
            task=route.endpoint.task,
            requester=caller.user,
            start_us=time.time_ns() // 1000,
            status="ok",
            status_code=None,
            error_class=None,
            error_message=None,
            latency_ms=None,
            queue_ms=0.0,
            limit_wait_ms=0.0,
            input_tokens=0,
            output_tokens=0,
            cached_tokens=0,
            reasoning_tokens=0,
            tokens_estimated=False,
            cost_usd=0.0,
            price_version=None,
            rows=1,
            finish_reason=None,
            cache_hit=True,
            fallback_from=None,
            final=True,
            usage_context=dict(caller.usage_context) if caller.usage_context else None,
            statement_hash=self.statements.hash_of(statement_id),
            function=function,
        )
        self.statements.count(hit, count)
        self._ledger.record_alike(hit, new_request_ids(count))

    def _record(
        self,
        route: Route,
        request: Request,
        trace: Trace,
        attempt: Attempt | None,
        status: str,
        final: bool,
        refusal: RequestFailed | None,
        usage: Usage | None,
    ) -> None:
        endpoint, target = route.endpoint, None if attempt is None else attempt.target
        entity, price = (None, None) if target is None else (target.entity, target.price)
        trace.ended = trace.ended or final
        status_code, finish_reason, error_class, words, response = None, None, None, None, None
        model = entity.model if entity else None
        answer = None if attempt is None else attempt.answer
        error = refusal if attempt is None or refusal is not None else attempt.error
        if answer is not None:
            usage, status_code, finish_reason, model = answer.usage, 200, answer.finish_reason, answer.model
            response = answer.raw
        elif error is not None:
            status_code, words = error.status, error.reason
            error_class = error.kind if isinstance(error, ProviderError) else getattr(error, "error_code", None)
            billed = getattr(error, "usage", None)
            usage = billed if isinstance(billed, Usage) else usage
            response = getattr(error, "body", None)
            if response is None:
                response = orjson.dumps({"error_code": error_class, "message": words}).decode()
        if attempt is None:
            number, start_us = trace.attempt + (trace.attempt > 0), time.time_ns() // 1000
            latency_ms, queue_ms, fallback_from = None, 0.0, trace.fallback_from
            reason, fallback_reason = None, trace.fallback_reason
        else:
            number, start_us, fallback_from = attempt.number, attempt.start_us, attempt.fallback_from
            reason, fallback_reason = _route_reason(route, attempt), attempt.fallback_reason
            latency_ms = (self._clock() - attempt.sent) * 1000
            queue_ms = max(0.0, (attempt.sent - attempt.ready) * 1000)
        cost = answer.cost_usd if answer is not None else cost_of(price, usage) if usage else None
        unpriced = None
        if usage is not None and cost is None and (target is None or price is not None or target.unpriced):
            unpriced = f"no price of model {model}" if price is None else price.unpriced(usage)
        first_token_ms = None
        if attempt is not None and attempt.first_token is not None:
            first_token_ms = (attempt.first_token - attempt.sent) * 1000
        log = final and endpoint.inference_table is not None
        if final and trace.request_json is None:
            trace.characters = text_characters(request.body)
            if log:
                trace.request_json = orjson.dumps(request.body).decode()
        context = request.caller.usage_context
        outcome = Outcome(
            request_id=trace.request_id,
            attempt=number,
            statement_id=request.statement_id,
            endpoint=endpoint.name,
            served_entity_id=entity.id if entity else None,
            served_entity_name=entity.name if entity else None,
            provider=entity.provider if entity else None,
            model=model,
            task=request.task,
            requester=request.caller.user,
            start_us=start_us,
            status=status,
            status_code=status_code,
            error_class=error_class,
            error_message=words,
            latency_ms=latency_ms,
            queue_ms=queue_ms,
            limit_wait_ms=trace.limit_wait_s * 1000,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cached_tokens=usage.cached_tokens if usage else None,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            tokens_estimated=usage.estimated if usage else False,
            cost_usd=cost,
            price_version=STATED if usage and usage.stated_usd is not None else price.version if price else None,
            rows=request.rows,
            finish_reason=finish_reason,
            cache_hit=False,
            fallback_from=fallback_from,
            final=final,
            track_usage=final and endpoint.track_usage,
            payload_table=endpoint.inference_table if log else None,
            client_request_id=request.client_request_id,
            usage_context=dict(context) if context else None,
            streaming=trace.streaming,
            request_characters=trace.characters,
            response_characters=len(answer.value) if answer is not None and isinstance(answer.value, str) else 0,
            request=trace.request_json or None if log else None,
            response=response if log else None,
            limited_by=trace.limited_by,
            guards=",".join(trace.guards) or None,
            route=reason,
            fallback_reason=fallback_reason,
            cache_write_tokens=usage.cache_write_tokens if usage else None,
            service_tier=usage.service_tier if usage else None,
            time_to_first_token_ms=first_token_ms,
            unpriced=unpriced,
            statement_hash=self.statements.hash_of(request.statement_id),
            function=request.function,
        )
        self.statements.count(outcome)
        self._ledger.record(outcome)
        for observe in self.observers:
            observe(outcome)


def _route_reason(route: Route, attempt: Attempt) -> str:
    """Why an attempt asked the entity that it asked: `Outcome.route`."""
    if attempt.repairs:
        return "repair"
    if attempt.hedge:
        return "hedge"
    if attempt.probe:
        return "probe"
    if attempt.fallback_from is not None:
        return "fallback"
    return "traffic" if route.endpoint.failover.sticky == "none" else "sticky"
