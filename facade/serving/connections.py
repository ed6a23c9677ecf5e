"""Connections that do not wait for ever: uvicorn's protocol, with bounds for heads of requests and for slow readers.

uvicorn closes a connection that is idle after an answer, and stops reading and writing when its peer is slow. It
waits for ever, and without bound, for the head of a request, and for a peer that reads nothing at all. A body is
waited for where it is read (`idle_seconds`).
"""

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

BUFFERS = "dicomstore.buffers"
"""ASGI extension: a message has a list of buffers in place of a body, so that they need not be joined."""

HEAD_SECONDS = 30.0
"""For a connection to bring the head of its first request, and for each further head from its first byte."""

_SMALL_BYTES = 64 * 1024
"""No more than this together is joined, which costs less than to pass it on in several buffers."""

MAX_HEAD_BYTES = 64 * 1024
"""Most bytes of a request line and headers."""


class _Exchange:
    """A request and its response, without the copies that uvicorn makes.

    uvicorn's own objects do everything else; they are told of what passes them by. Bodies of requests come as the runs
    that the parser has cut out. Bodies of responses may come as `buffers` (the ASGI extension `BUFFERS`),
    which are handed to the transport one by one.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._runs: deque[bytes] = deque()
        self._run_bytes = 0

    def take(self, run: bytes) -> None:
        """Take a run of the request's body; stop reading if it is not read as fast."""
        self._runs.append(run)
        self._run_bytes += len(run)
        if self._run_bytes > HIGH_WATER_LIMIT:
            self._cycle.flow.pause_reading()
        self._cycle.message_event.set()

    async def receive(self) -> Any:
        """Return the next run of the body, or that there are no more; small ones that wait are joined."""
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
        buffers = message.pop("buffers", None)
        if buffers and self._cycle.scope["method"] != "HEAD":
            await self._send_buffers(buffers)
            if message["more_body"]:
                return
        await self._cycle.send(message)

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
        if size < _SMALL_BYTES:
            cycle.transport.write(b"".join(buffers))
        else:
            cycle.transport.writelines(buffers)


class _Parser(httptools.HttpRequestParser):
    """Parses requests. An offer to change to another protocol is declined by reading on (RFC 9110 section 7.8).

    The parser by itself ends such a request after its head, so that its body would be lost.
    """

    def __init__(self, connection: "Connection") -> None:
        super().__init__(connection)
        self._connection = connection

    def feed_data(self, data: Any) -> None:
        """Take bytes of a head or a body."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            if not self._connection.offers_upgrade:
                raise
            self._connection.decline_upgrade(data[offered.args[0] :])


class Connection(HttpToolsProtocol):
    """One connection. What was written to a peer that has read nothing of it for `idle_seconds` is thrown away."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        self._application: Any = self.app
        self._idle_seconds: float = self._application.state.settings.idle_seconds
        self.app = self._serve
        self._exchanges: dict[RequestResponseCycle, _Exchange] = {}  # those not begun, several if they are pipelined
        self._exchange: _Exchange | None = None  # whose body is being received
        self._in_body = False
        self._in_request_line = False
        self._head_bytes = 0
        self._head_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all time limits."""
        self._end_head()
        self._end_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a head or a body."""
        if self._head_due is None and not self._in_body:
            self._expect_head()
        super().data_received(self._with_ascii_line(data) if self._in_request_line else data)
        if self._head_due is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request line and headers are too long.")

    @property
    def offers_upgrade(self) -> bool:
        """Whether the client would also speak another protocol, as Java's HTTP client does in each request."""
        return bool(self.parser.should_upgrade()) and any(name == b"upgrade" for name, _ in self.headers)

    def decline_upgrade(self, rest: bytes) -> None:
        """Read the request again without the offer, and then what follows its head."""
        version = self.parser.get_http_version().encode()
        kept = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(kept))
        self.parser = _Parser(self)
        self.parser.feed_data(head + rest)

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self.offers_upgrade:
            return
        self._end_head()
        self._in_body = True
        super().on_headers_complete()
        self._exchange = self._exchanges[self.cycle] = _Exchange(self.cycle)

    def on_body(self, body: bytes) -> None:
        """A run of the body is there."""
        if not self.offers_upgrade and not self.cycle.response_complete and self._exchange is not None:
            self._exchange.take(body)

    def on_message_complete(self) -> None:
        """The body, if there is one, is there."""
        if self.offers_upgrade:
            return
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        super().pause_writing()
        self._end_stall()
        self._read_due = self.loop.call_later(self._idle_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The peer has read most of what was written."""
        super().resume_writing()
        self._end_stall()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the application serve a request; uvicorn passes the methods of the request's cycle."""
        exchange = self._exchanges.pop(send.__self__)
        scope["extensions"] = {BUFFERS: {}}
        await self._application(scope, exchange.receive, exchange.send)

    def _with_ascii_line(self, data: bytes) -> bytes:
        """Percent-encode what is not ASCII in a request line: curl sends it as typed, and the parser refuses it.

        RFC 3986 wants the client to do so.
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
