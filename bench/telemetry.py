"""`python -m bench.telemetry`: CPU time for each request with metrics and traces, compared with the same without.

One node runs, which counts and traces requests or not in turn, see `telemetry_node`. Each six windows, two of each
state, give one difference; printed are the medians of all, and their standard errors. The traces are sampled as by
default, and sent to a receiver in this process; what their export takes is measured in its thread.

`python -m bench.telemetry --steps` measures single steps in this process.
"""

import itertools
import json
import math
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import grpc
import typer
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from bench import web
from bench.archive import Archive, running_archive
from bench.sets import Sets, store
from bench.workloads import WORKLOADS
from common.telemetry.catalogue import INDEX_SECONDS
from common.telemetry.metrics import as_json, snapshot
from common.telemetry.otlp import readable
from common.telemetry.tracing import (
    arrived,
    current_span,
    ended,
    is_not_recorded,
    part,
    received,
    recorded,
    sampler_of,
)
from facade.serving import observe
from server.rpc.interceptors import access_log

_WARM_SECONDS = 2
_INDEX_SECONDS = INDEX_SECONDS.of("read")
_STATES = ("nothing", "metrics", "both")


def cpu_us(work: Callable[[], object], count: int = 100_000) -> float:
    """Return the CPU time of one call in microseconds."""
    work()
    started = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - started) / count * 1e6


def request() -> None:
    """Count a request, its call, and two transactions."""
    observe._count("/{version}/studies", "GET", 200, 1000, 0.002)
    access_log._count("/dicomstore.v1.SearchService/Search", "OK", 0.002)
    _INDEX_SECONDS.observe(0.001)
    _INDEX_SECONDS.observe(0.001)


def traced() -> None:
    """Trace a request, its call, and two transactions, as far as its trace is recorded."""
    span = arrived("", random.getrandbits(128))
    call: AbstractContextManager[object] = nullcontext()
    if span is not None and not is_not_recorded():
        call = received("SearchService/Search", span.traceparent, {})
    with call:
        if current_span() is not None:
            with part("index search", {}):
                pass
        if current_span() is not None:
            with part("index read", {}):
                pass
    if span is not None:
        ended(span)


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


class _Window(NamedTuple):
    """A window of `telemetry_node`."""

    round: int
    state: str
    cpu_seconds: float
    requests: int


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
    seconds: Annotated[float, typer.Option(help="Duration of the measurement of a workload in seconds.")] = 60,
    scale: Annotated[float, typer.Option(help="Size of the data; 1 is 7,005 instances.")] = 0.05,
    only_steps: Annotated[bool, typer.Option("--steps", help="Measure single steps.")] = False,
) -> None:
    """Print a line for each workload."""
    if only_steps:
        steps()
        return
    size = Sets(scale)
    with _receiving() as endpoint, tempfile.TemporaryDirectory() as folder:
        windows = Path(folder, "windows.json")
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
            "BENCH_WINDOWS": str(windows),
        }
        with running_archive(None, tls=False, node="bench.telemetry_node", options=(), **variables) as archive:
            store(archive.core, "", size.instances())
            typer.echo(
                "| workload | µs a request without | metrics, µs | and traces, µs | error, µs | export, µs "
                "| together, % | error, % |\n|---|--:|--:|--:|--:|--:|--:|--:|"
            )
            for workload in [one for one in WORKLOADS if not names or one.name in names]:
                requests = workload.requests(archive, size)  # may store what it needs, which is not measured
                measured = replace(workload, requests=lambda *_, requests=requests: requests)
                web.measure(measured, archive, size, _WARM_SECONDS)
                _windows(archive, windows)
                web.measure(measured, archive, size, seconds)
                typer.echo(_line(workload.name, *_windows(archive, windows)))


def _windows(archive: Archive, written: Path) -> tuple[list[_Window], float]:
    """Return the windows since the last call, and the CPU time of exports in seconds."""
    written.unlink(missing_ok=True)
    os.kill(archive.pid, signal.SIGUSR1)
    while not written.exists():
        time.sleep(0.01)
    found = json.loads(written.read_text())
    return [_Window(*one) for one in found["windows"]], found["exporting"]


def _line(name: str, windows: Sequence[_Window], exporting: float) -> str:
    least = statistics.median(window.requests for window in windows) / 2
    rounds = [list(found) for _, found in itertools.groupby(windows, lambda window: window.round)]
    costs = [
        {state: _mean_us(window for window in found if window.state == state) for state in _STATES}
        for found in rounds[1:-1]  # those are not complete
        if all(window.requests > least for window in found)
    ]
    without = statistics.median(cost["nothing"] for cost in costs)
    metrics, _ = _median([cost["metrics"] - cost["nothing"] for cost in costs])
    both, error = _median([cost["both"] - cost["nothing"] for cost in costs])
    export = exporting / sum(window.requests for window in windows if window.state == "both") * 1e6
    return (
        f"| {name} | {without:.0f} | {metrics:.1f} | {both - metrics:.1f} | {error:.1f} | {export:.2f} "
        f"| {(both + export) / without * 100:.1f} | {error / without * 100:.1f} |"
    )


def _mean_us(windows: Iterable[_Window]) -> float:
    return statistics.fmean(window.cpu_seconds / window.requests * 1e6 for window in windows)


def _median(differences: Sequence[float]) -> tuple[float, float]:
    """Return the median and its standard error."""
    median = statistics.median(differences)
    # Of a median of values that are distributed normally but for outliers.
    deviation = 1.4826 * statistics.median(abs(one - median) for one in differences)
    return median, 1.2533 * deviation / math.sqrt(len(differences))


if __name__ == "__main__":
    typer.run(main)
