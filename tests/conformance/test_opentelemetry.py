"""Spans and metrics for OpenTelemetry, read back from the SDK's in-memory exporters and by a receiver of OTLP."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode

import aiq
from aiq.engines.duckdb.session import DuckDBSession
from aiq.errors import ConfigError
from aiq.runtime import open_gateway
from aiq.serve import App
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate
from aiq.telemetry import export
from aiq.telemetry.histograms import AddedUp, JoinedExporter
from tests.conftest import ConfFolder
from tests.prepared import prepared
from tests.processes import PATIENCE_S, answering

LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only"}


class Seen:
    """What a session has exported."""

    def __init__(self, session: DuckDBSession, environ: dict[str, str], sampler: Sampler | None = None) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(sampler=sampler)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        export.observe(session.gateway, self.tracers, self.meters, environ=environ)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    def metrics(self) -> dict[str, list[Any]]:
        return points_of(self.reader.get_metrics_data())


def points_of(data: MetricsData | None) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert metric.name not in found
                found[metric.name] = list(metric.data.data_points)
    return found


@pytest.fixture
def session(conf: ConfFolder, home: Path) -> Iterator[DuckDBSession]:
    with aiq.connect(conf=conf.path, home=home, user="ann@example.com") as session:
        session.sql("CREATE TABLE t AS SELECT i AS id, 'text ' || i AS p FROM range(3) AS r(i)")
        yield session


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_calls_stand_under_requests_and_these_under_their_statement(
    session: DuckDBSession, simulator: SimulatorProcess
) -> None:
    seen = Seen(session, {})
    with seen.tracers.get_tracer("app").start_as_current_span("nightly job") as job:
        rows = session.sql("SELECT ai_query('chat', p, modelParameters => named_struct('temperature', 0.5)) FROM t")
    assert rows is not None
    (statement,) = seen.spans("aiq.statement")
    assert statement.parent is not None and statement.parent.span_id == job.get_span_context().span_id
    requests, calls = seen.spans("aiq.request chat"), seen.spans("chat gpt-4o-mini")
    assert (len(requests), len(calls)) == (3, 3)
    assert {span.parent.span_id for span in requests if span.parent} == {statement.context.span_id}
    assert sorted(span.parent.span_id for span in calls if span.parent) == sorted(s.context.span_id for s in requests)
    assert {span.kind for span in calls} == {SpanKind.CLIENT}
    for span in calls:
        assert statement.start_time <= span.start_time <= span.end_time
        said = attributes(span)
        assert said["gen_ai.operation.name"] == "chat" and said["gen_ai.system"] == "openai"
        assert said["gen_ai.request.model"] == "gpt-4o-mini" and said["gen_ai.response.finish_reasons"] == ("stop",)
        assert said["gen_ai.request.temperature"] == 0.5
        assert said["gen_ai.usage.input_tokens"] > 0 and said["aiq.attempt"] == 1
        assert not any("message" in name for name in said)
        assert f"http://{said['server.address']}:{said['server.port']}" == simulator.url
    assert attributes(statement)["aiq.requests"] == 3 and attributes(statement)["aiq.tokens"] == rows.receipt.tokens
    everything = repr([attributes(span) for span in seen.exporter.get_finished_spans()])
    assert "text 1" not in everything and "ann@" not in everything


def test_every_attempt_is_a_call_and_what_fails_says_its_class(
    session: DuckDBSession, simulator: SimulatorProcess
) -> None:
    simulator.set_faults(FaultRate("503", 1.0, until=2))
    seen = Seen(session, LATEST)
    session.sql("SELECT ai_query('chat', p) FROM t WHERE id = 0")
    calls = seen.spans("chat ")
    assert [span.status.status_code for span in calls] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert len({span.parent.span_id for span in calls if span.parent}) == 1
    first = attributes(calls[0])
    assert first["error.type"] == "overloaded" and first["http.response.status_code"] == 503
    assert first["gen_ai.provider.name"] == "openai" and "gen_ai.system" not in first
    assert calls[0].status.description is None  # a provider's words may repeat what it was sent
    assert [attributes(span)["aiq.attempt"] for span in calls] == [1, 2, 3]


def test_a_statement_that_fails_is_an_error(session: DuckDBSession, simulator: SimulatorProcess) -> None:
    simulator.set_faults(FaultRate("content-filter", 1.0))
    seen = Seen(session, CONTENT)
    with pytest.raises(aiq.RequestFailed):
        session.sql("SELECT ai_query('chat', p) FROM t WHERE id = 0")
    (statement,) = seen.spans("aiq.statement")
    assert statement.status.status_code is StatusCode.ERROR and statement.status.description


def test_what_is_not_sampled_has_no_span_and_is_counted(session: DuckDBSession) -> None:
    seen = Seen(session, {}, ALWAYS_OFF)
    session.sql("SELECT ai_query('chat', p) FROM t")
    assert seen.exporter.get_finished_spans() == ()
    assert sum(point.value for point in seen.metrics()["aiq.requests"]) == 3


SUMS = """SELECT COUNT(*) FILTER (final), SUM(input_tokens), SUM(output_tokens), SUM(cost_usd), COUNT(latency_ms),
  SUM(latency_ms) / 1000, COUNT(*) FILTER (NOT final) FROM system.aiq.calls WHERE NOT cache_hit"""


@pytest.mark.parametrize("environ", [{}, LATEST], ids=["older", "latest"])
def test_metrics_are_the_sums_of_the_table(
    session: DuckDBSession, simulator: SimulatorProcess, environ: dict[str, str]
) -> None:
    simulator.set_faults(FaultRate("503", 1.0, until=2))
    seen = Seen(session, environ)
    for _ in range(2):
        session.sql("SET aiq_reuse = 'session'; SELECT ai_query('chat', p) FROM t")
    found = session.sql(SUMS)
    assert found is not None
    requests, tokens_in, tokens_out, usd, calls, seconds, retries = found.fetchall()[0]
    metrics = seen.metrics()

    def total(name: str, **wanted: str) -> float:
        points = [p for p in metrics[name] if all(p.attributes[n.replace("_", ".")] == v for n, v in wanted.items())]
        return sum(getattr(point, "value", None) or point.sum for point in points)

    assert total("aiq.requests") == requests == 3
    assert total("aiq.retries") == retries == 2
    assert total("aiq.cost") == pytest.approx(usd)
    assert total("aiq.cache.hits") == 3
    duration = "gen_ai.client.inference.duration" if environ else "gen_ai.client.operation.duration"
    assert sum(point.count for point in metrics[duration]) == calls
    assert total(duration) == pytest.approx(seconds)
    if environ:
        assert total("gen_ai.client.inference.usage.input_tokens") == tokens_in
        assert total("gen_ai.client.inference.operation.output_tokens") == tokens_out
        assert "gen_ai.client.token.usage" not in metrics
    else:
        kinds = Counter[str]()
        for point in metrics["gen_ai.client.token.usage"]:
            kinds[point.attributes["gen_ai.token.type"]] += point.sum
        assert kinds == {"input": tokens_in, "output": tokens_out}
    names = {name for points in metrics.values() for point in points for name in point.attributes}
    assert names <= {
        "aiq.endpoint", "aiq.entity", "aiq.status", "error.type", "gen_ai.operation.name", "gen_ai.request.model",
        "gen_ai.system", "gen_ai.provider.name", "gen_ai.token.type", "server.address", "server.port",
    }  # fmt: skip


def test_gauges_say_what_is_at_an_entity_and_whether_it_is_ejected(
    session: DuckDBSession, simulator: SimulatorProcess
) -> None:
    seen = Seen(session, {})

    def at(name: str) -> dict[str, float]:
        return {point.attributes["aiq.endpoint"]: point.value for point in seen.metrics().get(name, ())}

    assert at("aiq.in_flight") == at("aiq.entity.state") == {}  # nothing has been asked yet
    simulator.set_faults(FaultRate("timeout", 1.0))
    running = threading.Thread(target=lambda: (answering(simulator, 0, 3), session.interrupt()))
    during: list[float] = []
    session.gateway.observe(lambda outcome: during.append(at("aiq.in_flight")["chat"]))
    running.start()
    with pytest.raises(aiq.AiqError):
        session.sql("SELECT ai_query('chat', p) FROM t")
    running.join()
    assert max(during) > 0 and at("aiq.in_flight") == {"chat": 0} and at("aiq.entity.state") == {"chat": 0}
    simulator.set_faults(FaultRate("401", 1.0))
    with pytest.raises(aiq.RequestFailed):
        session.sql("SELECT ai_query('chat', 'x')")
    assert at("aiq.entity.state") == {"chat": 2}


@pytest.mark.parametrize("environ", [{}, CONTENT], ids=["not asked", "asked"])
def test_texts_are_there_when_asked_for_and_as_guardrails_leave_them(
    conf: ConfFolder, home: Path, environ: dict[str, str]
) -> None:
    table = {"enabled": True, "catalog_name": "main", "schema_name": "ai"}
    guards = {"input": {"pii": {"behavior": "MASK"}}}
    conf.endpoint("chat", gateway={"inference_table_config": table, "guardrails": guards})
    with aiq.connect(conf=conf.path, home=home) as session:
        seen = Seen(session, environ)
        session.sql("SELECT ai_query('chat', 'Write to ada@example.com')")
        (request,) = seen.spans("aiq.request")
    said = attributes(request)
    assert "ada@" not in repr(said) and said["aiq.guards"] == ("input:pii:EMAIL_ADDRESS",)
    assert ("gen_ai.input.messages" in said) is bool(environ)
    if environ:
        assert "Write to" in said["gen_ai.input.messages"] and "choices" in said["gen_ai.output.messages"]


def test_two_gateways_share_their_instruments(conf: ConfFolder, tmp_path: Path, session: DuckDBSession) -> None:
    seen = Seen(session, {})
    with aiq.connect(conf=conf.path, home=tmp_path / "other") as other:
        export.observe(other.gateway, None, seen.meters, environ={})
        for each in (session, other):
            each.sql("SELECT ai_query('chat', 'x')")
        assert sum(point.value for point in seen.metrics()["aiq.requests"]) == 2
        other.gateway.ledger.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_over_rest_stands_under_its_callers_span(
    conf: ConfFolder, home: Path, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = open_gateway(conf.path, home)
    monkeypatch.setattr(export, "_exported", {gateway})
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    export.observe(gateway, tracers, None, environ={})
    app = App(gateway)
    headers = {
        "authorization": f"Bearer {app.tokens.create('ann@example.com')}",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    body = {"messages": [{"role": "user", "content": "x"}], "stream": stream}

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://aiq") as client:
            return await client.post("/serving-endpoints/chat/invocations", json=body, headers=headers)

    assert asyncio.run(ask()).status_code == 200
    (request,) = [span for span in exporter.get_finished_spans() if span.name == "aiq.request chat"]
    assert request.parent is not None and f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"


class Kept(MetricExporter):
    """Keeps what it is to export."""

    def __init__(self, temporality: AggregationTemporality) -> None:
        from opentelemetry.sdk.metrics import Histogram

        super().__init__({Histogram: temporality})
        self.got: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **kwargs: Any) -> MetricExportResult:
        self.got.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **kwargs: Any) -> None:
        pass


@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
def test_histograms_of_ours_are_those_of_the_sdk(temporality: AggregationTemporality) -> None:
    """The same values into both, exported together, twice."""
    bounds, kept = (0.1, 1.0, 10.0), Kept(temporality)
    histograms: list[AddedUp] = []
    meters = MeterProvider([PeriodicExportingMetricReader(JoinedExporter(kept, "aiq", histograms), 1e9)])
    theirs = meters.get_meter("aiq").create_histogram("theirs", explicit_bucket_boundaries_advisory=list(bounds))
    ours = AddedUp("ours", "", "", bounds)
    histograms.append(ours)
    labels = [{"a": "1"}, {"a": "2"}]
    for turn in range(2):
        for number, value in enumerate([0.0, 0.1, 0.10001, 1.0, 9.9, 10.0, 11.0, 1e9]):
            for histogram in (ours, theirs):
                histogram.record(value + turn, labels[number % 2])
        meters.force_flush()
        found = points_of(kept.got[-1])
        assert shapes(found["ours"]) == shapes(found["theirs"])
    meters.shutdown()


def shapes(points: list[Any]) -> list[tuple[Any, ...]]:
    return sorted(
        (p.attributes["a"], p.count, round(p.sum, 6), tuple(p.bucket_counts), tuple(p.explicit_bounds), p.min, p.max)
        for p in points
    )


def test_nothing_is_observed_or_imported_where_nobody_asks(session: DuckDBSession) -> None:
    export.export(session.gateway, {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"})
    assert session.gateway.statements.observers == []
    done = prepared().run(
        "-c",
        "import sys, aiq; aiq.connect().close(); print(*[n for n in sys.modules if n.startswith('opentelemetry')])",
    )
    assert done.stdout.strip() == "", done.stderr


@pytest.mark.parametrize(
    "environ",
    [{"OTEL_TRACES_EXPORTER": "jaeger"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}],
)
def test_what_there_is_not_is_refused_by_its_variable(
    session: DuckDBSession, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_providers", [])
    with pytest.raises(ConfigError, match="OTEL_"):
        export.export(session.gateway, environ)


class Receiver(ThreadingHTTPServer):
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Otlp)


class _Otlp(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        if self.path == "/v1/traces":
            self.server.spans.append(ExportTraceServiceRequest.FromString(data))
        else:
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(data))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_process_sends_otlp_where_the_variables_say(conf: ConfFolder, home: Path) -> None:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
        thread.start()
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}",
            "OTEL_SERVICE_NAME": "shop",
            **LATEST,
        }
        words = ["-m", "aiq.cli", "sql", "--conf", str(conf.path), "--home", str(home)]
        done = prepared().run(*words, "SELECT ai_query('chat', 'x') AS a", env=environ, timeout=PATIENCE_S)
        receiver.shutdown()
        thread.join()
    assert done.returncode == 0, done.stderr
    resources = [each for request in receiver.spans for each in request.resource_spans]
    said = {pair.key: pair.value.string_value for pair in resources[0].resource.attributes}
    assert said["service.name"] == "shop"
    names = [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert sorted(names) == ["aiq.request chat", "aiq.statement", "chat gpt-4o-mini"]
    scopes = [
        scope for request in receiver.metrics for each in request.resource_metrics for scope in each.scope_metrics
    ]
    metrics = {metric.name: metric for scope in scopes for metric in scope.metrics}
    assert metrics["gen_ai.client.inference.duration"].histogram.data_points[0].count == 1
    assert metrics["aiq.requests"].sum.data_points[0].as_double == 1
