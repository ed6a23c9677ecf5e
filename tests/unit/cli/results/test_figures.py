"""Rates and latencies from two readings."""

import pytest
from dicomstore.v1.metrics_service_pb2 import GetMetricsResponse, MetricFamily, MetricSeries

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
