"""MetricsService."""

from collections.abc import Sequence

from dicomstore.v1 import metrics_service_pb2 as pb
from dicomstore.v1 import metrics_service_pb2_grpc

from common.telemetry.metrics import Distribution, Family, Series, families, labels_of
from common.telemetry.neighbours import process_id
from server.domain.monitoring.metrics import Metrics
from server.rpc.interceptors.call_context import Context

_KINDS = {
    "counter": pb.METRIC_KIND_COUNTER,
    "gauge": pb.METRIC_KIND_GAUGE,
    "histogram": pb.METRIC_KIND_HISTOGRAM,
}


class MetricsServicer(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Implements MetricsService with `Metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> pb.GetMetricsResponse:
        """See the contract."""
        found = await self._metrics.read(context.call)
        messages = [_family(family, found[family.name]) for family in families()]
        return pb.GetMetricsResponse(families=messages, process_id=process_id())


def _family(family: Family, series: Sequence[Series]) -> pb.MetricFamily:
    return pb.MetricFamily(
        name=family.name,
        kind=_KINDS[family.kind],
        help=family.text,
        label_names=labels_of(family),
        bounds=family.bounds,
        series=map(_series, series),
    )


def _series(series: Series) -> pb.MetricSeries:
    value = series.value
    if isinstance(value, Distribution):
        return pb.MetricSeries(label_values=series.labels, value=value.total, bucket_counts=value.counts)
    return pb.MetricSeries(label_values=series.labels, value=value)
