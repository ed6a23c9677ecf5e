"""Blobs in a bucket: small ones are packed into objects, each large one is an object. README.md has the format."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from server.adapters.blobs.adopted import AdoptedFiles, AdoptedWriter
from server.adapters.blobs.derived import DerivedBlobs, is_derived
from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_blobs.cache import PartCache
from server.adapters.blobs.object_blobs.erased_lists import ErasedLists
from server.adapters.blobs.object_blobs.erasure import Erasure
from server.adapters.blobs.object_blobs.forgetting import Forgetting
from server.adapters.blobs.object_blobs.generations import INGEST, Generations, Processes
from server.adapters.blobs.object_blobs.names import BLOBS, Locators, Place, parse_name, place_of_large
from server.adapters.blobs.object_blobs.quarantine import ObjectQuarantine
from server.adapters.blobs.object_blobs.reader import ObjectReader
from server.adapters.blobs.object_blobs.received import RECEIVED_BYTES
from server.adapters.blobs.object_blobs.sparse_objects import SparseObjects
from server.adapters.blobs.object_blobs.writer import ObjectWriter, Sending
from server.adapters.blobs.objects.client import Listed, ObjectClient
from server.adapters.blobs.records import missing
from server.adapters.blobs.segment_files.compaction import Compaction
from server.model.buffer import Buffer
from server.model.ids import DEFAULT_PARTITION, PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Relocation, SharedBytes, most_piece_bytes

_HELD_BYTES = 128 << 20
_WRITE_THREADS = 16
_LISTED_AT_ONCE = 200
_NOTED_AT_ONCE = 500
_UNLIMITED_BYTES = 1 << 60


class Exclusive(Protocol):
    """Work that one process does at a time; see `locks.ObjectLock`. All functions block."""

    def acquire(self) -> bytes | None:
        """Take the lock if it is free; return what `release` needs, or None. Raises: as `ObjectClient`."""
        ...

    def release(self, token: bytes, /) -> None:
        """Give the lock back. Never fails."""
        ...


class ObjectBlobs:
    """BlobStore (see `server.ports.blobs`) below the prefix of one bucket. Use as an async context manager.

    Args:
        processes: the lease of this process, and those of others.
        recovering, compacting: locks for `recover` and `compact`.
        cache: for parts of objects, on the local disk.
        store_id: 8 hexadecimal digits that tell its locators from those of other stores.
        storage_class: returns the storage class of the blobs of a partition; None is that of the bucket.
        held_bytes: memory for the bytes of all blobs that are being written; without any left they go to the disk.
        received_bytes: memory for bytes that were read and are not in the cache yet; with 0 they are cached first.
        folders: those with adopted files, by name.
    """

    def __init__(
        self,
        client: ObjectClient,
        processes: Processes,
        *,
        recovering: Exclusive,
        compacting: Exclusive,
        cache: PartCache,
        store_id: str = "",
        storage_class: Callable[[PartitionName], str | None] = lambda partition: None,
        held_bytes: int = _HELD_BYTES,
        received_bytes: int = RECEIVED_BYTES,
        folders: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self._client = client
        self._processes = processes
        self._recovering = recovering
        self._compacting = compacting
        self._locators = Locators(store_id)
        self._threads = DiskThreads(_WRITE_THREADS)
        self._background = DiskThreads(4, niceness=10)
        self._erasure = Erasure(client)
        self._quarantine = ObjectQuarantine(client)
        self._generations = Generations(client, processes, self._threads)
        self._reader = ObjectReader(client, self._erasure, cache, received_bytes)
        self._erased_lists = ErasedLists(client)
        self._forgetting = Forgetting(self._erased_lists, cache, self._background, self._forget, store_id)
        self._runs_forgetting = cache.is_enabled
        self._tasks: list[asyncio.Task[None]] = []
        self._sending = Sending(
            client,
            self._generations,
            self._threads,
            Allowance(held_bytes),
            cache.spill,
            storage_class,
            self._erasure.remember,
            self._erase,
        )
        self._sparse = SparseObjects(client, self._erasure)
        self._derived = DerivedBlobs(self, AdoptedFiles(folders, self._threads, self._background))
        self._compaction = Compaction(self._copy, self.shared, self.delete, self._sparse_blobs)

    async def __aenter__(self) -> "ObjectBlobs":
        """Enter. Nothing is requested before it is needed, except what was erased meanwhile if there is a cache."""
        if self._runs_forgetting:
            await self._background.run(self._forgetting.prepare)
            self._tasks.append(asyncio.create_task(self._forgetting.run()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave. Unsettled blobs stay for the next `recover`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sending.packer.close()
        await self._generations.close()
        await self._reader.close()
        self._threads.close()
        self._background.close()

    # Writing

    def open_write(self, size_hint: int | None = None, partition: PartitionName | None = None) -> ObjectWriter:
        """See the port."""
        return ObjectWriter(self._sending, self._locators, self._derived, size_hint, partition)

    def adopt(self, folder: str, path: str) -> AdoptedWriter:
        """See the port."""
        return AdoptedWriter(self._derived, self.open_write, folder, path)

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._generations.settle(self._places(locators))

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._erase(list(self._places(locators)))

    async def _erase(self, places: Sequence[Place]) -> None:
        if places:
            await self._threads.run(lambda: self._erasure.erase(places))
            # Afterwards, so that nobody caches them again. Other processes never knew those that are unsettled here.
            if known := [place for place in places if not self._generations.has_unsettled(place)]:
                await self._threads.run(lambda: self._erased_lists.add(known))
            await self._reader.forget(places)
            await self._generations.settle(places)

    async def _forget(self, places: Sequence[Place]) -> None:
        """Remove blobs that were erased by any process from memory and the cache."""
        self._erasure.note_erased(places)
        await self._reader.forget(places)

    # Reading

    def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """See the port."""
        if is_derived(locator):
            return self._derived.read(locator, offset, length, piece_bytes, crc32c)
        return self._read(locator, offset, length, piece_bytes, crc32c)

    async def _read(
        self, locator: Locator, offset: int, length: int | None, piece_bytes: Callable[[], int], crc32c: int | None
    ) -> AsyncGenerator[Buffer]:
        async with aclosing(self._reader.read(self._place(locator), offset, length, piece_bytes, crc32c)) as pieces:
            async for piece in pieces:
                yield piece

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """See the port."""
        if is_derived(locator):
            return await self._derived.read_piece(locator, offset, length, crc32c)
        return await self._reader.read_piece(self._place(locator), offset, length, crc32c)

    def read_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """See the port."""
        return self._derived.read_unverified(locator) if is_derived(locator) else self.read_own_unverified(locator)

    async def size(self, locator: Locator) -> int:
        """See the port."""
        return await (self._derived.size(locator) if is_derived(locator) else self.own_size(locator))

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        return await (self._derived.receipt(locator) if is_derived(locator) else self.own_receipt(locator))

    async def shared(self, locator: Locator) -> SharedBytes | None:
        """See the port."""
        return await self._derived.shared(locator)

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        """See the port."""
        self._reader.read_ahead(
            [place for place in self._places(locators) if not place.is_derived],
            [place for place in self._places(following) if not place.is_derived],
        )

    # Parts of derived blobs, see `derived.Parts`

    async def read_own(self, locator: Locator, offset: int, length: int) -> Buffer:
        """Return a verified range of the stored bytes."""
        return await self._reader.read_piece(self._place(locator), offset, length)

    async def read_own_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """Yield the stored bytes without verification."""
        async with aclosing(self._reader.read_unverified(self._place(locator))) as pieces:
            async for piece in pieces:
                yield piece

    async def own_size(self, locator: Locator) -> int:
        """Return the number of stored bytes."""
        return await self._reader.size(self._place(locator))

    async def stored_size(self, locator: Locator) -> int:
        """Return the number of stored bytes, which the locator states."""
        return self._place(locator).length

    async def own_receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """Return the receipt, and the CRC-32C of the stored bytes."""
        return await self._reader.receipt(self._place(locator))

    # Maintenance

    async def recover(self) -> AsyncIterator[list[Locator]]:
        """See the port: the objects of the generations of ended processes.

        Multipart uploads that were never completed are invisible; a lifecycle rule of the bucket removes them.
        """
        await self._generations.resolve_doubts()
        token = await self._threads.run(self._recovering.acquire)
        if token is None:
            return
        try:
            records: dict[str, list[str]] = {}
            for found in await self._threads.run(lambda: list(self._client.names(INGEST))):
                _, process, generation = found.name.split("/")
                records.setdefault(process, []).append(generation)
            ended = await self._threads.run(lambda: self._processes.ended(records.keys())) if records else set()
            for process in sorted(ended):
                for generation in records[process]:
                    async for places in self._listed(f"{BLOBS}/{generation}"):
                        yield [self._locators.of(place) for place in places]
                    await self._threads.run(
                        lambda: self._client.delete([f"{INGEST}/{process}/{generation}"])  # noqa: B023 - awaited here
                    )
        finally:
            await self._threads.run(lambda: self._recovering.release(token))

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """See the port."""
        for start in range(0, len(locators), _NOTED_AT_ONCE):
            some = locators[start : start + _NOTED_AT_ONCE]
            await self._threads.run(lambda: self._quarantine.add(some, now))  # noqa: B023 - awaited here
        await self.settle(locators)

    async def quarantined(self, until: datetime | None = None) -> AsyncIterator[list[Locator]]:
        """See the port."""
        for name in await self._threads.run(lambda: list(self._quarantine.names(until))):
            if locators := await self._threads.run(lambda: self._quarantine.read(name)):  # noqa: B023 - awaited here
                yield locators

    async def release(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._threads.run(lambda: self._quarantine.remove(locators))

    async def compact(self, relocation: Relocation) -> bool:
        """See the port."""
        return await self._compaction.turn(relocation)

    async def _sparse_blobs(self) -> AsyncGenerator[list[Locator]]:
        """Yield blobs to move; nothing while another process moves some."""
        token = await self._threads.run(self._compacting.acquire)
        if token is None:
            return
        try:
            await self._background.run(self._erased_lists.remove_old)
            batches = self._sparse.find()
            while (batch := await self._background.run(lambda: next(batches, None))) is not None:
                yield [self._locators.of(place) for place in batch]
        finally:
            await self._threads.run(lambda: self._compacting.release(token))

    async def _copy(self, locator: Locator, base: Locator | None) -> Locator:
        return await self._derived.copy(locator, self.open_write, base)

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""
        async for places in self._listed(BLOBS):
            for place in places:
                yield self._locators.of(place), place.length

    async def _listed(self, prefix: str) -> AsyncGenerator[list[Place]]:
        """Yield all blobs below a prefix, in batches."""
        found = self._client.names(prefix)
        while some := await self._background.run(lambda: list(islice(found, _LISTED_AT_ONCE))):
            for places in await asyncio.gather(*(self._places_in(one) for one in some)):
                if places:
                    yield places

    async def _places_in(self, found: Listed) -> list[Place]:
        name = parse_name(found.name)
        if name is None:
            return []
        if not name.is_packed:
            place = place_of_large(name, found.size_bytes)
            return [] if place is None else [place]
        entries = await self._background.run(lambda: self._erasure.live(name, found.size_bytes))
        return [Place(name, entry.offset, entry.length, entry.is_derived) for entry in entries or ()]

    async def check(self) -> None:
        """See the port."""
        await self._threads.run(lambda: list(self._client.names(INGEST, limit=1)))

    async def check_writing(self, size_bytes: int = 0) -> None:
        """See the port."""
        async with self.open_write() as writer:
            await writer.write(b"check")
            locator = await writer.commit(Receipt(DEFAULT_PARTITION, datetime.now(UTC), 0))
        await self.delete([locator])

    async def free_bytes(self) -> int:
        """See the port: a bucket has no limit."""
        return _UNLIMITED_BYTES

    def _place(self, locator: Locator) -> Place:
        """Return the place of a blob. Raises: DataLoss, BLOB_MISSING, for a locator of another kind."""
        place = self._locators.place(locator)
        if place is None:
            raise missing()
        return place

    def _places(self, locators: Sequence[Locator]) -> Iterator[Place]:
        return (place for place in map(self._locators.place, locators) if place is not None)
