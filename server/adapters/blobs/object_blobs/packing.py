"""Packs small blobs that are committed at the same time into one object.

A single blob is sent at once. While an object is being sent, further blobs are gathered; they are sent when it is
durable, or earlier when they are large enough together to be worth a request of their own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_blobs.generations import Generations
from server.adapters.blobs.object_blobs.names import ObjectName, Place, new_packed
from server.adapters.blobs.object_blobs.packed_object import Entry, pack
from server.adapters.blobs.objects.client import Exists, ObjectClient
from server.model.buffer import Buffer
from server.model.errors import DicomStoreError, Reason, Unavailable

_ENOUGH_BYTES = 8 << 20
"""So many are sent although another object is still being sent: the time of the request is small beside theirs."""

_MAX_BYTES = 16 << 20
_MAX_SENDING = 8

_log = logging.getLogger("dicomstore.blobs")

Remember = Callable[[ObjectName, Sequence[Entry]], None]
Erase = Callable[[Sequence[Place]], Awaitable[None]]

_Waiting = tuple[list[Buffer], bool, int, "asyncio.Future[Place]"]
"""The pieces of a blob and its trailer, whether it is derived, their size, and the future of its place."""


@dataclass
class _Queue:
    """Blobs for one storage class."""

    waiting: list[_Waiting] = field(default_factory=list)
    waiting_bytes: int = 0
    sending: set["asyncio.Task[None]"] = field(default_factory=set)


class Packer:
    """Packs blobs, for one event loop.

    Args:
        threads: for requests that write.
        remember: called with the directory of each object that was written.
        erase: erases blobs whose writers were cancelled.
    """

    def __init__(
        self, client: ObjectClient, generations: Generations, threads: DiskThreads, remember: Remember, erase: Erase
    ) -> None:
        self._client = client
        self._generations = generations
        self._threads = threads
        self._remember = remember
        self._erase = erase
        self._queues: dict[str | None, _Queue] = {}

    def add(self, pieces: list[Buffer], storage_class: str | None, *, is_derived: bool = False) -> Awaitable[Place]:
        """Make a blob, given in pieces with its trailer, durable, and return its place. It is unsettled then."""
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        size = sum(map(len, pieces))
        queue = self._queues.setdefault(storage_class, _Queue())
        queue.waiting.append((pieces, is_derived, size, future))
        queue.waiting_bytes += size
        self._send_some(queue, storage_class)
        return future

    async def close(self) -> None:
        """Wait until everything is sent."""
        while tasks := [task for queue in self._queues.values() for task in queue.sending]:
            await asyncio.wait(tasks)

    def _send_some(self, queue: _Queue, storage_class: str | None) -> None:
        while queue.waiting and (
            not queue.sending or (queue.waiting_bytes >= _ENOUGH_BYTES and len(queue.sending) < _MAX_SENDING)
        ):
            task = asyncio.get_running_loop().create_task(self._send(_take_batch(queue), storage_class))
            queue.sending.add(task)
            task.add_done_callback(lambda done: self._sent(queue, storage_class, done))

    def _sent(self, queue: _Queue, storage_class: str | None, task: "asyncio.Task[None]") -> None:
        queue.sending.discard(task)
        if not task.cancelled():
            self._send_some(queue, storage_class)

    async def _send(self, batch: list[_Waiting], storage_class: str | None) -> None:
        try:
            places = await self._durable(batch, storage_class)
        except Exception as error:  # noqa: BLE001 - raised to each waiting caller
            for *_, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        unclaimed: list[Place] = []  # their writers were cancelled
        for (*_, future), place in zip(batch, places, strict=True):
            if future.done():
                unclaimed.append(place)
            else:
                future.set_result(place)
        if unclaimed:
            await self._discard(unclaimed)

    async def _discard(self, places: Sequence[Place]) -> None:
        try:
            await self._erase(places)
        except DicomStoreError as error:  # they are unsettled, so `recover` finds them when this process has ended
            _log.warning("discarded blobs could not be erased count=%d reason=%s", len(places), error.reason)

    async def _durable(self, batch: list[_Waiting], storage_class: str | None) -> list[Place]:
        now = asyncio.get_running_loop().time()
        generation = await self._generations.enter(now)
        try:
            name = new_packed(generation.id)
            data, entries = await self._threads.run(lambda: pack([(pieces, derived) for pieces, derived, *_ in batch]))
            with generation.writing(name.path):
                await self._threads.run(lambda: create(self._client, name, data, storage_class))
                self._generations.require(generation)
            places = [Place(name, entry.offset, entry.length, entry.is_derived) for entry in entries]
            generation.unsettled.update(places)
            self._remember(name, entries)
            return places
        finally:
            self._generations.leave(generation)


def create(client: ObjectClient, name: ObjectName, data: Buffer, storage_class: str | None) -> None:
    """Create an object with a new name; blocks. Raises: as `ObjectClient`."""
    try:
        client.create(name.path, data, storage_class=storage_class)
    except Exists:  # random names do not collide: an earlier attempt stored changed bytes
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The object store holds other bytes than were sent.") from None


def _take_batch(queue: _Queue) -> list[_Waiting]:
    count, size = 0, 0
    while count < len(queue.waiting) and size < _MAX_BYTES:
        size += queue.waiting[count][2]
        count += 1
    batch, queue.waiting = queue.waiting[:count], queue.waiting[count:]
    queue.waiting_bytes -= size
    return batch
