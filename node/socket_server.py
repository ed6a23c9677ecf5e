"""Calls of the contract from other processes of this machine, see `common.process.socket_calls`.

They pass through the same interceptors as those over gRPC. Their peer is "local".
"""

import asyncio
import logging
import socket
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import orjson
from grpc.aio import AbortError, AioRpcError

from common.process.socket_calls import END, FRAME, HEAD, MESSAGE, RICH_STATUS, STATUS, enlarge_buffer
from common.telemetry.neighbours import is_trusted
from node.calls import FAULT, CallContext, LocalServer, Status
from node.listener import Listener
from server.bootstrap.grpc_server import MAX_RECEIVED_BYTES
from server.model.buffer import Buffer

PEER = "local"

_BUFFER_BYTES = 64 << 10
_MAX_WAITING = 1
"""Messages of a client that wait for the handler; then the client must wait, too."""

_OK = FRAME.pack(6, STATUS) + b'[0,""]'
_WRITE_BYTES = 1 << 20
_log = logging.getLogger("dicomstore")


@asynccontextmanager
async def serving(
    listener: socket.socket, server: LocalServer, *, is_shared: bool, stop_seconds: float
) -> AsyncIterator[None]:
    """Serve calls until the context is left; then calls in progress have some time to end.

    Args:
        listener: a listening socket.
        is_shared: other processes accept from it, too.
    """
    connections: set[_Connection] = set()

    async def connect(connected: socket.socket) -> None:
        if not is_trusted(connected):
            connected.close()
            return
        enlarge_buffer(connected)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(server, connections), connected
            )
        except OSError:  # the client has disconnected
            connected.close()

    accepting = Listener(listener, connect, connections, is_shared=is_shared)
    try:
        yield
    finally:
        accepting.close()
        tasks = {task for connection in connections if (task := connection.task) is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=stop_seconds)
        for connection in list(connections):
            connection.close()
        if tasks:
            await asyncio.wait(tasks)


class _Context(CallContext):
    def peer(self) -> str:
        return PEER


class _Connection(asyncio.BufferedProtocol):
    """The connection of a client, and its call.

    task: that of the call in progress; None between calls.
    """

    def __init__(self, server: LocalServer, connections: "set[_Connection]") -> None:
        self._server = server
        self._connections = connections
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._start = self._end = 0
        self._large: bytearray | None = None
        """Payload of a frame that is larger than the buffer, while it arrives."""
        self._large_kind = self._large_filled = 0
        self._head: list[Any] | None = None
        self._messages: deque[bytes | bytearray] = deque()
        self._has_ended = False
        self._is_paused = False
        self._change: asyncio.Future[None] | None = None  # of these three, while the call waits for it
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BYTES)
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        """Close the connection; a call in progress is cancelled."""
        self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._large is not None:
            return memoryview(self._large)[self._large_filled :]
        return self._buffer[self._end :]

    def buffer_updated(self, count: int) -> None:
        if self._large is None:
            self._end += count
            self._take_frames()
            return
        self._large_filled += count
        if self._large_filled == len(self._large):
            payload, self._large = self._large, None
            self._received(self._large_kind, payload)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    def _take_frames(self) -> None:
        while self._end - self._start >= FRAME.size:
            length, kind = FRAME.unpack_from(self._buffer, self._start)
            begin = self._start + FRAME.size
            if length > MAX_RECEIVED_BYTES:
                self.close()
                return
            if begin + length <= self._end:
                self._start = begin + length
                self._received(kind, bytes(self._buffer[begin : self._start]))
            elif FRAME.size + length > _BUFFER_BYTES:
                self._large, self._large_kind, self._large_filled = bytearray(length), kind, self._end - begin
                self._large[: self._large_filled] = self._buffer[begin : self._end]
                self._start = self._end
            else:
                break
        rest = bytes(self._buffer[self._start : self._end])
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _received(self, kind: int, payload: bytes | bytearray) -> None:
        if kind == HEAD and self.task is None and self._head is None:
            self._head = orjson.loads(payload)
            return
        if self.task is None and self._head is None:
            return  # the call has ended before the client has
        if kind == MESSAGE:
            self._messages.append(payload)
            if len(self._messages) > _MAX_WAITING:
                self._transport.pause_reading()
        elif kind == END:
            self._has_ended = True
        else:
            self.close()
            return
        if self._head is not None:  # the first frame after it
            head, self._head = self._head, None
            self.task = asyncio.get_running_loop().create_task(self._run(*head))
        self._wake()

    async def _run(self, method: str, seconds: float | None, stated: list[list[str]]) -> None:
        metadata = tuple((key, value) for key, value in stated)
        context = _Context(metadata, seconds)
        status = Status(grpc.StatusCode.OK)
        try:
            handler = await self._server.handler(method, metadata)
            read = getattr(handler.request_deserializer, "uncopied", handler.request_deserializer)
            parts_of = _parts_of(handler.response_serializer)
            async with asyncio.timeout(seconds):
                if handler.unary_unary is not None:
                    response = await handler.unary_unary(read(self._messages.popleft()), context)
                    self._end_call([*_framed(parts_of(response)), _OK])
                    return
                if handler.request_streaming:
                    responses = handler.stream_stream(self._requests(read), context)
                else:
                    responses = handler.unary_stream(read(self._messages.popleft()), context)
                async with aclosing(responses):
                    async for response in responses:
                        self._transport.writelines(_framed(parts_of(response)))
                        del response
                        while self._is_paused:
                            await self._changed()
                        if self._transport.is_closing():
                            return
        except TimeoutError:
            status = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        except AbortError:
            status = context.status
        except AioRpcError as error:
            status = Status(error.code(), error.details() or "")
        except Exception as error:  # noqa: BLE001 - the client gets a status
            _log.error("unexpected fault method=%s", method, exc_info=error)
            status = FAULT
        found = next((value for key, value in status.trailing_metadata if key == RICH_STATUS), b"")
        rich = b64encode(found if isinstance(found, bytes) else found.encode()).decode()
        self._end_call(_framed([orjson.dumps([status.code.value[0], status.details, rich])], STATUS))

    def _end_call(self, frames: list[Buffer]) -> None:
        """Send the last frames; the client may begin another call then."""
        self.task = None
        self._messages.clear()
        self._has_ended = False
        self._transport.writelines(frames)
        self._transport.resume_reading()

    async def _requests(self, read: Callable[[bytes | bytearray], Any]) -> AsyncIterator[Any]:
        while True:
            while not self._messages:
                if self._has_ended:
                    return
                await self._changed()
            message = self._messages.popleft()
            if len(self._messages) == _MAX_WAITING:
                self._transport.resume_reading()
            yield read(message)
            del message

    async def _changed(self) -> None:
        self._change = asyncio.get_running_loop().create_future()
        await self._change

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


def _framed(parts: list[Buffer], kind: int = MESSAGE) -> list[Buffer]:
    """Return a frame with these parts of its payload."""
    return [FRAME.pack(sum(map(len, parts)), kind), *parts]


def _parts_of(serializer: Any) -> Callable[[Any], list[Buffer]]:
    """Return a function that returns a message in serialised parts."""
    parts: Callable[[Any], list[Buffer]] | None = getattr(serializer, "parts", None)
    return parts or (lambda response: [serializer(response)])
