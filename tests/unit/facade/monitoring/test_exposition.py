"""The text formats, read by the parsers of Prometheus' own client."""

import math

from dicomstore.v1.metrics_service_pb2 import (
    METRIC_KIND_COUNTER,
    METRIC_KIND_GAUGE,
    METRIC_KIND_HISTOGRAM,
    MetricFamily,
    MetricSeries,
)
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from facade.monitoring import exposition

LABEL = 'a "quoted" \\ value\nof two lines'
FAMILIES = [
    MetricFamily(
        name="calls_total",
        kind=METRIC_KIND_COUNTER,
        help="Calls \\ of\nall.",
        label_names=["rpc", "process"],
        series=[
            MetricSeries(label_values=["b", "node-1"], value=3),
            MetricSeries(label_values=[LABEL, "node-1"], value=2),
        ],
    ),
    MetricFamily(name="free_bytes", kind=METRIC_KIND_GAUGE, help="Free.", series=[MetricSeries(value=1e15 + 0.5)]),
    MetricFamily(name="unused", kind=METRIC_KIND_GAUGE, help="Without series."),
    MetricFamily(
        name="seconds",
        kind=METRIC_KIND_HISTOGRAM,
        help="Durations.",
        label_names=["process"],
        bounds=[0.5, 1],
        series=[MetricSeries(label_values=["node-1"], value=4.25, bucket_counts=[1, 0, 2])],
    ),
]
HISTOGRAM = [
    ("seconds_bucket", "0.5", 1),
    ("seconds_bucket", "1", 1),
    ("seconds_bucket", "+Inf", 3),
    ("seconds_sum", None, 4.25),
    ("seconds_count", None, 3),
]


def test_the_text_format_of_prometheus_has_all_values() -> None:
    text = exposition.text(FAMILIES, is_open_metrics=False).decode()
    calls, free, unused, seconds = text_string_to_metric_families(text)
    assert (calls.name, calls.type, calls.documentation) == ("calls", "counter", "Calls \\ of\nall.")
    assert [(one.labels, one.value) for one in calls.samples] == [
        ({"rpc": LABEL, "process": "node-1"}, 2),
        ({"rpc": "b", "process": "node-1"}, 3),
    ]
    assert [one.value for one in free.samples] == [1e15 + 0.5]
    assert (unused.name, unused.type, unused.samples) == ("unused", "gauge", [])
    assert [(one.name, one.labels.get("le"), one.value) for one in seconds.samples] == HISTOGRAM


def test_the_format_of_open_metrics_has_all_values() -> None:
    text = exposition.text(FAMILIES, is_open_metrics=True).decode()
    calls, free, _, seconds = open_metrics.text_string_to_metric_families(text)
    assert (calls.name, calls.type, [one.name for one in calls.samples]) == ("calls", "counter", ["calls_total"] * 2)
    assert [one.value for one in free.samples] == [1e15 + 0.5]
    limits = [(one.name, one.labels.get("le"), one.value) for one in seconds.samples]
    assert [(name, le and str(float(le)), value) for name, le, value in limits] == [
        (name, le and str(math.inf if le == "+Inf" else float(le)), value) for name, le, value in HISTOGRAM
    ]


def test_json_has_all_values() -> None:
    calls, free, unused, seconds = exposition.json(FAMILIES)["families"]
    assert calls["series"][0] == {"labels": {"rpc": "b", "process": "node-1"}, "value": 3}
    assert (free["kind"], free["series"]) == ("gauge", [{"labels": {}, "value": 1e15 + 0.5}])
    assert unused["series"] == []
    assert seconds["bounds"] == [0.5, 1]
    assert seconds["series"] == [{"labels": {"process": "node-1"}, "value": 4.25, "counts": [1, 0, 2]}]
