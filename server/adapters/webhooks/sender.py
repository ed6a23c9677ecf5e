"""Sending events to the receivers of webhooks."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType

import httpcore

from common.telemetry.tracing import current
from server.adapters.network.addresses import PermittedAddresses
from server.adapters.webhooks.messages import EventOrigin, message
from server.adapters.webhooks.network import AddressRefused, HostNotFound, PermittedNetwork
from server.model.events.webhook import Event, Webhook
from server.ports.events.webhooks import Outcome

_MAX_CONNECTIONS = 1000
_KEPT_CONNECTIONS = 100
_KEPT_SECONDS = 30.0
_MAX_RESPONSE_BYTES = 16 << 10


class HttpSender:
    """`server.ports.events.webhooks.Sender` with HTTP. To be entered before use.

    Certificates of receivers are verified. Redirects are failures, and proxies from the environment are not used:
    both would connect to addresses that were not checked.

    Args:
        seconds: time limit of one request.
        authorities: path of a PEM file with the authorities of certificates; empty means those of the system.
    """

    def __init__(
        self, addresses: PermittedAddresses, origin: EventOrigin, *, seconds: float = 15.0, authorities: str = ""
    ) -> None:
        self._origin = origin
        self._seconds = seconds
        self._addresses = addresses
        # A missing file is found now. The authorities of the system take 20 ms, so they are read when they are needed.
        self._context = _context(authorities) if authorities else None
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "HttpSender":
        """Return the sender."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._stack.aclose()

    async def send(self, webhook: Webhook, event: Event, at: datetime) -> Outcome:
        """See the port."""
        headers, body = message(event, self._origin, webhook.secrets, at)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(webhook.url, headers, body)
        except (TimeoutError, httpcore.TimeoutException):
            return Outcome("TIMEOUT")
        except HostNotFound:
            return Outcome("HOST_NOT_FOUND")
        except AddressRefused:
            return Outcome("ADDRESS_REFUSED")
        except (ssl.SSLError, ssl.CertificateError):
            return Outcome("TLS_FAILED")
        except httpcore.NetworkError as error:
            is_of_tls = isinstance(error.__context__, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError)
            return Outcome("TLS_FAILED" if is_of_tls else "CONNECTION_FAILED")
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError):
            return Outcome("INVALID_RESPONSE")

    async def _connections(self) -> httpcore.AsyncConnectionPool:
        async with self._opening:
            if self._pool is None:
                pool = httpcore.AsyncConnectionPool(
                    ssl_context=self._context or await asyncio.to_thread(_context),
                    max_connections=_MAX_CONNECTIONS,
                    max_keepalive_connections=_KEPT_CONNECTIONS,
                    keepalive_expiry=_KEPT_SECONDS,
                    network_backend=PermittedNetwork(self._addresses),
                )
                self._pool = await self._stack.enter_async_context(pool)
            return self._pool

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Outcome:
        fields = {"user-agent": "dicomstore", "content-length": str(len(body)), **headers}
        if (span := current()) is not None:
            fields["traceparent"] = span.traceparent
        pool = await self._connections()
        async with pool.stream("POST", url, headers=list(fields.items()), content=body) as response:
            size = 0
            async for piece in response.aiter_stream():  # so that the connection can be used again
                size += len(piece)
                if size > _MAX_RESPONSE_BYTES:
                    break
            if 200 <= response.status < 300:
                return Outcome()
            return Outcome(f"STATUS_{response.status}", _retry_after(response.headers))


def _context(authorities: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _retry_after(headers: list[tuple[bytes, bytes]]) -> float | None:
    """Return the seconds of `Retry-After`; dates are ignored."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return float(value)
    return None
