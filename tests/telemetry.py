"""A receiver of traces and metrics for tests: the services of an OpenTelemetry collector (OTLP over gRPC)."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_ROOT = Path(__file__).parents[1]


class Collector:
    """What has been received.

    Attributes:
        spans: each with the name of its process, `service.instance.id`.
        metrics: the same.
        texts: all requests as text.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[tuple[str, Span]] = []
        self.metrics: list[tuple[str, Metric]] = []
        self.texts: list[str] = []
        self._arrived = threading.Condition()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which programs export all traces to this receiver, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }

    def wait_for(self, condition: Callable[["Collector"], Any], seconds: float = 30) -> Any:
        """Return the result of a condition as soon as it is true."""
        with self._arrived:
            result: Any = None

            def is_met() -> bool:
                nonlocal result
                result = condition(self)
                return bool(result)

            assert self._arrived.wait_for(is_met, seconds), sorted(
                {(at, span.name, span.trace_id.hex()) for at, span in self.spans}
            )
            return result

    def add(self, request: Any, found: list[Any], into: list[Any]) -> None:
        """Add a request."""
        with self._arrived:
            self.texts.append(str(request))
            into += found
            self._arrived.notify_all()


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        spans = [
            (_process(one.resource), span)
            for one in request.resource_spans
            for scope in one.scope_spans
            for span in scope.spans
        ]
        self._collector.add(request, spans, self._collector.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        metrics = [
            (_process(one.resource), metric)
            for one in request.resource_metrics
            for scope in one.scope_metrics
            for metric in scope.metrics
        ]
        self._collector.add(request, metrics, self._collector.metrics)
        return metrics_service_pb2.ExportMetricsServiceResponse()


def _process(resource: Any) -> str:
    attributes = {attribute.key: attribute.value.string_value for attribute in resource.attributes}
    assert attributes["service.name"] == "dicomstore"
    return attributes["service.instance.id"]


def promtool() -> str | None:
    """Return the path of Prometheus' tool, which `make clients` installs, if there is one."""
    return shutil.which("promtool", path=f"{_ROOT / '.clients/bin'}{os.pathsep}{os.environ.get('PATH', '')}")


@contextmanager
def collecting() -> Iterator[Collector]:
    """Receive until the context is left."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(collector), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(collector), server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()
