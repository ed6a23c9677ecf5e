"""`python -m bench.telemetry`: CPU time for each request with metrics and traces, compared with the same without.

One node runs, which counts and traces requests or not, as `telemetry_node` says; otherwise as `bench.parts.audit`. The
traces are sampled as by default, and sent to a receiver in this process.

`python -m bench.telemetry --steps` measures single steps in this process.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Any

import grpc
import typer
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from bench.parts.audit import compare
from common.telemetry.catalogue import HTTP_REQUESTS, HTTP_SECONDS, INDEX_SECONDS, RPC_CALLS, RPC_SECONDS
from common.telemetry.metrics import as_json, snapshot
from common.telemetry.otlp import readable
from common.telemetry.tracing import is_within, part, received, recorded, sampler_of

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
    with received("HTTP", "", {}) as span:
        call: AbstractContextManager[object] = nullcontext()
        if not is_within(span.traceparent):
            call = received("SearchService/Search", span.traceparent, {})
        with call, part("index search", {}):
            pass
        with part("index read", {}):
            pass


def steps() -> None:
    """Print the CPU time of single steps."""
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
    typer.echo("| | µs |\n|---|--:|")
    for name, value in rows.items():
        typer.echo(f"| {name} | {value:.2f} |")


class _Receiver(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic for type checkers only
    """Accepts everything that is exported."""

    def service(self, handler_call_details: Any) -> Any:
        """Return a handler that answers with an empty message."""
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


@contextmanager
def _receiving() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Receiver()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads; all by default.")] = None,
    seconds: Annotated[float, typer.Option(help="Duration of each measurement in seconds.")] = 0.2,
    rounds: Annotated[int, typer.Option(min=2, help="Number of pairs.")] = 30,
    scale: Annotated[float, typer.Option(help="Size of the data; 1 is 7,005 instances.")] = 0.05,
    only_steps: Annotated[bool, typer.Option("--steps", help="Measure single steps.")] = False,
) -> None:
    """Print a line for each workload."""
    if only_steps:
        steps()
        return
    with _receiving() as endpoint:
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_INSECURE": "true"}
        compare("bench.telemetry_node", names, seconds, rounds, scale, exporting)


if __name__ == "__main__":
    typer.run(main)
