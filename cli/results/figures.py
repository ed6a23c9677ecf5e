"""Rates, latencies and states from two readings of the metrics, as JSON values."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dicomstore.v1.metrics_service_pb2 import GetMetricsResponse, MetricFamily, MetricSeries

Labels = Mapping[str, str]

_P = "dicomstore_"


class Reading:
    """The metrics of one point in time."""

    def __init__(self, answer: GetMetricsResponse, at: float, others: Iterable[MetricFamily] = ()) -> None:
        """Add up the families of an answer and others.

        Args:
            at: seconds of a monotonic clock.
            others: of processes that the answer does not include.
        """
        self.at = at
        self._families: dict[str, list[MetricFamily]] = {}
        for family in (*answer.families, *others):
            self._families.setdefault(family.name, []).append(family)

    def series(self, name: str) -> Iterator[tuple[Labels, MetricSeries]]:
        """Yield the series of a family, whose name is without the common prefix."""
        for family in self._families.get(_P + name, ()):
            for one in family.series:
                yield dict(zip(family.label_names, one.label_values, strict=False)), one

    def values(self, name: str) -> Iterator[tuple[Labels, float]]:
        """Yield the values of gauges or counters."""
        return ((labels, one.value) for labels, one in self.series(name))

    def total(self, name: str) -> float:
        """Return the sum of all values."""
        return sum(value for _, value in self.values(name))

    def bounds(self, name: str) -> Sequence[float]:
        """Return the bounds of the buckets of a histogram."""
        return next((list(family.bounds) for family in self._families.get(_P + name, ())), [])


class Interval:
    """What has happened between two readings. A counter that is smaller than before has begun again at 0."""

    def __init__(self, before: Reading, after: Reading) -> None:
        self.seconds = max(after.at - before.at, 1e-9)
        self._before, self.after = before, after

    def rates(self, name: str, key: Callable[[Labels], str]) -> dict[str, float]:
        """Return the increase of counters in a second, added up by a key of their labels."""
        earlier = {_frozen(labels): value for labels, value in self._before.values(name)}
        sums: dict[str, float] = {}
        for labels, value in self.after.values(name):
            was = earlier.get(_frozen(labels), 0.0)
            increase = value - was if value >= was else value
            sums[key(labels)] = sums.get(key(labels), 0.0) + increase / self.seconds
        return sums

    def rate(self, name: str) -> float:
        """Return the increase of all counters of a family in a second."""
        return sum(self.rates(name, lambda _: "").values())

    def durations(self, name: str, key: Callable[[Labels], str]) -> dict[str, dict[str, float | None]]:
        """Return rate, p50 and p99 of histograms, added up by a key of their labels; None without observations."""
        earlier = {_frozen(labels): list(one.bucket_counts) for labels, one in self._before.series(name)}
        sums: dict[str, list[int]] = {}
        for labels, one in self.after.series(name):
            counts, was = list(one.bucket_counts), earlier.get(_frozen(labels))
            if was is not None and sum(was) <= sum(counts):
                counts = [now - then for now, then in zip(counts, was, strict=True)]
            into = sums.setdefault(key(labels), [0] * len(counts))
            sums[key(labels)] = [one + more for one, more in zip(into, counts, strict=True)]
        bounds = self.after.bounds(name)
        return {
            name: {
                "per_second": round(sum(counts) / self.seconds, 3),
                "p50_ms": _milliseconds(quantile(bounds, counts, 0.5)),
                "p99_ms": _milliseconds(quantile(bounds, counts, 0.99)),
            }
            for name, counts in sums.items()
        }


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Return a quantile, interpolated in its bucket as by Prometheus; None without observations."""
    wanted, below = part * sum(counts), 0
    for number, count in enumerate(counts):
        if count and below + count >= wanted:
            if number == len(bounds):
                return bounds[-1]
            start = bounds[number - 1] if number else 0.0
            return start + (bounds[number] - start) * (wanted - below) / count
        below += count
    return None


def figures(before: Reading, after: Reading) -> dict[str, Any]:
    """Return what `dicomstore top` shows."""
    interval = Interval(before, after)
    calls = interval.durations("rpc_duration_seconds", lambda labels: labels["rpc"])
    routes = interval.durations("http_request_duration_seconds", lambda labels: f"{labels['method']} {labels['route']}")
    failed = interval.rates("rpc_calls_total", lambda labels: "" if labels["code"] == "OK" else labels["rpc"])
    hits = interval.rates("cache_requests_total", lambda labels: f"{labels['cache']} {labels['result']}")
    return {
        "seconds": round(interval.seconds, 3),
        "requests_per_second": round(interval.rate("http_requests_total"), 3),
        "calls_per_second": round(interval.rate("rpc_calls_total"), 3),
        "processes": _processes(interval),
        "calls": {
            name: {**found, "failed_per_second": round(failed.get(name, 0.0), 3)}
            for name, found in sorted(calls.items())
        },
        "routes": dict(sorted(routes.items())),
        "stored": {
            **_rounded(interval.rates("stored_instances_total", lambda labels: labels["result"])),
            "bytes_per_second": round(interval.rate("stored_bytes_total")),
        },
        "blobs": interval.durations("blob_duration_seconds", lambda labels: labels["operation"]),
        "index": interval.durations("index_duration_seconds", lambda labels: labels["kind"]),
        "objects": interval.durations(
            "object_request_duration_seconds", lambda labels: f"{labels['store']} {labels['operation']}"
        ),
        "object_retries": _rounded(interval.rates("object_retries_total", lambda labels: labels["cause"])),
        "dimse": _dimse(interval),
        "pixel_jobs": interval.durations("pixel_job_duration_seconds", lambda labels: labels["job"]),
        "queues": {
            "calls_in_progress": after.total("rpc_calls_in_progress"),
            "uploads_waiting": after.total("ingest_uploads_waiting"),
            "ingest_memory_bytes": after.total("ingest_memory_used_bytes"),
            "index_waiting": after.total("index_transactions_waiting"),
            "pixel_jobs_waiting": after.total("pixel_jobs_waiting"),
            "webhook_events": _states(after, "webhook_events", ("state",)),
            "change_feed_lag": after.total("change_feed_consumer_lag_entries"),
        },
        "caches": {name: _hit_rate(hits, name) for name in sorted({key.rpartition(" ")[0] for key in hits})},
        "operations": _states(after, "operations", ("type", "state")),
        "disk_free_bytes": _states(after, "disk_free_bytes", ("place",)),
        "unhealthy": sorted({labels["component"] for labels, value in after.values("component_healthy") if not value}),
    }


def _dimse(interval: Interval) -> dict[str, Any]:
    """Return the figures of the DIMSE gateway."""
    after = interval.after
    failed = interval.rates(
        "dimse_requests_total", lambda labels: labels["service"] if labels["status"] in ("failure", "lost") else ""
    )
    requests = interval.durations("dimse_request_duration_seconds", lambda labels: labels["service"])
    problems = interval.rates(
        "dimse_association_requests_total",
        lambda labels: "" if labels["result"] == "ACCEPTED" else f"{labels['role']} {labels['result']}",
    )
    problems.pop("", None)
    return {
        "associations": _added(after, "dimse_associations", "role"),
        "problems": _rounded({name: rate for name, rate in problems.items() if rate}),
        "requests": {
            name: {**found, "failed_per_second": round(failed.get(name, 0.0), 3)}
            for name, found in sorted(requests.items())
        },
        "instances": _rounded(interval.rates("dimse_instances_total", lambda labels: labels["direction"])),
        "bytes": _rounded(interval.rates("dimse_instance_bytes_total", lambda labels: labels["direction"])),
        "transfers": _states(after, "transfers", ("state",)),
    }


def _processes(interval: Interval) -> dict[str, dict[str, float]]:
    after = interval.after
    shown: dict[str, dict[str, float]] = {labels["process"]: {} for labels, _ in after.values("process_info")}

    def add(name: str, values: Iterable[tuple[str, float]]) -> None:
        for process, value in values:
            shown.setdefault(process, {})[name] = value

    for name, family in (("cpu", "process_cpu_seconds_total"), ("children_cpu", "process_children_cpu_seconds_total")):
        rates = interval.rates(family, lambda labels: labels["process"])
        add(f"{name}_percent", ((process, round(rate * 100, 1)) for process, rate in rates.items()))
    for name, family in (
        ("memory_bytes", "process_resident_memory_bytes"),
        ("children_memory_bytes", "process_children_resident_memory_bytes"),
        ("children", "process_children"),
        ("open_files", "process_open_files"),
        ("threads", "process_threads"),
    ):
        add(name, ((labels["process"], value) for labels, value in after.values(family)))
    return dict(sorted(shown.items()))


def _states(reading: Reading, name: str, labels: Sequence[str]) -> dict[str, float]:
    return {" ".join(found[label] for label in labels): value for found, value in reading.values(name)}


def _added(reading: Reading, name: str, label: str) -> dict[str, float]:
    """Return the values of all processes, added up by a label."""
    sums: dict[str, float] = {}
    for found, value in reading.values(name):
        sums[found[label]] = sums.get(found[label], 0.0) + value
    return sums


def _hit_rate(rates: Mapping[str, float], cache: str) -> float | None:
    hits, misses = rates.get(f"{cache} hit", 0.0), rates.get(f"{cache} miss", 0.0)
    return round(hits / (hits + misses), 3) if hits + misses else None


def _rounded(rates: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}_per_second": round(rate, 3) for name, rate in rates.items()}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _frozen(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(labels.items())
