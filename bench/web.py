"""Measurement of a DICOMweb workload: clients in threads; status and size of every response, and the content of a
sample."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.archive import Archive
from bench.client import Connection, Response
from bench.figures import Row, percentile_ms
from bench.sets import Sets
from bench.workloads import Request, Workload

_SAMPLE = 16
"""One in this many responses is kept."""

_KEPT_BYTES = 64 << 20
SETTLE_SECONDS = 0.5
"""CPU time within this time after a writing workload is counted with it."""


@dataclass(slots=True)
class _Taken:
    """Results of one client."""

    units: int = 0
    size_bytes: int = 0
    whole_s: list[float] = field(default_factory=list)
    first_byte_s: list[float] = field(default_factory=list)
    kept: list[tuple[Request, Response]] = field(default_factory=list)


def measure(workload: Workload, archive: Archive, size: Sets, seconds: float) -> Row:
    """Run a workload until its time or its requests are used up, and return its figures.

    Raises:
        RuntimeError: a response was wrong.
    """
    requests = workload.requests(archive, size)
    archive.reset_peaks()
    cpu, own_cpu = archive.cpu_seconds(), time.process_time()
    clients, taken_s = _run(workload.clients, archive, requests, seconds)
    own_cpu = time.process_time() - own_cpu
    if workload.writes:
        time.sleep(min(SETTLE_SECONDS, seconds))
    cpu = archive.cpu_seconds() - cpu
    for kept, response in itertools.chain.from_iterable(client.kept for client in clients):
        if not kept.check(response):
            raise RuntimeError(f"{workload.name}: a response has the wrong content")
    units = sum(client.units for client in clients)
    whole = sorted(itertools.chain.from_iterable(client.whole_s for client in clients))
    first = sorted(itertools.chain.from_iterable(client.first_byte_s for client in clients))
    return {
        "workload": workload.name,
        "unit": workload.unit,
        "clients": workload.clients,
        "requests": len(whole),
        "per_s": round(units / taken_s, 1),
        "mb_s": round(sum(client.size_bytes for client in clients) / taken_s / 1e6, 1),
        "p50_ms": percentile_ms(whole, 50),
        "p95_ms": percentile_ms(whole, 95),
        "p99_ms": percentile_ms(whole, 99),
        "first_byte_p50_ms": percentile_ms(first, 50),
        "cpu_ms_per_unit": round(cpu / units * 1e3, 4),
        "cpu_ms_per_request": round(cpu / len(whole) * 1e3, 5),
        "client_cpu_ms_per_unit": round(own_cpu / units * 1e3, 4),
        "peak_rss_mb": max(size for _, size in archive.peaks()),
        "checked": sum(len(client.kept) for client in clients),
    }


def _run(count: int, archive: Archive, requests: Iterator[Request], seconds: float) -> tuple[list[_Taken], float]:
    turn = threading.Lock()

    def client(connection: Connection) -> _Taken:
        taken, kept_bytes = _Taken(), 0
        while time.perf_counter() < end or not taken.whole_s:
            with turn:
                request = next(requests, None)
            if request is None:
                break
            keep = len(taken.whole_s) % _SAMPLE == 0 and (not taken.kept or kept_bytes < _KEPT_BYTES // count)
            response = connection.exchange(request.buffers, keep=keep)
            if response.status != request.status or response.size_bytes < request.least_bytes:
                raise RuntimeError(f"{request.buffers[0]!r} is answered {response.status}, {response.size_bytes} bytes")
            taken.units += request.units
            taken.size_bytes += sum(map(len, request.buffers)) + response.size_bytes
            taken.whole_s.append(response.whole_s)
            taken.first_byte_s.append(response.first_byte_s)
            if keep:
                kept_bytes += response.size_bytes
                taken.kept.append((request, response))
        return taken

    with ExitStack() as opened, ThreadPoolExecutor(count) as threads:
        connections = [opened.enter_context(Connection(archive.http_port, tls=archive.tls)) for _ in range(count)]
        began = time.perf_counter()
        end = began + seconds
        taken = list(threads.map(client, connections))
        return taken, time.perf_counter() - began
