"""WebSockets (RFC 6455): a GET request with status 101, through the same routes and middleware as all requests.

Therefore host, origin, credentials, limits and the access log need no second implementation, and a refusal is a normal
HTTP response. Extensions are not negotiated: compression would cost each connection up to 300 KiB.
"""

import asyncio
import base64
import binascii
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.utils import accept_key

from facade.errors import CoreFailure, Refusal
from facade.serving.exchange import UPGRADE
from facade.timeouts import IdleTimeout

VERSION = "13"

_NONCE_BYTES = 16
_CLOSE_SECONDS = 2.0
"""Time that a client has to answer a close frame."""

_MAX_RECEIVED_BYTES = 4096
"""Size limit of a message from the client; they are ignored."""

_NUMBER_BYTES = 8

_MAX_UNCONFIRMED = 16
"""Batches for which the client has not confirmed that it has read them."""

_ACKNOWLEDGE_SECONDS = 5.0
"""Time between two acknowledgements."""

_log = logging.getLogger(__name__)
_frame_log = logging.getLogger("facade.websocket")
_frame_log.propagate = False  # it would log the content of frames

CLOSE_CODES: Mapping[str, CloseCode] = {
    "SHUTTING_DOWN": CloseCode.GOING_AWAY,
    "UNAUTHENTICATED": CloseCode.POLICY_VIOLATION,
    "PERMISSION_DENIED": CloseCode.POLICY_VIOLATION,
    "BUSY": CloseCode.TRY_AGAIN_LATER,
    "RATE_LIMITED": CloseCode.TRY_AGAIN_LATER,
    "UNAVAILABLE": CloseCode.TRY_AGAIN_LATER,
    "DEADLINE_EXCEEDED": CloseCode.TRY_AGAIN_LATER,
    "DATABASE_UNAVAILABLE": CloseCode.TRY_AGAIN_LATER,
    "COMPLETE": CloseCode.NORMAL_CLOSURE,
}
"""By reason of the end, the close code (RFC 6455 section 7.4.1); INTERNAL_ERROR for others. The reason is sent, too."""


def is_offered(method: bytes, version: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether a request offers WebSocket and has no body. Names of headers are in lower case."""
    offered = b",".join(value for name, value in headers if name == b"upgrade")
    has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in headers)
    names = {protocol.strip().lower() for protocol in offered.split(b",")}
    return method == b"GET" and version == b"1.1" and b"websocket" in names and not has_body


def can_be_websocket(scope: Scope) -> bool:
    """Return whether the response to a request may be a WebSocket, to which CORS does not apply."""
    return UPGRADE in scope.get("extensions", ())


def accept_headers(request: Request) -> dict[str, str]:
    """Return the headers of a response that accepts the offer of a request.

    Raises:
        Refusal: 426, the request has no offer, or one of another version; 400, its key is malformed.
    """
    if not can_be_websocket(request.scope):
        raise Refusal(426, "This is a WebSocket.", {"Upgrade": "websocket", "Connection": "upgrade"})
    if request.headers.getlist("sec-websocket-version") != [VERSION]:
        raise Refusal(426, f"The version of WebSocket must be {VERSION}.", {"Sec-WebSocket-Version": VERSION})
    keys = request.headers.getlist("sec-websocket-key")
    try:
        nonces = [base64.b64decode(key, validate=True) for key in keys]
    except binascii.Error:
        nonces = []
    if [len(nonce) for nonce in nonces] != [_NONCE_BYTES]:
        raise Refusal(400, "The header Sec-WebSocket-Key is malformed.")
    return {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Accept": accept_key(keys[0])}


@dataclass(frozen=True, slots=True)
class Batch:
    """Text messages, which may be none; when the client has them all, it has everything up to `checkpoint`, if any."""

    texts: Sequence[bytes]
    checkpoint: str


class WebSocketResponse(Response):
    """Sends `batches` of text messages, each followed by a ping; a pong confirms that the client has read the batch.

    `acknowledge` is called with the checkpoint of the last confirmed batch: from time to time, and after the end. A
    batch without texts keeps the connection alive. Messages of the client are ignored.

    The connection is closed with one of `CLOSE_CODES` when `batches` ends or fails with a `CoreFailure`, and when
    `stopping` is set. A client that reads nothing, or answers no ping, for `idle_seconds` is disconnected. One batch is
    in memory, and at most `_MAX_UNCONFIRMED` are on their way: then the next one waits for a pong.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        batches: AsyncGenerator[Batch, None],
        *,
        source: AsyncGenerator[Any, None],
        acknowledge: Callable[[str], Awaitable[None]],
        stopping: asyncio.Event,
        idle_seconds: float,
    ) -> None:
        self.status_code = 101
        self.background = None
        self.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        self._batches = batches
        self._source = source
        self._acknowledge = acknowledge
        self._stopping = stopping
        self._idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        async with aclosing(self._source), aclosing(self._batches):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            reason = await _Connection(receive, send, self._idle_seconds).serve(
                self._batches, self._acknowledge, self._stopping
            )
            _log.info("event channel ended reason=%s request_id=%s", reason, scope["state"]["request_id"])
            await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch on its way: its number, which the ping has, its checkpoint, and when it was sent."""

    number: int
    checkpoint: str
    at: float


class _Connection:
    """The state of one WebSocket."""

    def __init__(self, receive: Receive, send: Send, idle_seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._idle_seconds = idle_seconds
        self._protocol = Protocol(Side.SERVER, max_size=_MAX_RECEIVED_BYTES, logger=_frame_log)
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._number = 0  # of the last batch
        self._unconfirmed: deque[_Sent] = deque()
        self._has_room = asyncio.Event()
        self._confirmed = ""  # the checkpoint of the last confirmed batch that has one
        self._acknowledged = ""
        self._has_confirmed = asyncio.Event()

    async def serve(
        self,
        batches: AsyncGenerator[Batch, None],
        acknowledge: Callable[[str], Awaitable[None]],
        stopping: asyncio.Event,
    ) -> str:
        """Serve until one of both sides ends the connection; return the reason."""
        sending = asyncio.create_task(self._send_batches(batches))
        receiving = asyncio.create_task(self._receive_frames())
        stopped = asyncio.create_task(stopping.wait())
        acknowledging = asyncio.create_task(self._acknowledge_from_time_to_time(acknowledge))
        tasks: tuple[asyncio.Task[Any], ...] = (sending, receiving, stopped, acknowledging)
        try:
            await asyncio.wait((sending, receiving, stopped), return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                reason = receiving.result()
            else:
                reason = sending.result() if sending.done() else "SHUTTING_DOWN"
                await self._close(reason, sending, receiving)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self._acknowledge(acknowledge)
        return reason

    async def _send_batches(self, batches: AsyncGenerator[Batch, None]) -> str:
        """Send all batches; return the reason of the end."""
        idle_timeout = IdleTimeout(self._idle_seconds)
        try:
            async for batch in batches:
                now = self._loop.time()
                if self._unconfirmed and now - self._unconfirmed[0].at > self._idle_seconds:
                    return _SILENT
                self._number += 1
                self._unconfirmed.append(_Sent(self._number, batch.checkpoint, now))
                for text in batch.texts:
                    self._protocol.send_text(text)
                self._protocol.send_ping(self._number.to_bytes(_NUMBER_BYTES, "big"))
                with idle_timeout:
                    await self._flush()
                while len(self._unconfirmed) >= _MAX_UNCONFIRMED:
                    self._has_room.clear()
                    with idle_timeout:
                        await self._has_room.wait()
                await asyncio.sleep(0)  # writing to a connection need not suspend this task
        except CoreFailure as failure:
            return failure.reason or failure.code
        except TimeoutError:
            return _SILENT
        finally:
            idle_timeout.close()
        return "COMPLETE"

    async def _receive_frames(self) -> str:
        """Answer the frames of the client until it ends the connection; return the reason."""
        while (message := await self._receive())["type"] == "http.request":
            self._protocol.receive_data(message["body"])
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.PONG:
                    self._confirm(bytes(frame.data))
            await self._flush()
            if self._protocol.state is not OPEN:
                return _CLOSED if self._protocol.parser_exc is None else _MALFORMED
        return _GONE

    def _confirm(self, data: bytes) -> None:
        """Handle a pong. It confirms all earlier pings as well (RFC 6455 section 5.5.3)."""
        number = int.from_bytes(data, "big") if len(data) == _NUMBER_BYTES else 0
        while self._unconfirmed and self._unconfirmed[0].number <= number:
            self._confirmed = self._unconfirmed.popleft().checkpoint or self._confirmed
        self._has_room.set()
        if self._confirmed != self._acknowledged:
            self._has_confirmed.set()

    async def _acknowledge_from_time_to_time(self, acknowledge: Callable[[str], Awaitable[None]]) -> None:
        while True:
            await self._has_confirmed.wait()
            self._has_confirmed.clear()
            await self._acknowledge(acknowledge)
            await asyncio.sleep(_ACKNOWLEDGE_SECONDS)

    async def _acknowledge(self, acknowledge: Callable[[str], Awaitable[None]]) -> None:
        confirmed = self._confirmed
        if confirmed == self._acknowledged:
            return
        # A checkpoint that is not recorded is covered by the next one; without one, its events are sent again.
        with contextlib.suppress(CoreFailure):
            await acknowledge(confirmed)
            self._acknowledged = confirmed

    async def _close(self, reason: str, sending: asyncio.Task[str], receiving: asyncio.Task[str]) -> None:
        """Send a close frame, and give the client a short time to answer it."""
        if reason == _SILENT:
            return
        sending.cancel()
        await asyncio.wait((sending,))
        if self._protocol.state is OPEN:
            self._protocol.send_close(CLOSE_CODES.get(reason, CloseCode.INTERNAL_ERROR), reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._flush()
                await asyncio.wait((receiving,))

    async def _flush(self) -> None:
        """Write the frames that are ready, in their order."""
        async with self._lock:
            if frames := [data for data in self._protocol.data_to_send() if data]:
                await self._send({"type": "http.response.body", "body": b"".join(frames), "more_body": True})


_CLOSED = "CLIENT_CLOSED"
_GONE = "CLIENT_GONE"
_MALFORMED = "MALFORMED_FRAME"
_SILENT = "CLIENT_SILENT"
