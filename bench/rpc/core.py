"""Measurement of a gRPC scenario: check one call, make many calls, count what they wrote."""

import time

import grpc
from dicomstore.v1 import change_feed_service_pb2 as changes_pb
from dicomstore.v1 import change_feed_service_pb2_grpc as changes_grpc

from bench.archive import Archive
from bench.figures import Row, percentile_ms
from bench.rpc import rpc
from bench.rpc.ghz import Driver
from bench.rpc.scenarios import Scenario, received, sent
from bench.sets import Sets

_PAGE = 200
_SETTLE_SECONDS = 0.2


def measure(scenario: Scenario, archive: Archive, size: Sets, drive: Driver) -> Row:
    """Run the calls of a scenario and return its figures.

    Raises:
        RuntimeError: a call did not end with the expected status, or did not have the expected effect.
    """
    loads, items = scenario.loads(archive, size), scenario.items(size)
    with grpc.insecure_channel(archive.core) as channel:
        feed = changes_grpc.ChangeFeedServiceStub(channel)
        if not scenario.writes:
            responses = rpc.call(channel, scenario.rpc, sent(scenario, loads[0], 0))
            _must(scenario, "items in a call", received(scenario, responses), items)
        begin = feed.GetLatestChange(changes_pb.GetLatestChangeRequest()).entry.sequence
        archive.reset_peaks()
        cpu = archive.cpu_seconds()
        made = drive(scenario, loads, archive.core)
        if scenario.writes:
            time.sleep(_SETTLE_SECONDS)  # so that deferred work of the archive is counted, too
        cpu = archive.cpu_seconds() - cpu
        peak = max(size for _, size in archive.peaks())
        calls = sum(load.calls for load in loads)
        _must(scenario, "calls", made.statuses, {scenario.status: calls})
        if scenario.writes and scenario.unit == "instances":
            _must(scenario, "changes", _changes_after(feed, begin), calls * items)
    return {
        "scenario": scenario.name,
        "rpc": scenario.rpc.rpartition(".")[2],
        "unit": scenario.unit,
        "clients": sum(load.clients for load in loads),
        "calls": calls,
        "calls_per_s": round(calls / made.taken_s, 3),
        "items_per_call": items,
        "items_per_s": round(calls * items / made.taken_s, 1),
        "p50_ms": percentile_ms(made.latencies_s, 50),
        "p95_ms": percentile_ms(made.latencies_s, 95),
        "p99_ms": percentile_ms(made.latencies_s, 99),
        "cpu_ms_per_call": round(cpu / calls * 1e3, 4),
        "cpu_ms_per_item": round(cpu / calls / items * 1e3, 4),
        "client_cpu_ms_per_call": round(made.client_cpu_s / calls * 1e3, 4),
        "peak_rss_mb": peak,
    }


def _must(scenario: Scenario, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise RuntimeError(f"{scenario.name}: {what}: {found}, expected {expected}")


def _changes_after(feed: changes_grpc.ChangeFeedServiceStub, sequence: int) -> int:
    count = 0
    while True:
        request = changes_pb.ListChangesRequest(after_sequence=sequence, page_size=_PAGE)
        entries = feed.ListChanges(request).entries
        if not entries:
            return count
        count, sequence = count + len(entries), entries[-1].sequence
