"""CPU time of counting requests and calls, and of spans: `python -m bench.parts.telemetry`."""

import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from common.telemetry.catalogue import HTTP_REQUESTS, HTTP_SECONDS, INDEX_SECONDS, RPC_CALLS, RPC_SECONDS
from common.telemetry.metrics import as_json, snapshot
from common.telemetry.otlp import readable
from common.telemetry.tracing import part, received, recorded, sampler_of

_PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def cpu_us(work: Callable[[], object], count: int = 100_000) -> float:
    """Return the CPU time of one call in microseconds."""
    work()
    started = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - started) / count * 1e6


def request() -> None:
    """Count a request, its call, and two transactions."""
    HTTP_REQUESTS.of("/{version}/studies", "GET", "200").value += 1
    HTTP_SECONDS.of("/{version}/studies", "GET").observe(0.002)
    RPC_CALLS.of("SearchService/Search", "OK").value += 1
    RPC_SECONDS.of("SearchService/Search").observe(0.002)
    INDEX_SECONDS.of("search").observe(0.001)
    INDEX_SECONDS.of("read").observe(0.001)


def traced() -> None:
    """Trace a request, its call, and two transactions, as far as its trace is recorded."""
    with received("HTTP", "", {}) as span, received("SearchService/Search", span.traceparent, {}):
        with part("index search", {}):
            pass
        with part("index read", {}):
            pass


def main() -> None:
    """Print the table."""
    rows = {"metrics of a request": cpu_us(request), "traces are off": cpu_us(lambda: part("index read", {}))}
    for name, sampler in (("not sampled", "always_off"), ("sampled, without export", "always_on")):
        with recorded(lambda _: None, sampler_of({"OTEL_TRACES_SAMPLER": sampler})):
            rows[f"spans of a request, {name}"] = cpu_us(traced, 20_000)
    spans: list[ReadableSpan] = []
    with recorded(
        lambda span: spans.append(readable(span, Resource({}), InstrumentationScope("bench"))),
        sampler_of({"OTEL_TRACES_SAMPLER": "always_on"}),
    ):
        traced()
    rows["spans of a request, encoded for the export"] = cpu_us(lambda: encode_spans(spans).SerializeToString(), 2_000)
    rows["a snapshot of the process"] = cpu_us(lambda: as_json(snapshot()), 1000)
    print("| | µs |\n|---|--:|")
    for name, value in rows.items():
        print(f"| {name} | {value:.2f} |")


if __name__ == "__main__":
    main()
