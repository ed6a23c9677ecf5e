"""Converts a stream of the core to a response body: a sequence of objects, with or without envelope.

Used for all streams with pieces that have a head: RetrieveInstances, RetrieveFrames, RetrieveRendered and others.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from dicomstore.v1.resources_pb2 import ItemError
from dicomstore.v1.retrieve_service_pb2 import FrameHead, InstanceHead, Omission

from facade.errors import CoreFailure, reason_name
from facade.multipart import MultipartWriter

log = logging.getLogger(__name__)

_MAX_ERRORS = 100

Head = InstanceHead | FrameHead
Buffer = bytes | memoryview
"""Bytes, or an immutable view of a buffer that the core has read."""

Run = Head | Buffer
"""An element of a stream: the head of an object, or a chunk of its bytes."""


@dataclass(slots=True)
class Objects:
    """The objects of a stream, batch by batch.

    complete: number of objects yielded completely.
    omission: the omitted objects; final after the first batch.
    has_found_damage: an object that was expected to be available failed before the first batch was yielded.
    """

    stream: AsyncGenerator[Any, None]
    request_id: str
    complete: int = 0
    omission: Omission = field(default_factory=Omission)
    has_found_damage: bool = False

    async def batches(self) -> AsyncGenerator[list[Run], None]:
        """Yield the runs of each message; no batch is empty.

        Objects that fail before the first batch are omitted, because the status can still report it. An object that
        fails later ends the stream, because the response has started and would silently lack the object.

        Raises:
            CoreFailure: the call failed; an object failed; all objects failed.
        """
        head: Head | None = None  # of an object without yielded bytes
        start = 0  # index of the current object in the batch
        has_begun = False
        async with aclosing(self.stream):
            async for message in self.stream:
                if not has_begun and message.HasField("omission"):
                    self.omission.CopyFrom(message.omission)
                batch: list[Run] = []
                for piece in message.pieces:
                    data = piece.data  # protobuf messages copy the bytes at each access
                    if piece.HasField("head"):
                        head, start = piece.head, len(batch)
                    if piece.HasField("failed"):
                        self._log(piece.failed)
                        if has_begun:
                            raise _as_core_failure(piece.failed)
                        del batch[start:]
                        self._leave_out(piece.failed)
                        head = None
                        continue
                    if head is not None and (data or piece.last):
                        batch.append(head)
                        head = None
                    if data:
                        batch.append(data)
                    if piece.last:
                        self.complete += 1
                        start = len(batch)
                if batch:
                    has_begun = True
                    yield batch
        if not has_begun and self.omission.errors:
            raise _as_core_failure(self.omission.errors[0])

    def _leave_out(self, failed: ItemError) -> None:
        self.has_found_damage = True
        self.omission.count += 1
        if len(self.omission.errors) < _MAX_ERRORS:
            self.omission.errors.append(failed)

    def _log(self, failed: ItemError) -> None:
        log.error(
            "object failed sop_instance_uid=%s reason=%s request_id=%s",
            failed.instance.sop_instance_uid,
            reason_name(failed.reason),
            self.request_id,
        )


def _as_core_failure(failed: ItemError) -> CoreFailure:
    return CoreFailure(reason_name(failed.reason), "", failed.message)


class Envelope(Protocol):
    """Framing of objects in a body. Methods are called in the order of the objects."""

    def begin(self, head: Any) -> Buffer:
        """Return the bytes before an object."""

    def data(self, data: Buffer) -> Buffer:
        """Return a chunk of an object as it is sent."""

    def end(self) -> Buffer:
        """Return the bytes after the last object."""


class Bare:
    """No envelope: the object is the body."""

    def begin(self, head: Any) -> bytes:
        """Return nothing."""
        return b""

    def data(self, data: Buffer) -> Buffer:
        """Return the bytes."""
        return data

    def end(self) -> bytes:
        """Return nothing."""
        return b""


class Parts:
    """multipart/related; each part has its Content-Type and its own URL."""

    def __init__(self, label: Callable[[Any], str], location: Callable[[Any], str]) -> None:
        """Create an envelope; `label` and `location` return Content-Type and URL of an object for its head."""
        self._writer = MultipartWriter()
        self._label = label
        self._location = location

    def content_type(self, media_type: str) -> str:
        """Return the Content-Type of the whole body."""
        return self._writer.content_type(media_type)

    def begin(self, head: Any) -> bytes:
        """Return delimiter and headers."""
        return self._writer.begin(self._label(head), self._location(head))

    def data(self, data: Buffer) -> Buffer:
        """Return the bytes."""
        return data

    def end(self) -> bytes:
        """Return the closing delimiter."""
        return self._writer.end()

    def size_bytes(self, head: Any) -> int:
        """Return the number of bytes that the envelope adds to a single object."""
        alone = Parts(self._label, self._location)
        return len(alone.begin(head)) + len(alone.end())


async def body(
    first: list[Run], batches: AsyncGenerator[list[Run], None], envelope: Envelope
) -> AsyncGenerator[list[Buffer], None]:
    """Yield the body as a list of buffers for each batch."""
    batch: list[Run] | None = first
    del first  # otherwise it would stay in memory until the response ends
    while batch is not None:
        if buffers := enveloped(batch, envelope):
            yield buffers
        batch = await anext(batches, None)
    if end := envelope.end():
        yield [end]


def enveloped(batch: Iterable[Run], envelope: Envelope) -> list[Buffer]:
    """Return the buffers to send for some runs."""
    buffers = (envelope.data(run) if isinstance(run, (bytes, memoryview)) else envelope.begin(run) for run in batch)
    return [buffer for buffer in buffers if buffer]
