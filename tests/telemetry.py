"""A receiver of traces and metrics for tests, as an OpenTelemetry collector: OTLP over gRPC and over HTTP."""

import gzip
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
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
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
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

    def add_traces(self, request: Any) -> None:
        """Add an ExportTraceServiceRequest."""
        spans = [
            (_process(one.resource), span)
            for one in request.resource_spans
            for scope in one.scope_spans
            for span in scope.spans
        ]
        self._add(request, spans, self.spans)

    def add_metrics(self, request: Any) -> None:
        """Add an ExportMetricsServiceRequest."""
        metrics = [
            (_process(one.resource), metric)
            for one in request.resource_metrics
            for scope in one.scope_metrics
            for metric in scope.metrics
        ]
        self._add(request, metrics, self.metrics)

    def _add(self, request: Any, found: list[Any], into: list[Any]) -> None:
        with self._arrived:
            self.texts.append(str(request))
            into += found
            self._arrived.notify_all()


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        self._collector.add_traces(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        self._collector.add_metrics(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _HttpServer(ThreadingHTTPServer):
    def __init__(self, collector: Collector) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.collector = collector


class _Handler(BaseHTTPRequestHandler):
    """OTLP/HTTP: protobuf in POST requests, one path for each signal."""

    server: _HttpServer

    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/x-protobuf"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            self.server.collector.add_traces(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        else:
            assert self.path == "/v1/metrics"
            self.server.collector.add_metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


def _process(resource: Any) -> str:
    attributes = {attribute.key: attribute.value.string_value for attribute in resource.attributes}
    assert attributes["service.name"] == "dicomstore"
    return attributes["service.instance.id"]


def promtool() -> str | None:
    """Return the path of Prometheus' tool, which `make clients` installs, if there is one."""
    return shutil.which("promtool", path=f"{_ROOT / '.clients/bin'}{os.pathsep}{os.environ.get('PATH', '')}")


GRPC, HTTP = "grpc", "http/protobuf"
"""Protocols of OTLP."""


@contextmanager
def collecting(protocol: str = GRPC) -> Iterator[Collector]:
    """Receive until the context is left."""
    collector = Collector(protocol)
    with _served_by_http(collector) if protocol == HTTP else _served_by_grpc(collector):
        yield collector


@contextmanager
def _served_by_grpc(collector: Collector) -> Iterator[None]:
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(collector), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(collector), server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


@contextmanager
def _served_by_http(collector: Collector) -> Iterator[None]:
    with _HttpServer(collector) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
