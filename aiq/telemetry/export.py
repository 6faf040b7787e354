"""Exports spans and metrics where OpenTelemetry's standard variables ask for it, or where the program has its own SDK.

Nothing of OpenTelemetry is imported otherwise, and nothing is observed. Extra `otel`; OTLP over HTTP.
"""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiq import __version__
from aiq.errors import ConfigError
from aiq.gateway import Gateway
from aiq.ledger.records import Outcome, StatementRow
from aiq.telemetry.metrics import OutcomeMetrics
from aiq.telemetry.names import Called, generation
from aiq.telemetry.spans import OutcomeSpans

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from aiq.telemetry.histograms import AddedUp

_KINDS = ("otlp", "console", "none")
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_exported: weakref.WeakSet[Gateway] = weakref.WeakSet()
_providers: list[tuple[TracerProvider | None, MeterProvider | None, list[AddedUp] | None]] = []
"""Those of this process, made once."""
_metrics: weakref.WeakKeyDictionary[MeterProvider, OutcomeMetrics] = weakref.WeakKeyDictionary()
"""An instrument is there once, however many gateways a process has."""


def export(gateway: Gateway, environ: Mapping[str, str] = os.environ) -> None:
    """Exports what a gateway does from now on, if that is asked for; once for each gateway.

    Raises ConfigError for a variable that asks for what there is not.
    """
    if gateway in _exported or not _is_asked(environ):
        return
    try:
        providers = _providers[0] if _providers else _made(environ)
    except ImportError as error:
        _exported.add(gateway)  # it is said once
        warnings.warn(
            f"OpenTelemetry is asked for by its variables, and {error.name or error} is not installed, so nothing is "
            "exported: pip install 'aiq[otel]'",
            stacklevel=2,
        )
        return
    if providers[:2] == (None, None):  # the program may set up its own, later
        return
    _exported.add(gateway)
    _providers[:] = [providers]
    observe(gateway, *providers, environ=environ)


def observe(
    gateway: Gateway,
    tracers: TracerProvider | None,
    meters: MeterProvider | None,
    histograms: list[AddedUp] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Tells these providers what a gateway does from now on. `histograms`: see OutcomeMetrics."""
    names = generation(environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", ""))

    def called(outcome: Outcome) -> Called:
        found = gateway.called(outcome.endpoint, outcome.served_entity_name or "")
        if found is None:
            return Called(outcome.model or "")
        return _called(found[0] or outcome.model or "", found[1])

    if tracers is not None:
        asked = environ.get(_CONTENT, "").strip().lower() in ("true", "span_only", "span_and_event")
        spans = OutcomeSpans(tracers, names, __version__, called, content=asked)
        gateway.statements.observers.append(spans)
        gateway.observe(spans.count)
    if meters is not None:
        metrics = _metrics.get(meters)
        if metrics is None:
            metrics = _metrics[meters] = OutcomeMetrics(meters, names, __version__, histograms)
        gateway.statements.observers.append(_Reused(metrics))
        gateway.observe(metrics.of_gateway(gateway, called))


@lru_cache(1024)
def _called(model: str, url: str) -> Called:
    """What a call to a URL went to."""
    try:
        parts = urlsplit(url)
        return Called(model, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme))
    except ValueError:  # no URL; the call has failed for that
        return Called(model)


@contextmanager
def incoming(traceparent: str | None, tracestate: str | None) -> Iterator[None]:
    """While inside, a request over REST stands under its caller's span, which these headers name (W3C trace context).

    Does nothing where spans are not exported.
    """
    if traceparent is None or not _exported:
        yield
        return
    from opentelemetry import context, propagate

    headers = {"traceparent": traceparent, "tracestate": tracestate or ""}
    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


class _Reused:
    """Counts what statements reused, which leaves no outcome of its own here."""

    def __init__(self, metrics: OutcomeMetrics) -> None:
        self._metrics = metrics

    def began(self, row: StatementRow) -> None:
        """Nothing is known yet."""

    def ended(self, row: StatementRow) -> None:
        """Its sums are known."""
        self._metrics.reused(row.reused or 0)


def _is_asked(environ: Mapping[str, str]) -> bool:
    """Whether a variable names an exporter or where to export to, or the program has set up the SDK itself."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    asked = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    exporters = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER")
    return (
        any(environ.get(name) for name in asked)
        or any(environ.get(name, "none") != "none" for name in exporters)
        or "opentelemetry.sdk" in sys.modules
    )


def _made(
    environ: Mapping[str, str],
) -> tuple[TracerProvider | None, MeterProvider | None, list[AddedUp] | None]:
    """The providers of the program where it has some, else those that the variables ask for. Raises ImportError."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    own_tracers, own_meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    tracers: Any = own_tracers if isinstance(own_tracers, TracerProvider) else None
    meters: Any = own_meters if isinstance(own_meters, MeterProvider) else None
    spans_to, metrics_to = _kind("TRACES", environ), _kind("METRICS", environ)
    if tracers is None and spans_to != "none":
        tracers = TracerProvider()
        tracers.add_span_processor(
            BatchSpanProcessor(ConsoleSpanExporter() if spans_to == "console" else _otlp_spans())
        )
    if meters is None and metrics_to != "none":
        exporter = ConsoleMetricExporter() if metrics_to == "console" else _otlp_metrics()
        from aiq.telemetry.histograms import JoinedExporter

        histograms: list[AddedUp] = []
        meters = MeterProvider([PeriodicExportingMetricReader(JoinedExporter(exporter, "aiq", histograms))])
        return tracers, meters, histograms
    return tracers, meters, None


def _kind(signal: str, environ: Mapping[str, str]) -> str:
    """What a signal is exported by. Raises ConfigError."""
    variable = f"OTEL_{signal}_EXPORTER"
    places = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    kind = environ.get(variable, "").strip().lower() or ("otlp" if any(map(environ.get, places)) else "none")
    if kind not in _KINDS:
        raise ConfigError(f"{variable} is {kind}; aiq exports by {', '.join(_KINDS)}")
    protocol = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if kind == "otlp" and protocol not in (None, "", "http/protobuf"):
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}; aiq exports by http/protobuf, usually to port 4318"
        )
    return kind


def _otlp_spans() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _otlp_metrics() -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter()
