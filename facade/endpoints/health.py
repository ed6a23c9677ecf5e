"""Is the service well? Asked by people, load balancers and supervisors (spec/endpoints.md section 6)."""

import time
from dataclasses import dataclass

import orjson
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure
from facade.observe import call_metadata

CACHE_SECONDS = 1.0
"""For how long an answer is given again, so that probes do not reach the core each time."""

_CHECK_SECONDS = 5.0


@dataclass(slots=True)
class HealthCache:
    """The last look at the core."""

    description: str = ""
    is_healthy: bool = False
    looked_at: float = float("-inf")


async def health(request: Request) -> Response:
    """GET /health/check: 200 when the core serves, 503 when not."""
    cache: HealthCache = request.app.state.health
    if time.monotonic() - cache.looked_at > CACHE_SECONDS:
        cache.is_healthy, cache.description = await _look(request)
        cache.looked_at = time.monotonic()
    status = "Healthy" if cache.is_healthy else "Unhealthy"
    body = {
        "overallStatus": status,
        "details": [{"name": "core", "status": status, "description": cache.description}],
    }
    return Response(
        orjson.dumps(body),
        200 if cache.is_healthy else 503,
        {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"},
    )


async def _look(request: Request) -> tuple[bool, str]:
    core: Core = request.app.state.core
    try:
        answer: HealthCheckResponse = await core.ask(
            core.health.Check, HealthCheckRequest(), call_metadata(request), seconds=_CHECK_SECONDS
        )
    except CoreFailure:
        return False, "The core can't be reached."
    if answer.status == HealthCheckResponse.SERVING:
        return True, "The core serves."
    return False, "The core is there, but not ready to serve."
