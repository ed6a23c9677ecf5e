"""Metrics as the core returns them, with those of this facade."""

from collections.abc import Iterable, Sequence

from dicomstore.v1.metrics_service_pb2 import (
    METRIC_KIND_COUNTER,
    METRIC_KIND_GAUGE,
    METRIC_KIND_HISTOGRAM,
    GetMetricsResponse,
    MetricFamily,
    MetricSeries,
)

from common.telemetry.metrics import Distribution, Series, Snapshot, families, labels_of, merged

KINDS = {METRIC_KIND_COUNTER: "counter", METRIC_KIND_GAUGE: "gauge", METRIC_KIND_HISTOGRAM: "histogram"}
_NUMBERS = {name: number for number, name in KINDS.items()}


def with_own(answer: GetMetricsResponse, snapshots: Iterable[tuple[str, Snapshot]]) -> Sequence[MetricFamily]:
    """Return the families of a core with the series of this facade's processes.

    Args:
        snapshots: of these processes, by their names.
    """
    by_name = {family.name: family for family in answer.families}
    series = merged(snapshots)
    for family in families():
        message = by_name.get(family.name)
        if message is None:
            message = by_name[family.name] = MetricFamily(
                name=family.name,
                kind=_NUMBERS[family.kind],
                help=family.text,
                label_names=labels_of(family),
                bounds=family.bounds,
            )
        message.series.extend(map(_message, series[family.name]))
    return list(by_name.values())


def _message(series: Series) -> MetricSeries:
    value = series.value
    if isinstance(value, Distribution):
        return MetricSeries(label_values=series.labels, value=value.total, bucket_counts=value.counts)
    return MetricSeries(label_values=series.labels, value=value)
