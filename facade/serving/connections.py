"""uvicorn's HTTP protocol with limits for clients that are slow, greedy or malicious.

uvicorn closes connections that are idle after a response, and applies flow control to slow clients. It has no limits
for the head of a request, for the framing of a body, and for the rest of a body after its response, and waits forever
for a client that reads nothing. The timeout for bodies is applied by their readers (`idle_seconds`).

The parser, llhttp, is strict: it refuses requests whose end different programs could find at different places (RFC 9112
sections 6 and 11). `refusals` checks what it leaves to its users: version, transfer coding, Host, and request target.
"""

import asyncio
from typing import Any, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from facade.errors import RETRY_AFTER_S
from facade.serving.admission import ClientConnections
from facade.serving.client_certificate import CERTIFICATE_NAMES, certificate_names
from facade.serving.exchange import BUFFERS, UPGRADE, Exchange
from facade.serving.refusals import fault_of, refusal
from facade.serving.websocket import is_offered

HEAD_SECONDS = 30.0
"""Time limit of request heads: the first from the start of the connection, others from their first byte. It is also the
time limit of the rest of a body whose request has been answered."""

MAX_HEAD_BYTES = 64 * 1024
"""Size limit of a request line and headers, and of the framing between two bytes of a body: chunk extensions and
trailers."""

MAX_WAITING_REQUESTS = 32
"""Requests that a client may send before an earlier one is answered (pipelining); the connection ends with the last."""


class _Parser(httptools.HttpRequestParser):
    """Parses requests with offers of a protocol upgrade as requests in HTTP/1.1 (RFC 9110 section 7.8).

    The application decides about an offer of WebSocket; all others are declined. httptools by itself ends a request
    with an offer after its head, so that its body would be lost.
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
            self._connection.serve_offer(data[offered.args[0] :])


class Connection(HttpToolsProtocol):
    """One connection. It is aborted if the client reads none of the written data for `idle_seconds`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        self._application: Any = self.app
        self._idle_seconds: float = self._application.state.settings.idle_seconds
        self._clients: ClientConnections = self._application.state.connections
        self._client_address: str | None = None  # if its connections are counted
        self._certificate_names: list[str] = []
        self.app = self._serve
        self._exchanges: dict[RequestResponseCycle, Exchange] = {}  # requests not started yet; several with pipelining
        self._exchange: Exchange | None = None  # the request with a body being received
        self.offers_upgrade = False
        """Whether the client offers a protocol upgrade, as Java's HTTP client does in each request."""
        self._tunnel: Exchange | None = None  # receives what follows a request that offers WebSocket
        self._in_body = False
        self._in_request_line = False
        self._head_bytes = 0  # received while the head is incomplete
        self._parsed_bytes = 0  # of its target and headers
        self._framing_bytes = 0  # of a body, since its last byte
        self._refusal: tuple[int, str] | None = None
        self._is_ending = False  # what follows the requests received so far is ignored
        self._head_due: asyncio.TimerHandle | None = None
        self._rest_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time limit of the first request head, or refuse the connection if its client has too many."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self._clients.enter(address):
            retry = f"retry-after: {RETRY_AFTER_S}\r\n"
            transport.write(refusal(503, "Too many connections from this address.", retry))
            transport.close()
            return
        self._client_address = address
        self._certificate_names = certificate_names(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all time limits."""
        if self._client_address is not None:
            self._clients.leave(self._client_address)
        self._end_head()
        self._end_rest()
        self._end_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes of a head or a body, and check the limits of the head and of the framing."""
        if self._is_ending:
            return
        if self._tunnel is not None:
            self._tunnel.take(data)
            return
        if self._head_due is None and not self._in_body:
            self._expect_head()
        self._framing_bytes += len(data)
        super().data_received(self._with_ascii_line(data) if self._in_request_line else data)
        if self.transport.is_closing():
            return
        if self._head_due is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refusal = _too_long(self._in_request_line)
                self.send_400_response("")
        elif self._in_body and self._framing_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The chunks of the body have too long extensions or trailers.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what was received, and close the connection.

        The response must not be taken for a part of another one, or for that of an earlier request (RFC 9112 section
        9.3.2): earlier requests are answered first, and a response that has started is aborted.
        """
        status, text = self._refusal or (400, msg)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not self._in_body:
                cycle.keep_alive = False  # the connection is closed after its response
                self._is_ending = True
                self._end_head()
                return
            if cycle.response_started or self.pipeline:
                self.transport.abort()
                return
        self.transport.write(refusal(status, text))
        self.transport.close()

    def serve_offer(self, rest: bytes) -> None:
        """Parse the request again without the offer, then the rest of the data unless it may belong to a WebSocket."""
        version, method = self.parser.get_http_version().encode(), self.parser.get_method()
        offers_websocket = is_offered(method, version, self.headers)
        kept = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(kept))
        self.parser = _Parser(self)
        if not offers_websocket:
            self.parser.feed_data(head + rest)
            return
        self.parser.feed_data(head)
        self._tunnel = self._exchange
        assert self._tunnel is not None
        self._tunnel.allow_upgrade()
        if rest:
            self._tunnel.take(rest)

    def on_message_begin(self) -> None:
        """Handle the start of a request."""
        self._parsed_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Handle a piece of the request target."""
        self._parsed_bytes += len(url)
        if self._parsed_bytes > MAX_HEAD_BYTES:
            self._refuse(*_too_long(True))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a header; those after a body are ignored (RFC 9110 section 6.5.1)."""
        if self._in_body:
            return
        self._parsed_bytes += len(name) + len(value)
        if self._parsed_bytes > MAX_HEAD_BYTES:
            self._refuse(*_too_long(False))
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Handle the end of a request head."""
        self.offers_upgrade = self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)
        if self.offers_upgrade:
            return
        if fault := fault_of(self.url, self.parser.get_http_version(), self.headers):
            self._refuse(*fault)
        if len(self.pipeline) >= MAX_WAITING_REQUESTS:
            self._refuse(400, "Too many requests wait for a response.")
        self._end_head()
        self._in_body = True
        self._framing_bytes = 0
        super().on_headers_complete()
        self._exchange = self._exchanges[self.cycle] = Exchange(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Handle a chunk of the body."""
        self._framing_bytes = 0
        if not self.offers_upgrade and not self.cycle.response_complete and self._exchange is not None:
            self._exchange.take(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request."""
        if self.offers_upgrade:
            return
        self._in_body = False
        if self._rest_due is not None:  # the response was earlier
            self._end_rest()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Handle the end of a response; the rest of the body of its request must arrive soon."""
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._rest_due = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def shutdown(self) -> None:
        """Close the connection after the responses in progress; those without end are told to end."""
        super().shutdown()
        self._application.state.stopping.set()

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
        scope["extensions"] = {BUFFERS: {}, UPGRADE: {}} if exchange.can_upgrade else {BUFFERS: {}}
        if self._certificate_names:
            scope[CERTIFICATE_NAMES] = self._certificate_names
        try:
            await self._application(scope, exchange.receive, exchange.send)
        finally:
            exchange.flush_head()

    def _refuse(self, status: int, text: str) -> NoReturn:
        """Refuse the request from within a callback of the parser, which ends with an error."""
        self._refusal = (status, text)
        raise ValueError(text)

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

    def _end_rest(self) -> None:
        if self._rest_due is not None:
            self._rest_due.cancel()
            self._rest_due = None

    def _end_stall(self) -> None:
        if self._read_due is not None:
            self._read_due.cancel()
            self._read_due = None


def _too_long(is_target: bool) -> tuple[int, str]:
    """Return status and text for a head that is too long."""
    if is_target:
        return 414, f"The request target is longer than {MAX_HEAD_BYTES} bytes."
    return 431, f"The request line and headers are longer than {MAX_HEAD_BYTES} bytes."
