"""Whether the core and the facade answer, and with what."""

import asyncio
import http.client
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_S = 2.0
"""Deadline of one question."""


async def core_status(channel: grpc.aio.Channel, service: str = "") -> str:
    """Return SERVING or NOT_SERVING, or another word of the health protocol, about one service or the whole core.

    Raises:
        grpc.aio.AioRpcError: nobody answers, or not in this protocol.
    """
    stub = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PROBE_S)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


async def facade_status(url: str) -> int | None:
    """Return the HTTP status of the health page below `url`, or None when nobody answers."""
    return await asyncio.to_thread(_http_status, f"{url}/health/check")


def _http_status(url: str) -> int | None:
    # Without the web proxy of the environment: it is no way to an address of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PROBE_S) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, http.client.HTTPException):
        return None
