"""Health checks of the core and the facade."""

import asyncio
import http.client
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_S = 2.0
"""Deadline of a check."""


async def core_status(channel: grpc.aio.Channel, service: str = "") -> str:
    """Return the status of a service or the whole core in the gRPC health protocol, such as SERVING or NOT_SERVING.

    Raises:
        grpc.aio.AioRpcError: no server answers, or it does not support the protocol.
    """
    stub = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PROBE_S)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


async def facade_status(url: str) -> int | None:
    """Return the HTTP status of the health check below `url`, or None if no server answers."""
    return await asyncio.to_thread(_http_status, f"{url}/health/check")


def _http_status(url: str) -> int | None:
    # Without the HTTP proxy from the environment, because this is an address of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PROBE_S) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, http.client.HTTPException):
        return None
