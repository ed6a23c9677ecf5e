"""Calls of a core on the same machine (`common.process.socket_calls`): the part of `grpc.Channel` that is used.

Each call has a connection of its own for as long as it lasts, and the thread that makes the call reads and writes it.
"""

import select
import socket
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import orjson

from common.process.socket_calls import END, FRAME, HEAD, MESSAGE, RICH_STATUS, STATUS, connect
from dimse.associations.connection import Connection
from dimse.associations.errors import AssociationLost

Metadata = tuple[tuple[str, str], ...]

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CONNECT_SECONDS = 10.0
_END_SECONDS = 5.0
_MAX_IDLE = 100
_SMALL_BYTES = 16 << 10


class CallFailed(grpc.RpcError):
    """A call has failed."""

    def __init__(self, code: grpc.StatusCode, details: str, rich: bytes = b"") -> None:
        """`rich`: the error details of the contract (`google.rpc.Status`)."""
        super().__init__(f"{code.name}: {details}")
        self._code, self._details, self._rich = code, details, rich

    def code(self) -> grpc.StatusCode:
        """Return its status."""
        return self._code

    def details(self) -> str:
        """Return its text."""
        return self._details

    def trailing_metadata(self) -> Any:
        """Return its error details, as `grpc.Call` does."""
        return ((RICH_STATUS, self._rich),) if self._rich else ()


class LocalChannel:
    """Makes calls, with connections that are used again."""

    def __init__(self, name: str) -> None:
        """`name`: the address of the core."""
        self._name = name
        self._idle: deque[tuple[socket.socket, Connection]] = deque()

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: object
    ) -> "UnaryCalls":
        """Return what makes calls of an rpc."""
        return UnaryCalls(partial(LocalCall, self, method, request_serializer, response_deserializer))

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: object
    ) -> "Callable[..., LocalCall]":
        """Return a function that begins a call of an rpc."""
        begin = partial(LocalCall, self, method, request_serializer, response_deserializer)

        def call(request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> LocalCall:
            return begin(metadata, timeout).with_request(request)

        return call

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: object
    ) -> "Callable[..., LocalCall]":
        """Return a function that begins a call of an rpc, whose requests are written afterwards."""
        begin = partial(LocalCall, self, method, request_serializer, response_deserializer)

        def call(*, metadata: Metadata = (), timeout: float | None = None) -> LocalCall:
            return begin(metadata, timeout)

        return call

    def take(self) -> tuple[socket.socket, Connection]:
        """Return a connection without a call. Raises: CallFailed."""
        with suppress(IndexError):
            while True:
                connected, connection = self._idle.pop()
                if not _has_news(connected):
                    return connected, connection
                connected.close()  # the core has ended
        try:
            connected = connect(self._name, _CONNECT_SECONDS)
        except OSError as error:
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, f"the core does not answer: {error.strerror}") from None
        return connected, Connection(connected)

    def give_back(self, connected: socket.socket, connection: Connection) -> None:
        """Keep a connection for another call."""
        if len(self._idle) < _MAX_IDLE:
            self._idle.append((connected, connection))
        else:
            connected.close()

    def close(self) -> None:
        """Close the connections without a call."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].close()


class UnaryCalls:
    """Calls of an rpc with one request and one response."""

    def __init__(self, begin: "Callable[[Metadata, float | None], LocalCall]") -> None:
        self._begin = begin

    def __call__(self, request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> Any:
        """Return the response. Raises: CallFailed."""
        return self.future(request, metadata=metadata, timeout=timeout).result()

    def future(self, request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> "LocalCall":
        """Begin a call."""
        return self._begin(metadata, timeout).with_request(request)


class LocalCall:
    """A call. One thread reads and writes; `cancel` is for any thread.

    has_ended: no further requests are written.
    """

    def __init__(
        self, channel: LocalChannel, method: str, serialize: Any, deserialize: Any, metadata: Metadata, seconds: Any
    ) -> None:
        self._channel = channel
        self._serialize, self._deserialize = serialize, deserialize
        self._head: bytes | None = orjson.dumps([method, seconds, metadata])
        self._failure: CallFailed | None = None
        self._is_over = False
        self.has_ended = False
        try:
            self._socket, self._connection = channel.take()
            self._connection.set_timeout(seconds)
        except CallFailed as failure:
            self._failure, self._is_over = failure, True

    def with_request(self, request: Any) -> "LocalCall":
        """Send the only request, and return this call; a failure is raised when a response is read."""
        with suppress(CallFailed):
            self.write(request)
        self.has_ended = True
        return self

    def write(self, request: Any) -> None:
        """Send a request. Raises: CallFailed."""
        if self._failure is not None:
            raise self._failure
        serialized = self._serialize(request)
        parts = serialized if isinstance(serialized, list) else [serialized]
        frames = [FRAME.pack(sum(map(len, parts)), MESSAGE), *parts]
        if self._head is not None:
            frames = [FRAME.pack(len(self._head), HEAD), self._head, *frames]
            self._head = None
        self._send(frames)

    def end(self) -> None:
        """Write no further requests, and wait until the core has ended the call; further responses are discarded."""
        if self._is_over:
            return
        self.has_ended = True
        self._connection.set_timeout(_END_SECONDS)
        with suppress(CallFailed):
            self._send([FRAME.pack(0, END)])
            for _ in self:
                pass

    def result(self) -> Any:
        """Return the response of a call that has one. Raises: CallFailed."""
        response = next(self)
        for _ in self:
            pass
        return response

    def __iter__(self) -> "Iterator[Any]":
        return self

    def __next__(self) -> Any:
        """Return the next response. Raises: CallFailed."""
        if self._is_over:
            if self._failure is not None:
                raise self._failure
            raise StopIteration
        try:
            length, kind = FRAME.unpack(self._connection.read(FRAME.size))
            if length <= _SMALL_BYTES:
                payload: bytes | bytearray = self._connection.read(length)
            else:
                payload = bytearray(length)
                self._connection.read_into(memoryview(payload))
        except AssociationLost as lost:
            raise self._lost(lost) from None
        if kind != STATUS:
            return payload if self._deserialize is None else self._deserialize(payload)
        code, details, *rich = orjson.loads(payload)
        self._is_over = True
        if self.has_ended:
            self._channel.give_back(self._socket, self._connection)
        else:
            self._socket.close()
        if code:
            details_of = b"".join(map(b64decode, rich))
            self._failure = CallFailed(_CODES.get(code, grpc.StatusCode.UNKNOWN), details, details_of)
            raise self._failure
        raise StopIteration

    def cancel(self) -> None:
        """End the call, if it is not over, also while another thread waits for it."""
        if not self._is_over:
            self._connection.interrupt()

    def __del__(self) -> None:
        """End a call that nobody refers to."""
        if not self._is_over:
            self._socket.close()

    def _send(self, frames: list[Any]) -> None:
        try:
            self._connection.send_parts(frames)
        except AssociationLost as lost:
            raise self._lost(lost) from None

    def _lost(self, lost: AssociationLost) -> CallFailed:
        self._is_over = True
        self._socket.close()
        is_late = "timeout" in str(lost)
        code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.UNAVAILABLE
        self._failure = CallFailed(code, "The core does not answer in time." if is_late else "The core has ended.")
        return self._failure


def _has_news(connected: socket.socket) -> bool:
    """Return whether something arrived on a connection without a call: only its end."""
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))
