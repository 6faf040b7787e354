"""Spans for OpenTelemetry: a statement, under it its requests, under them their calls. Made of outcomes, when they end.

A statement's span is begun with it, so that it stands under the span of the program that runs it, and the sampler
decides once for all that is below. Texts are in spans only where they are asked for, as guardrails have left them; the
words of errors, which may repeat a text, go with them.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from aiq.ledger.records import Outcome, StatementRow
from aiq.telemetry.names import OPERATIONS, PROVIDERS, Called, Generation

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

MAX_OPEN = 10_000
"""Statements and requests that are begun and not ended; of older ones the parts stand alone."""
_PARAMETERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
}


class OutcomeSpans:
    """The spans of one gateway."""

    def __init__(
        self,
        provider: TracerProvider,
        names: Generation,
        version: str,
        called: Callable[[Outcome], Called],
        *,
        content: bool = False,
    ) -> None:
        """`called` is what an outcome's call went to. `content`: whether texts are in the spans of requests.

        They are there for endpoints with an inference table, which keeps them in any case.
        """
        from opentelemetry import context, trace

        self._trace = trace
        self._tracer = provider.get_tracer("aiq", version, schema_url=names.schema_url)
        self._names, self._called, self._content = names, called, content
        self._statements: OrderedDict[str, Span] = OrderedDict()
        self._requests: OrderedDict[str, Span] = OrderedDict()
        self._lock = threading.Lock()
        self._nothing = context.Context()
        """What stands above rows of a statement that nobody has announced."""

    def began(self, row: StatementRow) -> None:
        """A statement has started, on the thread of whoever runs it."""
        span = self._tracer.start_span(
            "aiq.statement",
            attributes={"aiq.statement.id": row.statement_id, "aiq.engine": row.engine},
            start_time=row.start_us * 1000,
        )
        with self._lock:
            self._statements[row.statement_id] = span
            if len(self._statements) > MAX_OPEN:
                self._statements.popitem(last=False)

    def ended(self, row: StatementRow) -> None:
        """It is over."""
        with self._lock:
            span = self._statements.pop(row.statement_id, None)
        if span is None:
            return
        if span.is_recording():
            sums = {
                "aiq.requests": row.requests,
                "aiq.reused": row.reused,
                "aiq.failed": row.failed,
                "aiq.tokens": row.tokens,
                "aiq.cost_usd": row.cost_usd,
                "aiq.status": row.status,
            }
            span.set_attributes({name: value for name, value in sums.items() if value is not None})
            if row.status != "ok":
                self._failed(span, row.error_message)
        span.end(None if row.end_us is None else row.end_us * 1000)

    def count(self, outcome: Outcome) -> None:
        """One outcome, of an attempt or of a request that was never sent. On the gateway's event loop."""
        statement = self._statements.get(outcome.statement_id)
        if statement is not None and not statement.is_recording():  # not sampled, and so is nothing below it
            return
        request = self._requests.get(outcome.request_id)
        if request is None:
            request = self._begun(outcome, statement)
        if outcome.attempt and outcome.latency_ms is not None:
            self._call(outcome, request)
        if outcome.final:
            self._requests.pop(outcome.request_id, None)
            self._end(outcome, request)

    def _begun(self, outcome: Outcome, statement: Span | None) -> Span:
        waited_us = (outcome.limit_wait_ms + outcome.queue_ms) * 1000
        span = self._tracer.start_span(
            f"aiq.request {outcome.endpoint}",
            self._under(statement) if statement is not None else None if outcome.function is None else self._nothing,
            attributes={"aiq.endpoint": outcome.endpoint, "aiq.request.id": outcome.request_id},
            start_time=int((outcome.start_us - waited_us) * 1000),
        )
        if not outcome.final:
            self._requests[outcome.request_id] = span
            if len(self._requests) > MAX_OPEN:
                self._requests.popitem(last=False)
        return span

    def _call(self, outcome: Outcome, request: Span) -> None:
        """The span of one call of a provider."""
        if not request.is_recording():
            return
        names, provider = self._names, outcome.provider or ""
        operation, called = OPERATIONS.get(outcome.task, "chat"), self._called(outcome)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            names.provider: PROVIDERS.get(provider, provider),
            **called.attributes(),
            "aiq.endpoint": outcome.endpoint,
            "aiq.entity": outcome.served_entity_name,
            "aiq.attempt": outcome.attempt,
            "aiq.route": outcome.route,
            "aiq.fallback.from": outcome.fallback_from,
            "aiq.fallback.reason": outcome.fallback_reason,
            "aiq.cost_usd": outcome.cost_usd,
            "gen_ai.usage.input_tokens": outcome.input_tokens,
            "gen_ai.usage.output_tokens": outcome.output_tokens,
            names.cached: outcome.cached_tokens,
            names.cache_written: outcome.cache_write_tokens,
            names.reasoning: outcome.reasoning_tokens,
            "http.response.status_code": outcome.status_code,
        }
        if outcome.status == "ok":
            attributes["gen_ai.response.model"] = outcome.model
        if outcome.finish_reason is not None:
            attributes["gen_ai.response.finish_reasons"] = (outcome.finish_reason,)
        if outcome.request is not None:
            attributes |= _parameters(outcome.request)
        start = outcome.start_us * 1000
        span = self._tracer.start_span(
            f"{operation} {called.model}",
            self._under(request),
            kind=self._trace.SpanKind.CLIENT,
            attributes={name: value for name, value in attributes.items() if value is not None},
            start_time=start,
        )
        if outcome.status != "ok":
            span.set_attribute("error.type", outcome.error_class or outcome.status)
            self._failed(span, outcome.error_message)
        span.end(start + int((outcome.latency_ms or 0.0) * 1e6))

    def _end(self, outcome: Outcome, span: Span) -> None:
        end = outcome.start_us * 1000 + int((outcome.latency_ms or 0.0) * 1e6)
        if span.is_recording():
            attributes: dict[str, Any] = {
                "aiq.status": outcome.status,
                "aiq.rows": outcome.rows,
                "aiq.limit.wait_ms": outcome.limit_wait_ms or None,
                "aiq.limit": outcome.limited_by,
                "aiq.guards": tuple(outcome.guards.split(",")) if outcome.guards else None,
            }
            if self._content:
                attributes["gen_ai.input.messages"] = _messages(outcome.request)
                attributes["gen_ai.output.messages"] = outcome.response if outcome.status == "ok" else None
            span.set_attributes({name: value for name, value in attributes.items() if value is not None})
            if outcome.status != "ok":
                span.set_attribute("error.type", outcome.error_class or outcome.status)
                self._failed(span, outcome.error_message)
        span.end(end)

    def _under(self, span: Span) -> Context:
        return self._trace.set_span_in_context(span, self._nothing)

    def _failed(self, span: Span, words: str | None) -> None:
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, words if self._content else None))


def _parameters(body: str) -> dict[str, Any]:
    """The parameters of a request that the conventions name."""
    try:
        given = json.loads(body)
    except ValueError:
        return {}
    return {
        name: given[field]
        for field, name in _PARAMETERS.items()
        if isinstance(given, dict) and isinstance(given.get(field), int | float)
    }


def _messages(body: str | None) -> str | None:
    """The messages of a request, as JSON; of one without messages its body."""
    try:
        given = json.loads(body) if body else None
    except ValueError:
        return None
    if given is None:
        return None
    return (
        json.dumps(given["messages"], ensure_ascii=False) if isinstance(given, dict) and "messages" in given else body
    )
