"""uvicorn's HTTP protocol with time and size limits for request heads, and a timeout for clients that do not read.

uvicorn closes connections that are idle after a response, and applies flow control to slow clients. It has no limits
for the head of a request, and waits forever for a client that reads nothing. The timeout for bodies is applied by their
readers (`idle_seconds`).
"""

import asyncio
from collections import deque
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

BUFFERS = "dicomstore.buffers"
"""ASGI extension: a message may have a list of buffers instead of a body, so that they need not be joined."""

HEAD_SECONDS = 30.0
"""Time limit of request heads: the first from the start of the connection, others from their first byte."""

_SMALL_BYTES = 64 * 1024
"""Buffers up to this total size are joined, because that is faster than passing on several buffers."""

MAX_HEAD_BYTES = 64 * 1024
"""Size limit of a request line and headers."""


class _Exchange:
    """A request and its response, without uvicorn's copies of bodies.

    uvicorn's cycle does everything else; its state is updated accordingly. Request bodies are passed on as the chunks
    of the parser. Response bodies may be `buffers` (the ASGI extension `BUFFERS`), which are written to the transport
    without joining. The head of a response is written together with the first bytes of its body if these follow at
    once: one system call less, and the client wakes up once instead of twice.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._runs: deque[bytes] = deque()
        self._run_bytes = 0
        self._head = b""

    def take(self, run: bytes) -> None:
        """Add a chunk of the request body; pauses reading from the socket if the application does not keep up."""
        self._runs.append(run)
        self._run_bytes += len(run)
        if self._run_bytes > HIGH_WATER_LIMIT:
            self._cycle.flow.pause_reading()
        self._cycle.message_event.set()

    async def receive(self) -> Any:
        """Return the next ASGI message with a chunk of the body; small queued chunks are joined."""
        if not self._runs or self._cycle.disconnected or self._cycle.response_complete:
            message = await self._cycle.receive()
            if not self._runs or message["type"] != "http.request":
                return message
        if self._run_bytes <= _SMALL_BYTES:
            body = b"".join(self._runs)
            self._runs.clear()
        else:
            body = self._runs.popleft()
        self._run_bytes -= len(body)
        return {"type": "http.request", "body": body, "more_body": bool(self._runs) or self._cycle.more_body}

    async def send(self, message: Any) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            await self._hold_head(message)
            return
        buffers = message.get("buffers") or [message.get("body", b"")]
        if any(buffers) and self._cycle.scope["method"] != "HEAD":
            await self._send_buffers(buffers)
        self.flush_head()
        if not message.get("more_body"):
            await self._cycle.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _hold_head(self, message: Any) -> None:
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        written = _Written()
        transport: Any = cycle.transport
        cycle.transport = cast("asyncio.Transport", written)
        try:
            await cycle.send(message)  # does not suspend: the transport takes more
        finally:
            cycle.transport = transport
        self._head = b"".join(written)
        asyncio.get_running_loop().call_soon(self.flush_head)

    def flush_head(self) -> None:
        """Write the head of the response, if that has not happened yet."""
        head, self._head = self._head, b""
        if head and not self._cycle.disconnected and not self._cycle.transport.is_closing():
            self._cycle.transport.write(head)

    async def _send_buffers(self, buffers: list[bytes | memoryview]) -> None:
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        size = sum(map(len, buffers))
        if cycle.chunked_encoding:
            buffers = [b"%x\r\n" % size, *buffers, b"\r\n"]
        elif size > cycle.expected_content_length:
            raise RuntimeError("The response is longer than its Content-Length.")
        else:
            cycle.expected_content_length -= size
        head, self._head = self._head, b""
        buffers = [head, *buffers] if head else buffers
        if size < _SMALL_BYTES:
            cycle.transport.write(b"".join(buffers))
        else:
            cycle.transport.writelines(buffers)


class _Written(list[bytes]):
    """What is written to this in place of a transport."""

    write = list.append


class _Parser(httptools.HttpRequestParser):
    """Parses requests and declines protocol upgrades by continuing in HTTP/1.1 (RFC 9110 section 7.8).

    httptools by itself ends a request with an upgrade offer after its head, so that its body would be lost.
    """

    def __init__(self, connection: "Connection") -> None:
        super().__init__(connection)
        self._connection = connection

    def feed_data(self, data: Any) -> None:
        """Parse bytes of a head or a body."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            if not self._connection.offers_upgrade:
                raise
            self._connection.decline_upgrade(data[offered.args[0] :])


class Connection(HttpToolsProtocol):
    """One connection. It is aborted if the client reads none of the written data for `idle_seconds`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        self._application: Any = self.app
        self._idle_seconds: float = self._application.state.settings.idle_seconds
        self.app = self._serve
        self._exchanges: dict[RequestResponseCycle, _Exchange] = {}  # requests not started yet; several with pipelining
        self._exchange: _Exchange | None = None  # the request with a body being received
        self._in_body = False
        self._in_request_line = False
        self._head_bytes = 0
        self._head_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time limit of the first request head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all time limits."""
        self._end_head()
        self._end_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes of a head or a body, and check the limits of the head."""
        if self._head_due is None and not self._in_body:
            self._expect_head()
        super().data_received(self._with_ascii_line(data) if self._in_request_line else data)
        if self._head_due is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request line and headers are too long.")

    @property
    def offers_upgrade(self) -> bool:
        """Whether the client offers a protocol upgrade, as Java's HTTP client does in each request."""
        return bool(self.parser.should_upgrade()) and any(name == b"upgrade" for name, _ in self.headers)

    def decline_upgrade(self, rest: bytes) -> None:
        """Parse the request again without the offer, then the rest of the data."""
        version = self.parser.get_http_version().encode()
        kept = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(kept))
        self.parser = _Parser(self)
        self.parser.feed_data(head + rest)

    def on_headers_complete(self) -> None:
        """Handle the end of a request head."""
        if self.offers_upgrade:
            return
        self._end_head()
        self._in_body = True
        super().on_headers_complete()
        self._exchange = self._exchanges[self.cycle] = _Exchange(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Handle a chunk of the body."""
        if not self.offers_upgrade and not self.cycle.response_complete and self._exchange is not None:
            self._exchange.take(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request."""
        if self.offers_upgrade:
            return
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Start the timeout when the write buffer is full."""
        super().pause_writing()
        self._end_stall()
        self._read_due = self.loop.call_later(self._idle_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the timeout when the client has read most of the data."""
        super().resume_writing()
        self._end_stall()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application with the methods of the exchange instead of those of uvicorn's cycle."""
        exchange = self._exchanges.pop(send.__self__)
        scope["extensions"] = {BUFFERS: {}}
        try:
            await self._application(scope, exchange.receive, exchange.send)
        finally:
            exchange.flush_head()

    def _with_ascii_line(self, data: bytes) -> bytes:
        """Percent-encode non-ASCII bytes in a request line, which curl sends unencoded and the parser refuses.

        RFC 3986 requires the client to encode them.
        """
        line, end, rest = data.partition(b"\n")
        self._in_request_line = not end
        if line.isascii():
            return data
        return b"".join(b"%c" % byte if byte < 0x80 else b"%%%02X" % byte for byte in line) + end + rest

    def _expect_head(self) -> None:
        self._in_request_line = True
        self._head_bytes = 0
        self._head_due = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _end_head(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _end_stall(self) -> None:
        if self._read_due is not None:
            self._read_due.cancel()
            self._read_due = None
