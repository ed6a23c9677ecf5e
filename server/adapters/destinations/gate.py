"""A proxy in this process through which the library for object stores makes all connections of one destination.

The library resolves names itself, and follows redirects. The proxy permits connections to the hosts of the destination
only, and checks the address of each connection after the name has been resolved. TLS is end to end: it sees encrypted
bytes.
"""

import asyncio
import ipaddress
import socket
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from server.adapters.network.addresses import Address, PermittedAddresses

Authority = tuple[str, int]
"""Host in lower case, and port."""

_CONNECT_SECONDS = 10.0
_HEAD_SECONDS = 30.0
_MAX_HEAD_BYTES = 64 << 10
_PIECE_BYTES = 256 << 10
_DROPPED = (b"proxy-", b"connection:", b"keep-alive:")


class Gate:
    """The proxy. To be entered before use.

    Attributes:
        refused: a connection to another host or to an address that is not permitted was refused.
    """

    def __init__(self, addresses: PermittedAddresses, authorities: frozenset[Authority]) -> None:
        self._addresses = addresses
        self._authorities = authorities
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.refused = False

    async def __aenter__(self) -> Self:
        """Listen on a free port of the loopback address."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        assert self._server is not None, "it has been entered"
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "streams run in tasks"
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            pass  # the client sees the closed connection
        except asyncio.CancelledError:
            pass  # the streams of asyncio log the cancellation of a connection as an error
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, target, version = first.split(b" ")
        is_tunnel = method == b"CONNECT"
        url = urlsplit(f"//{target.decode()}" if is_tunnel else target.decode())
        authority = ((url.hostname or "").lower(), url.port or 80)
        upstream = await self._connected(authority)
        if upstream is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        to_reader, to_writer = upstream
        try:
            if is_tunnel:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = url.path + (f"?{url.query}" if url.query else "")
                kept = [line for line in lines if not line.lower().startswith(_DROPPED)]
                request = [b"%b %b %b" % (method, (path or "/").encode(), version), *kept, b"Connection: close"]
                to_writer.write(b"\r\n".join(request) + b"\r\n\r\n")
            await _relay(reader, writer, to_reader, to_writer)
        finally:
            to_writer.close()

    async def _connected(self, authority: Authority) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to a host; None if that is not permitted. Raises: OSError, TimeoutError."""
        host, port = authority
        if authority not in self._authorities:
            self.refused = True
            return None
        permitted = [address for address in await _resolved(host, port) if self._addresses.permits(address)]
        if not permitted:
            self.refused = True
            return None
        failure: Exception = OSError()
        for address in permitted:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await asyncio.open_connection(str(address), port, limit=_PIECE_BYTES)
            except (OSError, TimeoutError) as error:
                failure = error
        raise failure


async def _resolved(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    to_reader: asyncio.StreamReader,
    to_writer: asyncio.StreamWriter,
) -> None:
    """Pass bytes on in both directions until the other end has closed, or one of the connections breaks."""
    sending = asyncio.create_task(_pump(reader, to_writer))
    try:
        await _pump(to_reader, writer)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
