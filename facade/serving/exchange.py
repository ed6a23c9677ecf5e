"""A request and its response on a connection, without uvicorn's copies of bodies."""

import asyncio
from collections import deque
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

BUFFERS = "dicomstore.buffers"
"""ASGI extension: a message may have a list of buffers instead of a body, so that they need not be joined."""

UPGRADE = "dicomstore.upgrade"
"""ASGI extension: the response may have status 101. Then both bodies are the bytes of the connection in each direction,
without end, and the connection ends with the response. It also ends with a response of another status."""

_SMALL_BYTES = 64 * 1024
"""Buffers up to this total size are joined, because that is faster than passing on several buffers."""


class Exchange:
    """Passes the bodies of one request and its response between the connection and the application.

    uvicorn's cycle does everything else; its state is updated accordingly. Request bodies are passed on as the chunks
    of the parser. Response bodies may be `buffers` (the ASGI extension `BUFFERS`), which are written to the transport
    without joining. The head of a response is written together with the first bytes of its body if these follow at
    once: one system call less, and the client wakes up once instead of twice.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._runs: deque[bytes] = deque()
        self._run_bytes = 0
        self._has_ended = False  # and the application knows
        self._head = b""
        self.can_upgrade = False
        self._is_upgraded = False

    def allow_upgrade(self) -> None:
        """Allow a response with status 101; everything that the client sends from now on is taken as its body."""
        self.can_upgrade = True
        self._cycle.more_body = True

    def take(self, run: bytes) -> None:
        """Add a chunk of the request body; pauses reading from the socket if the application does not keep up."""
        self._runs.append(run)
        self._run_bytes += len(run)
        if self._run_bytes > HIGH_WATER_LIMIT:
            self._cycle.flow.pause_reading()
        self._cycle.message_event.set()

    async def receive(self) -> Any:
        """Return the next ASGI message with a chunk of the body; small queued chunks are joined."""
        cycle = self._cycle
        while not (self._runs or cycle.disconnected or cycle.response_complete or self._must_end(cycle)):
            if cycle.waiting_for_100_continue and not cycle.transport.is_closing():
                cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                cycle.waiting_for_100_continue = False
            cycle.flow.resume_reading()
            cycle.message_event.clear()
            await cycle.message_event.wait()
        if cycle.disconnected or cycle.response_complete:
            return {"type": "http.disconnect"}
        if self._run_bytes <= _SMALL_BYTES:
            body = b"".join(self._runs)
            self._runs.clear()
        else:
            body = self._runs.popleft()
        self._run_bytes -= len(body)
        more_body = bool(self._runs) or cycle.more_body
        self._has_ended = not more_body
        return {"type": "http.request", "body": body, "more_body": more_body}

    def _must_end(self, cycle: RequestResponseCycle) -> bool:
        """Return whether the application does not know yet that the body has ended."""
        return not cycle.more_body and not self._has_ended

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
        if self.can_upgrade:
            self._is_upgraded = message["status"] == 101
            cycle.keep_alive = self._is_upgraded
            cycle.chunked_encoding = False if self._is_upgraded else None
        written = _Written()
        transport: Any = cycle.transport
        cycle.transport = cast("asyncio.Transport", written)
        try:
            await cycle.send(message)  # does not suspend: the transport takes more
        finally:
            cycle.transport = transport
        cycle.keep_alive = cycle.keep_alive and not self._is_upgraded
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
        elif self._is_upgraded:
            pass
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
