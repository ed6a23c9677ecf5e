"""GET /metrics."""

import orjson
from dicomstore.v1.metrics_service_pb2 import GetMetricsRequest, GetMetricsResponse
from starlette.requests import Request
from starlette.responses import Response

from common.telemetry.neighbours import process_id
from facade.channel import Core
from facade.monitoring import exposition
from facade.monitoring.families import with_own
from facade.request.accept import parse_accept
from facade.serving.observe import call_metadata

_JSON, _OPEN_METRICS = "application/json", "application/openmetrics-text"
_TEXT = ("text/plain", "text/*", "*/*")


async def metrics(request: Request) -> Response:
    """Return the metrics of all processes of the node that answers, and of this facade."""
    core: Core = request.app.state.core
    answer: GetMetricsResponse = await core.call(core.metrics.GetMetrics, GetMetricsRequest(), call_metadata(request))
    neighbours = request.app.state.neighbours
    is_included = neighbours is None or answer.process_id == process_id()
    families = with_own(answer, [] if is_included else await neighbours.snapshots())
    media_type = _media_type(request)
    headers = {"Cache-Control": "no-store", "Vary": "Accept", "Content-Type": media_type}
    if media_type == exposition.JSON:
        return Response(orjson.dumps(exposition.json(families)), 200, headers)
    is_open_metrics = media_type == exposition.OPEN_METRICS
    return Response(exposition.text(families, is_open_metrics=is_open_metrics), 200, headers)


def _media_type(request: Request) -> str:
    """Return the format that the client prefers; the text format of Prometheus if it names none of the three."""
    for media_range in parse_accept(", ".join(request.headers.getlist("accept"))):
        if media_range.name == _OPEN_METRICS:
            return exposition.OPEN_METRICS
        if media_range.name == _JSON:
            return exposition.JSON
        if media_range.name in _TEXT:
            return exposition.TEXT
    return exposition.TEXT
