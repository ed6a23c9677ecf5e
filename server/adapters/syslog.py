"""Syslog over TLS (RFC 5425): octet-counted messages to one server.

The protocol has no acknowledgement, so `send` waits until the TCP of the other host has acknowledged every byte.
"""

import array
import asyncio
import fcntl
import ssl
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from common.tls import TlsError, TlsFiles, TlsPaths, use_certificate

DEFAULT_PORT = 6514
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_SEND_SECONDS = 30.0
_POLL_SECONDS = 0.01
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsSyslogServer:
    """SyslogServer (see `server.ports.audit`).

    Args:
        url: tls://HOST or tls://HOST:PORT.
        paths: files with authorities, and the certificate and key of this client, if the server requires one. They are
            read for each connection.

    Raises:
        ValueError: the URL has another form. TlsError: the files cannot be used.
    """

    def __init__(self, url: str, paths: TlsPaths) -> None:
        parts = urlsplit(url)
        if parts.scheme != "tls" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError("audit_syslog must be tls://HOST or tls://HOST:PORT.")
        self.host = parts.hostname
        self.port = parts.port or DEFAULT_PORT
        self._paths = paths
        self._context()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["_Connection"]:
        """See the port."""
        try:
            context = self._context()
        except TlsError as error:
            raise OSError(str(error)) from error
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                self.host,
                self.port,
                ssl=context,
                ssl_handshake_timeout=_CONNECT_SECONDS,
                ssl_shutdown_timeout=_CLOSE_SECONDS,
            )
        # `drain` waits until the kernel has everything. With a limit of 0, asyncio's TLS may wait forever.
        writer.transport.set_write_buffer_limits(high=1, low=0)
        connection = _Connection(reader, writer)
        try:
            yield connection
        finally:
            await connection.close()

    def _context(self) -> ssl.SSLContext:
        content = TlsFiles(self._paths, "audit_syslog").content
        context = ssl.create_default_context(cadata=content.ca.decode("ascii") or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        if content.certificate:
            use_certificate(context, content)
        return context


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closed = asyncio.create_task(reader.read(1))  # servers send nothing

    async def close(self) -> None:
        """Close the connection, if necessary without a goodbye."""
        self._closed.cancel()
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.wait([self._closed])
                await self._writer.wait_closed()
        except (OSError, ssl.SSLError):  # it was broken already
            pass
        finally:
            if self._closed.done() and not self._closed.cancelled():
                self._closed.exception()  # marks it as retrieved
            self._writer.transport.abort()

    async def send(self, messages: Sequence[bytes]) -> None:
        """See the port."""
        self._require_open()
        self._writer.write(b"".join(b"%d %b" % (len(message), message) for message in messages))
        async with asyncio.timeout(_SEND_SECONDS):
            await self._writer.drain()
            while self._unacknowledged():
                self._require_open()
                await asyncio.sleep(_POLL_SECONDS)
        self._require_open()

    def _require_open(self) -> None:
        if self._closed.done() or self._writer.is_closing():
            raise ConnectionError("the syslog server closed the connection")

    def _unacknowledged(self) -> int:
        """Return the number of bytes in the send queue of the socket (SIOCOUTQ)."""
        socket = self._writer.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            raise ConnectionError("the connection to the syslog server is closed")
        queued = array.array("i", [0])
        fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, queued)
        return queued[0]
