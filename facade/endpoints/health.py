"""The health check for load balancers and supervisors (docs/operations.md, Health)."""

import asyncio
import time
from collections.abc import Set
from dataclasses import dataclass, field

import orjson
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure
from facade.serving.observe import call_metadata

CACHE_SECONDS = 1.0
"""Time for which a result is cached, so that not every probe calls the core."""

_CHECK_SECONDS = 3.0
"""Deadline of all calls to the core together. The core answers from memory, so this is generous."""

_COMPONENTS = {
    "core": "",
    "index": "index",
    "blobs": "blobs",
    "writes": "writes",
    "operations": "operations",
    "changes": "changes",
    "authentication": "authentication",
}
"""Name in the response → service name in the core's health protocol."""

_MINOR = frozenset({"writes", "operations", "changes", "authentication"})
"""Components whose failure leaves the service degraded: stored instances can still be read."""

_FAULTS = {
    "writes": "Instances cannot be stored or deleted: see the free disk space and the core's log.",
    "changes": "The archive is read-only because its index has lost transactions: see the core's log.",
    "authentication": "The keys of an identity provider cannot be fetched: see the core's log.",
}


@dataclass(slots=True)
class HealthCache:
    """The last result: component → description of its fault, or "" if it serves."""

    faults: dict[str, str] = field(default_factory=dict)
    checked_at: float = float("-inf")


async def health(request: Request) -> Response:
    """GET /health/check: 200 if stored instances can be read ("Degraded" if none can be stored), otherwise 503."""
    cache: HealthCache = request.app.state.health
    if time.monotonic() - cache.checked_at > CACHE_SECONDS:
        cache.faults = await _check(request)
        cache.checked_at = time.monotonic()
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


async def _check(request: Request) -> dict[str, str]:
    """Return the faults of all components; only that of the core if it cannot be reached."""
    core: Core = request.app.state.core
    metadata = call_metadata(request)

    async def check(service: str) -> HealthCheckResponse:
        core_request = HealthCheckRequest(service=service)
        answer: HealthCheckResponse = await core.call(core.health.Check, core_request, metadata, seconds=_CHECK_SECONDS)
        return answer

    try:
        answers = await asyncio.gather(*map(check, _COMPONENTS.values()))
    except CoreFailure:
        return {"core": "Cannot be reached."}
    return {
        name: "" if answer.status == HealthCheckResponse.SERVING else _FAULTS.get(name, "Does not serve.")
        for name, answer in zip(_COMPONENTS, answers, strict=True)
    }
