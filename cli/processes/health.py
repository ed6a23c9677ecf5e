"""Health checks of the core and the facade."""

import asyncio
import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.addresses import Address
from common.core_channel import CoreSettings
from common.tls import TlsPaths, names_of

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


def channel_to_own_core(address: Address, own: TlsPaths, client: CoreSettings) -> grpc.aio.Channel:
    """Return a channel to a core of this machine.

    Args:
        own: the files of the core's listener. Its certificate need not be for the name of this machine: the one in the
            file is expected.
        client: settings of this command, with its own certificate if there is one.

    Raises:
        OSError, ValueError: the files cannot be used.
    """
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if not own.certificate:
        return grpc.aio.insecure_channel(str(address), options=options)
    certificate = Path(own.certificate).read_bytes()
    if names := names_of(certificate):
        options.append(("grpc.ssl_target_name_override", names[0].replace("*", "any")))
    identity = [Path(path).read_bytes() for path in (client.core_key, client.core_certificate) if path]
    credentials = grpc.ssl_channel_credentials(certificate, *identity)
    return grpc.aio.secure_channel(str(address), credentials, options=options)


async def facade_status(address: Address, own: TlsPaths, client: CoreSettings) -> int | None:
    """Return the HTTP status of the health check of a facade of this machine, or None if no server answers.

    Args and Raises: as `channel_to_own_core`.
    """
    if not own.certificate:
        return await asyncio.to_thread(_http_status, f"http://{address}/health/check", None)
    context = ssl.create_default_context(cafile=own.certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    if client.core_certificate:
        context.load_cert_chain(client.core_certificate, client.core_key)
    return await asyncio.to_thread(_http_status, f"https://{address}/health/check", context)


def _http_status(url: str, context: ssl.SSLContext | None) -> int | None:
    # Without the HTTP proxy from the environment, because this is an address of this machine.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url, timeout=PROBE_S) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, http.client.HTTPException):
        return None
