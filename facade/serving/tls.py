"""TLS of the HTTP listener.

Whether a client speaks TLS is visible from the first byte that it sends, before the handshake. A client that sends a
plain HTTP request is told so, as by other servers, instead of seeing its connection closed.
"""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from common.tls import TlsFiles, server_context
from common.tls_settings import TlsSettings, listener_files
from facade.serving.admission import ClientConnections
from facade.serving.connections import HEAD_SECONDS, Connection
from facade.serving.refusals import refusal

_HANDSHAKE = 0x16
"""First byte of a TLS connection: the content type of a handshake record (RFC 8446 section 5.1)."""

_ALPN = ["http/1.1"]

_SHUTDOWN_SECONDS = 2.0
"""Time for the client's reply to the end of a TLS connection."""

_LINGER_SECONDS = 2.0

_log = logging.getLogger("facade.tls")


class HttpsListener:
    """The files and the context for new connections of a listener with TLS."""

    def __init__(self, files: TlsFiles, *, certificate_required: bool) -> None:
        self._files = files
        self._certificate_required = certificate_required
        self.context = self._new_context()

    async def watch(self) -> None:
        """Follow the changes of the files until cancelled."""
        await self._files.watch(self._use)

    def _use(self) -> None:
        self.context = self._new_context()

    def _new_context(self) -> ssl.SSLContext:
        return server_context(self._files.content, alpn=_ALPN, certificate_required=self._certificate_required)


def https_listener(settings: TlsSettings) -> HttpsListener | None:
    """Return the listener with TLS that the settings configure, or None.

    Raises:
        TlsError: its files cannot be used.
    """
    files = listener_files(settings)
    return HttpsListener(files, certificate_required=settings.tls_client_required) if files else None


async def connect(
    connection: socket.socket,
    protocol: Callable[[], asyncio.Protocol],
    https: HttpsListener,
    clients: ClientConnections,
) -> None:
    """Serve an accepted connection with TLS; it is closed if the handshake fails."""
    address = str(connection.getpeername()[0])
    if not clients.enter(address):
        connection.close()
        return
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            first = await _first_byte(connection)
        if first != _HANDSHAKE:
            await _refuse_plain(connection)
            return
        await asyncio.get_running_loop().connect_accepted_socket(
            protocol,
            connection,
            ssl=https.context,
            ssl_handshake_timeout=HEAD_SECONDS,
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
        )
    except ssl.SSLError as error:
        _log.info("TLS handshake failed client=%s reason=%s", address, error.reason)
        connection.close()
    except OSError:  # the client has disconnected, or a timeout
        connection.close()
    finally:
        clients.leave(address)


class TlsConnection(asyncio.Protocol):
    """A connection of uvicorn's listener before its handshake; has uvicorn's signature of protocol classes."""

    def __init__(self, **arguments: Any) -> None:
        self._state = arguments["config"].loaded_app.state
        self._arguments = arguments
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the socket over from the transport, before that reads from it."""
        transport.pause_reading()
        connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        connection.setblocking(False)
        transport.abort()  # closes its descriptor only
        self._task = asyncio.create_task(
            connect(connection, lambda: Connection(**self._arguments), self._state.https, self._state.connections)
        )


async def _first_byte(connection: socket.socket) -> int:
    """Wait for the first byte and return it, without taking it from the socket.

    Raises:
        OSError: the client has disconnected.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            first = connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            readable = loop.create_future()
            loop.add_reader(connection, _set, readable)
            try:
                await readable
            finally:
                loop.remove_reader(connection)
            continue
        if not first:
            raise ConnectionResetError
        return first[0]


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _refuse_plain(connection: socket.socket) -> None:
    """Answer a plain HTTP request, and read its rest for a moment: closing earlier could discard the response."""
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(OSError):
        async with asyncio.timeout(_LINGER_SECONDS):
            await loop.sock_sendall(connection, refusal(400, "This port serves HTTPS: use a URL with https://."))
            connection.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(connection, 1 << 16):
                pass
