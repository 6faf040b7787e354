"""Metrics of outcomes for OpenTelemetry, by the GenAI conventions and with names of our own below `aiq.`.

Attributes are bounded: endpoint, entity, provider, model of the configuration, status; no user, no tag, no text.
Counters are added up here and read when they are exported, because an instrument of the SDK costs microseconds a call.
"""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aiq.gateway import Gateway
from aiq.gateway.gateway import EntityState
from aiq.ledger.records import Outcome
from aiq.telemetry.names import OPERATIONS, PROVIDERS, TOKEN_BOUNDS, Called, Generation

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    from aiq.telemetry.histograms import AddedUp

Attributes = dict[str, str | int]
_Key = tuple[Any, ...]
_LABELS = {
    "aiq.requests": ("aiq.endpoint", "aiq.status", "error.type"),
    "aiq.retries": ("aiq.endpoint",),
    "aiq.queue.wait": ("aiq.endpoint",),
    "aiq.fallbacks": ("aiq.endpoint", "aiq.fallback.from", "aiq.entity", "aiq.fallback.reason"),
    "aiq.limit.refused": ("aiq.endpoint", "aiq.limit"),
    "aiq.guardrail.actions": ("aiq.endpoint", "aiq.guard", "aiq.status"),
    "aiq.cache.hits": (),
}
"""What counters are divided by; those that are not here have the attributes of a call."""


class AnyHistogram(Protocol):
    """A histogram: the SDK's, or one of ours."""

    def record(self, amount: float, attributes: Attributes, /) -> object:
        """Takes one value."""


class OutcomeMetrics:
    """The instruments of one gateway. `count` is called on its event loop, exporters read on threads of theirs."""

    def __init__(
        self, provider: MeterProvider, names: Generation, version: str, histograms: list[AddedUp] | None = None
    ) -> None:
        """Histograms are those of the meter provider, or, where a list is given, put into that."""
        self._gateways: weakref.WeakSet[Gateway] = weakref.WeakSet()
        meter = provider.get_meter("aiq", version, schema_url=names.schema_url)
        self._names = names
        self._lock = threading.Lock()
        self._sums: defaultdict[str, defaultdict[_Key, float]] = defaultdict(lambda: defaultdict(float))
        """By the name of a counter, the sums by what `_LABELS` has for it."""
        self._attributes: dict[_Key, Attributes] = {}

        def histogram(name: str, unit: str, words: str, bounds: Sequence[float]) -> AnyHistogram:
            if histograms is None:
                return meter.create_histogram(
                    name, unit=unit, description=words, explicit_bucket_boundaries_advisory=list(bounds)
                )
            from aiq.telemetry.histograms import AddedUp

            histograms.append(made := AddedUp(name, unit, words, bounds))
            return made

        seconds = names.duration_bounds
        self._duration = histogram(names.duration, "s", names.duration_words, seconds)
        self._first = (
            histogram(names.first_chunk, "s", "Until the first part of a streamed answer.", seconds)
            if names.first_chunk is not None
            else None
        )
        made = {
            name: histogram(name, "{token}", "Tokens of a call.", TOKEN_BOUNDS) for name, _ in names.histograms.values()
        }
        self._tokens = [(field, made[name], kind) for field, (name, kind) in names.histograms.items()]
        self._limit_wait = histogram("aiq.limit.wait", "s", "Waited for rate limits.", seconds)
        counters = [
            *((name, "{token}", "Tokens as billed.") for name in names.counters.values()),
            ("aiq.queue.wait", "s", "Waited for places in flight, added up."),
            ("aiq.cost", "{USD}", "US dollars, of calls with a known price."),
            ("aiq.requests", "{request}", "Requests that have ended."),
            ("aiq.retries", "{attempt}", "Attempts that were not the last of their request."),
            ("aiq.fallbacks", "{attempt}", "Attempts at another served entity."),
            ("aiq.limit.refused", "{request}", "Requests that a rate limit refused."),
            ("aiq.guardrail.actions", "{request}", "Requests on which guardrails acted."),
            ("aiq.cache.hits", "{request}", "Requests of statements that kept answers served."),
        ]
        for name, unit, words in counters:
            meter.create_observable_counter(name, [self._reader(name)], unit=unit, description=words)
        for name, read, unit, words in (
            ("aiq.waiting", self._read_waiting, "{request}", "Wait for a rate limit."),
            ("aiq.in_flight", self._read_in_flight, "{attempt}", "Are at a served entity."),
            ("aiq.entity.state", self._read_health, "1", "0 asked as usual, 1 a probe is due, 2 ejected."),
        ):
            meter.create_observable_gauge(name, [read], unit=unit, description=words)

    def of_gateway(self, gateway: Gateway, called: Callable[[Outcome], Called]) -> Callable[[Outcome], None]:
        """What counts the outcomes of one gateway of the process. `called`: what an outcome's call went to."""
        self._gateways.add(gateway)
        return lambda outcome: self._count(outcome, called)

    def _count(self, outcome: Outcome, called_of: Callable[[Outcome], Called]) -> None:
        """One outcome, of an attempt or of a request that was never sent."""
        endpoint = outcome.endpoint
        with self._lock:
            if outcome.final:
                self._sums["aiq.requests"][endpoint, outcome.status, outcome.error_class] += 1
                if outcome.status == "refused" and outcome.limited_by:
                    self._sums["aiq.limit.refused"][endpoint, outcome.limited_by] += 1
                if outcome.guards:
                    for guard in outcome.guards.split(","):
                        self._sums["aiq.guardrail.actions"][endpoint, guard, outcome.status] += 1
            else:
                self._sums["aiq.retries"][endpoint,] += 1
            if outcome.served_entity_name is not None:
                called = (
                    endpoint,
                    outcome.served_entity_name,
                    outcome.provider,
                    outcome.task,
                    outcome.error_class,
                    called_of(outcome),
                )
                attributes = self._of_call(called, outcome)
                if outcome.fallback_from:
                    moved = (endpoint, outcome.fallback_from, outcome.served_entity_name, outcome.fallback_reason)
                    self._sums["aiq.fallbacks"][moved] += 1
                if outcome.queue_ms:
                    self._sums["aiq.queue.wait"][endpoint,] += outcome.queue_ms / 1000
                if outcome.cost_usd:
                    self._sums["aiq.cost"][called] += outcome.cost_usd
                for field, name in self._names.counters.items():
                    if tokens := getattr(outcome, field):
                        self._sums[name][called] += tokens
        if outcome.final and outcome.limit_wait_ms:
            waited = self._attributes.setdefault((endpoint,), {"aiq.endpoint": endpoint})
            self._limit_wait.record(outcome.limit_wait_ms / 1000, waited)
        if outcome.served_entity_name is None:
            return
        if outcome.latency_ms is not None:
            self._duration.record(outcome.latency_ms / 1000, attributes)
        if self._first is not None and outcome.time_to_first_token_ms is not None:
            self._first.record(outcome.time_to_first_token_ms / 1000, attributes)
        for field, instrument, kind in self._tokens:
            if (tokens := getattr(outcome, field)) is not None:
                instrument.record(tokens, attributes if kind is None else self._of_type(called, kind))

    def reused(self, count: int) -> None:
        """Requests of a statement that kept answers served."""
        if count:
            with self._lock:
                self._sums["aiq.cache.hits"][()] += count

    def _of_call(self, key: _Key, outcome: Outcome) -> Attributes:
        found = self._attributes.get(key)
        if found is None:
            provider = outcome.provider or ""
            found = {
                "aiq.endpoint": outcome.endpoint,
                "aiq.entity": outcome.served_entity_name or "",
                "gen_ai.operation.name": OPERATIONS.get(outcome.task, "chat"),
                self._names.provider: PROVIDERS.get(provider, provider),
                **key[-1].attributes(),
            }
            if outcome.error_class is not None:
                found["error.type"] = outcome.error_class
            self._attributes[key] = found
        return found

    def _of_type(self, key: _Key, kind: str) -> Attributes:
        """The attributes of a call and a type of token."""
        found = self._attributes.get((*key, kind))
        if found is None:
            found = self._attributes[(*key, kind)] = {**self._attributes[key], "gen_ai.token.type": kind}
        return found

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Reads one counter for an exporter."""
        from opentelemetry.metrics import Observation

        labels = _LABELS.get(name)

        def read(options: CallbackOptions) -> Iterable[Observation]:
            with self._lock:
                sums = list(self._sums[name].items())
                of_calls = {} if labels is not None else dict(self._attributes)
            for key, value in sums:
                if labels is None:
                    yield Observation(value, of_calls[key])
                else:
                    yield Observation(
                        value, {label: each for label, each in zip(labels, key, strict=True) if each is not None}
                    )

        return read

    def _read_waiting(self, options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation

        yield Observation(sum(gateway.waiting_for_limits for gateway in list(self._gateways)))

    def _read_in_flight(self, options: CallbackOptions) -> Iterable[Observation]:
        return self._read_entities(lambda state: state.in_flight, sum)

    def _read_health(self, options: CallbackOptions) -> Iterable[Observation]:
        return self._read_entities(lambda state: state.health, max)

    def _read_entities(
        self, value: Callable[[EntityState], int], joined: Callable[[Iterable[int]], int]
    ) -> Iterable[Observation]:
        """A value of each served entity; where several gateways have it, their values joined."""
        from opentelemetry.metrics import Observation

        found: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for gateway in list(self._gateways):
            for state in gateway.entity_states():
                found[state.endpoint, state.entity].append(value(state))
        for (endpoint, entity), values in found.items():
            yield Observation(joined(values), {"aiq.endpoint": endpoint, "aiq.entity": entity})
