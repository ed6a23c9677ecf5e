"""Rates and latencies from two readings."""

from io import StringIO

import pytest
from dicomstore.v1.metrics_service_pb2 import GetMetricsResponse, MetricFamily, MetricSeries
from rich.console import Console

from cli.commands.top import rendered
from cli.results.figures import Interval, Reading, figures, quantile


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        ([0, 0, 0], 0.5, None),
        ([4, 0, 0], 0.5, 0.5),
        ([0, 4, 0], 0.5, 1.5),
        ([2, 2, 0], 0.99, 1.98),
        ([0, 0, 3], 0.5, 2.0),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(counts: list[int], part: float, expected: float | None) -> None:
    assert quantile([1.0, 2.0], counts, part) == (None if expected is None else pytest.approx(expected))


def reading(at: float, value: float, counts: list[int]) -> Reading:
    total = MetricFamily(name="dicomstore_rpc_calls_total", label_names=["rpc", "code", "process"])
    total.series.append(MetricSeries(label_values=["Search", "OK", "node-1"], value=value))
    seconds = MetricFamily(name="dicomstore_rpc_duration_seconds", label_names=["rpc", "process"], bounds=[1, 2])
    seconds.series.append(MetricSeries(label_values=["Search", "node-1"], bucket_counts=counts))
    return Reading(GetMetricsResponse(families=[total, seconds]), at)


def test_rates_are_differences_by_time() -> None:
    interval = Interval(reading(10, 5, [5, 0, 0]), reading(12, 9, [7, 2, 0]))
    assert interval.rates("rpc_calls_total", lambda labels: labels["rpc"]) == {"Search": 2}
    assert interval.durations("rpc_duration_seconds", lambda labels: labels["rpc"]) == {
        "Search": {"per_second": 2, "p50_ms": 1000, "p99_ms": pytest.approx(1980)}
    }


def test_a_process_that_was_restarted_begins_at_zero() -> None:
    interval = Interval(reading(10, 5, [5, 0, 0]), reading(11, 2, [2, 0, 0]))
    assert interval.rate("rpc_calls_total") == 2
    assert interval.durations("rpc_duration_seconds", lambda _: "all")["all"]["per_second"] == 2


def test_metrics_that_the_server_does_not_have_are_omitted() -> None:
    empty = Reading(GetMetricsResponse(), 0), Reading(GetMetricsResponse(), 1)
    found = figures(*empty)
    assert (found["processes"], found["calls"], found["caches"], found["unhealthy"]) == ({}, {}, {}, [])


def family(name: str, labels: dict[str, str], value: float = 0, counts: tuple[int, ...] = ()) -> MetricFamily:
    bounds = [1.0] * (len(counts) - 1)
    found = MetricFamily(name=f"dicomstore_{name}", label_names=labels, bounds=bounds)
    found.series.append(MetricSeries(label_values=labels.values(), value=value, bucket_counts=counts))
    return found


def test_the_gateway_is_shown_with_all_its_processes() -> None:
    def at(factor: int) -> Reading:
        counters = [
            family("dimse_requests_total", {"service": "C-STORE", "status": "failure", "process": "dimse-1"}, factor),
            family("dimse_request_duration_seconds", {"service": "C-STORE", "process": "dimse-1"}, 0, (4 * factor, 0)),
            family("dimse_instances_total", {"direction": "received", "process": "dimse-1"}, 3 * factor),
            family("dimse_instance_bytes_total", {"direction": "received", "process": "dimse-1"}, 3000 * factor),
            family(
                "dimse_association_requests_total",
                {"role": "acceptor", "result": "BUSY", "process": "dimse-1"},
                2 * factor,
            ),
            family("dimse_associations", {"role": "acceptor", "process": "dimse-1"}, 2),
            family("dimse_associations", {"role": "acceptor", "process": "dimse-2"}, 1),
            family("transfers", {"state": "waiting"}, 5),
        ]
        return Reading(GetMetricsResponse(), factor, counters)

    found = figures(at(0), at(1))
    assert found["dimse"]["requests"]["C-STORE"] == {
        "per_second": 4,
        "p50_ms": pytest.approx(500),
        "p99_ms": pytest.approx(990),
        "failed_per_second": 1,
    }
    assert found["dimse"]["associations"] == {"acceptor": 3}
    assert found["dimse"]["problems"] == {"acceptor BUSY_per_second": 2}
    assert found["dimse"]["instances"] == {"received_per_second": 3}
    assert found["dimse"]["bytes"] == {"received_per_second": 3000}
    assert found["dimse"]["transfers"] == {"waiting": 5}
    text = StringIO()
    Console(width=150, file=text).print(rendered(found))
    shown = "DIMSE: associations 3 as acceptor; instances 3.0 received/s (3.0 kB/s); transfers 5 waiting"
    assert shown in text.getvalue()
    assert "Associations not accepted: acceptor BUSY" in text.getvalue()
