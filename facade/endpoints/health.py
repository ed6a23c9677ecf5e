"""Is the service well? Asked by people, load balancers and supervisors (spec/endpoints.md section 6)."""

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
"""For how long an answer is given again, so that probes do not reach the core each time."""

_CHECK_SECONDS = 3.0
"""Deadline of all questions to the core together. The core answers from memory, so this is long."""

_COMPONENTS = {
    "core": "",
    "index": "index",
    "blobs": "blobs",
    "writes": "writes",
    "operations": "operations",
    "changes": "changes",
}
"""What is shown → what the core's health service calls it."""

_MINOR = frozenset({"writes", "operations", "changes"})
"""Without these the service is degraded, and serves: all that is stored can be read."""

_FAULTS = {
    "writes": "Nothing can be stored or deleted: look at the free space and the core's log.",
    "changes": "The archive is read-only, because its index has lost transactions: look at the core's log.",
}


@dataclass(slots=True)
class HealthCache:
    """The last look at the core: component → what is wrong with it, "" if nothing is."""

    faults: dict[str, str] = field(default_factory=dict)
    looked_at: float = float("-inf")


async def health(request: Request) -> Response:
    """GET /health/check: 200 when what is stored can be read, "Degraded" when nothing can be stored; else 503."""
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
    """Ask for all components at once; nothing is known of the others when the core itself can't be asked."""
    core: Core = request.app.state.core
    metadata = call_metadata(request)

    async def ask(service: str) -> HealthCheckResponse:
        question = HealthCheckRequest(service=service)
        answer: HealthCheckResponse = await core.ask(core.health.Check, question, metadata, seconds=_CHECK_SECONDS)
        return answer

    try:
        answers = await asyncio.gather(*map(ask, _COMPONENTS.values()))
    except CoreFailure:
        return {"core": "Can't be reached."}
    return {
        name: "" if answer.status == HealthCheckResponse.SERVING else _FAULTS.get(name, "Is there, but does not serve.")
        for name, answer in zip(_COMPONENTS, answers, strict=True)
    }
