"""Export of traces and metrics with OTLP, by the SDK of OpenTelemetry. Imported only if the export is switched on."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from common.telemetry.metrics import Distribution, Family, LabelValues, Snapshot, Value, families, snapshot
from common.telemetry.tracing import CLIENT, INTERNAL, SERVER, Span, recorded, sampler_of

_SCOPE = "dicomstore"
_REQUESTS = "requests"
_KINDS = {SERVER: SpanKind.SERVER, CLIENT: SpanKind.CLIENT, INTERNAL: SpanKind.INTERNAL}
_FLUSH_MILLISECONDS = 5000
_INTERVAL_MILLISECONDS = 60_000

OfArchive = Callable[[], Awaitable[Snapshot]]
"""Returns figures of the whole archive."""


async def nothing() -> Snapshot:
    """Return no figures."""
    return {}


@asynccontextmanager
async def exporting(
    process: str, version: str, *, traces: bool, metrics: bool, of_archive: OfArchive = nothing
) -> AsyncIterator[None]:
    """Export traces and metrics of this process until the context is left.

    Args:
        process: its name, see `common.telemetry.neighbours`.
        of_archive: figures that are exported with the metrics of this process.

    Raises:
        ValueError: a variable has a value that is not supported.
    """
    resource = _resource(process, version)
    tasks: list[asyncio.Task[None]] = []
    processor = BatchSpanProcessor(_span_exporter()) if traces else None
    exporter = _metric_exporter() if metrics else None
    if exporter is not None:
        tasks.append(asyncio.create_task(_export_metrics(exporter, resource, version, of_archive)))
    try:
        if processor is None:
            yield
        else:
            scope = InstrumentationScope(_SCOPE, version)
            with recorded(lambda span: processor.on_end(readable(span, resource, scope)), sampler_of()):
                yield
    finally:
        for task in tasks:
            task.cancel()
        if processor is not None:
            await asyncio.to_thread(_end_traces, processor)
        if exporter is not None:
            await asyncio.to_thread(_end_metrics, exporter, resource, version)


def _resource(process: str, version: str) -> Resource:
    own = {"service.name": _SCOPE, "service.version": version, "service.instance.id": process}
    return Resource({**own, **OTELResourceDetector().detect().attributes})  # variables take precedence


def _protocol(signal: str) -> str:
    """Return the protocol of a signal, `TRACES` or `METRICS`."""
    name = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    name = name or "grpc"
    if name not in ("grpc", "http/protobuf"):
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL {name} is not supported: use grpc or http/protobuf")
    return name


def _span_exporter() -> SpanExporter:
    if _protocol("TRACES") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    _permit_requests()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter()


def _metric_exporter() -> MetricExporter:
    if _protocol("METRICS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter()
    _permit_requests()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

    return HttpExporter()


def _permit_requests() -> None:
    """Let the exporters import `requests`, which the programs exclude for other libraries."""
    modules: dict[str, Any] = sys.modules
    if modules.get(_REQUESTS, ...) is None:
        del modules[_REQUESTS]


def _end_traces(processor: BatchSpanProcessor) -> None:
    processor.force_flush(_FLUSH_MILLISECONDS)
    processor.shutdown()  # type: ignore[no-untyped-call]


def _end_metrics(exporter: MetricExporter, resource: Resource, version: str) -> None:
    exporter.export(_metrics_data(snapshot(), resource, version), _FLUSH_MILLISECONDS)
    exporter.shutdown(_FLUSH_MILLISECONDS)


def readable(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    """Return a span in the form of the SDK."""
    trace_id = int(span.trace_id, 16)
    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = None
    if span.parent_id:
        parent = SpanContext(trace_id, int(span.parent_id, 16), span.is_remote, flags)
    attributes = {**span.attributes, "error.type": span.fault} if span.fault else span.attributes
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=flags),
        parent=parent,
        resource=resource,
        attributes=attributes,
        links=list(map(_link, span.links)),
        kind=_KINDS[span.kind],
        instrumentation_scope=scope,
        status=Status(StatusCode.ERROR) if span.fault else Status(),
        start_time=span.started_ns,
        end_time=span.ended_ns,
    )


def _link(traceparent: str) -> Link:
    _, trace_id, span_id, _ = traceparent.split("-")
    flags = TraceFlags(TraceFlags.SAMPLED)
    return Link(SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=flags))


async def _export_metrics(exporter: MetricExporter, resource: Resource, version: str, of_archive: OfArchive) -> None:
    seconds = int(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or _INTERVAL_MILLISECONDS) / 1000
    while True:
        await asyncio.sleep(seconds)
        data = _metrics_data({**snapshot(), **await of_archive()}, resource, version)
        with suppress(OSError):
            await asyncio.to_thread(exporter.export, data)


_STARTED_NS = time.time_ns()


def _metrics_data(taken: Snapshot, resource: Resource, version: str) -> MetricsData:
    now = time.time_ns()
    metrics = [_metric(family, values, now) for family in families() if (values := taken.get(family.name))]
    scope = ScopeMetrics(InstrumentationScope(_SCOPE, version), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, values: Sequence[tuple[LabelValues, Value]], now: int) -> Metric:
    # Prometheus appends "_total" to the names of counters itself.
    name = family.name.removesuffix("_total")
    unit = "s" if name.endswith("_seconds") else "By" if name.endswith("_bytes") else ""
    points = [(dict(zip(family.labels, labels, strict=True)), value) for labels, value in values]
    data: Any
    if family.kind == "histogram":
        data = Histogram(list(_histogram_points(family, points, now)), AggregationTemporality.CUMULATIVE)
    else:
        numbers = [
            NumberDataPoint(labels, _STARTED_NS, now, value)
            for labels, value in points
            if not isinstance(value, Distribution)
        ]
        is_counter = family.kind == "counter"
        data = Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True) if is_counter else Gauge(numbers)
    return Metric(name, family.text, unit, data)


def _histogram_points(
    family: Family, points: Iterable[tuple[Mapping[str, str], Value]], now: int
) -> Iterable[HistogramDataPoint]:
    for labels, value in points:
        if isinstance(value, Distribution):
            yield HistogramDataPoint(
                attributes=labels,
                start_time_unix_nano=_STARTED_NS,
                time_unix_nano=now,
                count=sum(value.counts),
                sum=value.total,
                bucket_counts=value.counts,
                explicit_bounds=family.bounds,
                min=0,
                max=0,
            )
