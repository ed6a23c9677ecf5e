"""Is the service well? Asked by people, load balancers and supervisors (spec/endpoints.md section 6)."""

import time
from collections.abc import Set
from dataclasses import dataclass, field

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

_COMPONENTS = {"core": "", "index": "index", "blobs": "blobs", "operations": "operations", "changes": "changes"}
"""What is shown → what the core's health service calls it."""

_MINOR = frozenset({"operations", "changes"})
"""Without these the service is degraded, and serves."""


@dataclass(slots=True)
class HealthCache:
    """The last look at the core: component → what is wrong with it, "" if nothing is."""

    faults: dict[str, str] = field(default_factory=dict)
    looked_at: float = float("-inf")


async def health(request: Request) -> Response:
    """GET /health/check: 200 when the core and what it depends on serve, 503 when not."""
    cache: HealthCache = request.app.state.health
    if time.monotonic() - cache.looked_at > CACHE_SECONDS:
        cache.faults = await _look(request)
        cache.looked_at = time.monotonic()
    faulty = {name for name, fault in cache.faults.items() if fault}
    body = {
        "overallStatus": _status(faulty),
        "details": [
            {"name": name, "status": _status(faulty & {name}), "description": fault or "Serves."}
            for name, fault in cache.faults.items()
        ],
    }
    return Response(
        orjson.dumps(body),
        503 if faulty - _MINOR else 200,
        {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"},
    )


def _status(faulty: Set[str]) -> str:
    if not faulty:
        return "Healthy"
    return "Unhealthy" if faulty - _MINOR else "Degraded"


async def _look(request: Request) -> dict[str, str]:
    """Ask for one component after the other; nothing more when the core itself can't be asked."""
    core: Core = request.app.state.core
    faults: dict[str, str] = {}
    for name, service in _COMPONENTS.items():
        try:
            answer: HealthCheckResponse = await core.ask(
                core.health.Check, HealthCheckRequest(service=service), call_metadata(request), seconds=_CHECK_SECONDS
            )
        except CoreFailure:
            return faults | {name: "Can't be reached."}
        faults[name] = "" if answer.status == HealthCheckResponse.SERVING else "Is there, but does not serve."
    return faults
