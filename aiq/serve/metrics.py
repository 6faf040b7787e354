"""Counters of a server for Prometheus, told of each outcome. Labels are bounded: no user, no tag, no model's own words.

Names follow OpenTelemetry's GenAI conventions where those have one. Of several worker processes the counts are added up
(prometheus_client's multiprocess mode: PROMETHEUS_MULTIPROC_DIR is set before this is imported).
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from aiq.ledger.records import Outcome
from aiq.metric_names import SECONDS, TOKENS

CONTENT_TYPE = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_ASKED = ("endpoint", "entity", "provider")


class Metrics:
    """What one server counts. Usable from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("aiq_requests", "Requests that have ended.", "endpoint", "status", "error_type")
        self._retries = self._counter("aiq_retries", "Attempts that were not the last of their request.", "endpoint")
        self._fallbacks = self._counter("aiq_fallbacks", "Attempts at another served entity.", "endpoint", "entity")
        self._refused = self._counter("aiq_limit_refused", "Requests that a rate limit refused.", "endpoint")
        self._guards = self._counter("aiq_guardrail_actions", "Requests on which guardrails acted.", "endpoint")
        self._cost = self._counter("aiq_cost_usd", "US dollars, of calls with a known price.", *_ASKED)
        self._tokens = {
            member: self._counter(f"gen_ai_client_inference_usage_{name}", "Tokens as billed.", *_ASKED)
            for member, name in TOKENS.items()
        }
        self._duration = self._histogram("gen_ai_client_inference_duration_seconds", "One call of a provider.", *_ASKED)
        self._first = self._histogram(
            "gen_ai_client_inference_time_to_first_chunk_seconds", "Until the first token of a stream.", *_ASKED
        )
        self._limited = self._histogram("aiq_limit_wait_seconds", "Waited for rate limits.", "endpoint")
        self._in_flight = Gauge(
            "aiq_in_flight",
            "Exchanges that are being answered.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self._registry)

    def _histogram(self, name: str, words: str, *labels: str) -> Histogram:
        return Histogram(name, words, labels, registry=self._registry, buckets=SECONDS)

    def count(self, outcome: Outcome) -> None:
        """One outcome, of an attempt or of a request that was never sent."""
        endpoint = outcome.endpoint
        if outcome.final:
            self._requests.labels(endpoint, outcome.status, outcome.error_class or "").inc()
            if outcome.limit_wait_ms:
                self._limited.labels(endpoint).observe(outcome.limit_wait_ms / 1000)
            if outcome.status == "refused" and outcome.limited_by:
                self._refused.labels(endpoint).inc()
            if outcome.guards:
                self._guards.labels(endpoint).inc()
        else:
            self._retries.labels(endpoint).inc()
        if outcome.served_entity_name is None:
            return
        if outcome.fallback_from:
            self._fallbacks.labels(endpoint, outcome.served_entity_name).inc()
        asked = (endpoint, outcome.served_entity_name, outcome.provider or "")
        for member, counter in self._tokens.items():
            if tokens := getattr(outcome, member):
                counter.labels(*asked).inc(tokens)
        if outcome.cost_usd:
            self._cost.labels(*asked).inc(outcome.cost_usd)
        if outcome.latency_ms is not None:
            self._duration.labels(*asked).observe(outcome.latency_ms / 1000)
        if outcome.time_to_first_token_ms is not None:
            self._first.labels(*asked).observe(outcome.time_to_first_token_ms / 1000)

    def begun(self) -> None:
        """An exchange has begun."""
        self._in_flight.inc()

    def ended(self) -> None:
        """An exchange has ended."""
        self._in_flight.dec()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it: of every worker where there are several."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
