"""From a stream of the core to the bytes of an answer: objects one after the other, in an envelope or without.

The messages of RetrieveInstances and RetrieveFrames have pieces of the same shape, and so may others.
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

_MOST_ERRORS = 100

Head = InstanceHead | FrameHead
Buffer = bytes | memoryview
"""Bytes, or a view of those that the core has read: it never changes."""

Run = Head | Buffer
"""What a stream consists of: a head for each object, then its bytes."""


@dataclass(slots=True)
class Objects:
    """The objects of a stream, batch by batch.

    complete: how many have been handed on to their end.
    omission: what is left out; final when the first batch is there.
    has_found_damage: something failed that was expected to be available, before the first batch was handed on.
    """

    stream: AsyncGenerator[Any, None]
    request_id: str
    complete: int = 0
    omission: Omission = field(default_factory=Omission)
    has_found_damage: bool = False

    async def batches(self) -> AsyncGenerator[list[Run], None]:
        """Yield what each message brings; no batch is empty.

        Objects that fail before the first batch is handed on are left out, which the status can still say. One that
        fails later ends the stream: the response has begun, and would silently lack it.

        Raises:
            CoreFailure: the call failed; an object failed; all objects failed.
        """
        head: Head | None = None  # of an object none of which has been handed on yet
        start = 0  # where in the batch an object begins
        has_begun = False
        async with aclosing(self.stream):
            async for message in self.stream:
                if not has_begun and message.HasField("omission"):
                    self.omission.CopyFrom(message.omission)
                batch: list[Run] = []
                for piece in message.pieces:
                    data = piece.data  # of a message a copy each time it is asked for
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
        if len(self.omission.errors) < _MOST_ERRORS:
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
    """What objects are put in. Methods are called in the order of the objects."""

    def begin(self, head: Any) -> Buffer:
        """Return what comes before the bytes of an object."""

    def data(self, data: Buffer) -> Buffer:
        """Return what a run of bytes of the object becomes."""

    def end(self) -> Buffer:
        """Return what comes after the last object."""


class Bare:
    """No envelope: one object is the whole body."""

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
    """multipart/related; each part says what it is and where it can be had alone."""

    def __init__(self, label: Callable[[Any], str], location: Callable[[Any], str]) -> None:
        """Make an envelope; `label` and `location` tell Content-Type and URL of an object by its head."""
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
        """Return how many bytes an envelope adds to a single object."""
        alone = Parts(self._label, self._location)
        return len(alone.begin(head)) + len(alone.end())


async def body(
    first: list[Run], batches: AsyncGenerator[list[Run], None], envelope: Envelope
) -> AsyncGenerator[list[Buffer], None]:
    """Yield the body: for each batch what is sent of it, in one go."""
    batch: list[Run] | None = first
    del first  # or it would be held until the response ends
    while batch is not None:
        if buffers := enveloped(batch, envelope):
            yield buffers
        batch = await anext(batches, None)
    if end := envelope.end():
        yield [end]


def enveloped(batch: Iterable[Run], envelope: Envelope) -> list[Buffer]:
    """Return what is sent of some runs."""
    buffers = (envelope.data(run) if isinstance(run, (bytes, memoryview)) else envelope.begin(run) for run in batch)
    return [buffer for buffer in buffers if buffer]
