"""Calls of StoreInstances: messages are written and outcomes read by the same thread, over gRPC or locally."""

import queue
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import grpc
from dicomstore.v1.store_service_pb2 import StoreHeader, StoreInstancesRequest, StoreInstancesResponse

from common.wire import varint
from dimse.local_channel import CallFailed, LocalChannel, Metadata

_STORE = "/dicomstore.v1.StoreService/StoreInstances"
_CHECK_SECONDS = 0.5

_QUEUED_MESSAGES = 1
"""Messages that wait for the core; then the peer has to wait, too."""

Parts = Sequence[bytes | memoryview]
"""A serialised message in parts."""

_ending: set[Any] = set()
"""Calls whose end the core has not confirmed yet."""


class StoreStream(Protocol):
    """A call of StoreInstances. One thread uses it; `cancel` is for any thread."""

    def write(self, message: Parts) -> None:
        """Send a message. Raises grpc.RpcError."""

    def __next__(self) -> StoreInstancesResponse:
        """Return the next outcomes. Raises grpc.RpcError, StopIteration."""

    def end(self) -> None:
        """Write no further messages; the call ends after its last outcome."""

    def cancel(self) -> None:
        """End the call at once."""


def local_stream(channel: LocalChannel, metadata: Metadata) -> StoreStream:
    """Begin a call on the same machine."""
    begin = channel.stream_stream(_STORE, list, StoreInstancesResponse.FromString)
    return begin(metadata=metadata)


class GrpcStream:
    """A call over gRPC, which sends messages in a thread of its own."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata) -> None:
        self._messages: queue.Queue[bytes | None] = queue.Queue(_QUEUED_MESSAGES)
        begin: Callable[..., Any] = channel.stream_stream(_STORE, None, StoreInstancesResponse.FromString)
        self._call = begin(iter(self._messages.get, None), metadata=metadata)

    def write(self, message: Parts) -> None:
        """See `StoreStream`."""
        joined = b"".join(message)  # the data may change after this
        while True:
            with suppress(queue.Full):
                self._messages.put(joined, timeout=_CHECK_SECONDS)
                return
            if not self._call.is_active():
                raise CallFailed(self._call.code() or grpc.StatusCode.UNKNOWN, "The call has ended.")

    def __next__(self) -> StoreInstancesResponse:
        """See `StoreStream`."""
        response: StoreInstancesResponse = next(self._call)
        return response

    def end(self) -> None:
        """See `StoreStream`."""
        # A call that nobody refers to is cancelled.
        _ending.add(self._call)
        if not self._call.add_callback(partial(_ending.discard, self._call)):
            _ending.discard(self._call)
        with suppress(queue.Full):
            self._messages.put_nowait(None)

    def cancel(self) -> None:
        """See `StoreStream`."""
        self._call.cancel()
        with suppress(queue.Full):
            self._messages.put_nowait(None)  # wakes the thread that sends


def message_with(header: StoreHeader | None, item: int, data: memoryview, *, last: bool) -> Parts:
    """Return a StoreInstancesRequest with one piece, whose data are not copied (protobuf.dev, Encoding)."""
    first = b"" if header is None else StoreInstancesRequest(header=header).SerializeToString()
    before = b"\x08" + varint(item) + b"\x12" + varint(len(data))
    after = b"\x18\1" if last else b""
    size = len(before) + len(data) + len(after)
    return [first + b"\x12" + varint(size) + before, data, after]
