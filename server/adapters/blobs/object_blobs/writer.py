"""Writing a blob whose size is not known yet: a small one is packed with others, a large one is an object of its own.

A large blob is sent by one request, or in parts while it arrives, depending on its size.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from server.adapters.blobs.checksums import Checksums
from server.adapters.blobs.derived import DerivedBlobs
from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.disk.threads import PIECE_BYTES, DiskThreads
from server.adapters.blobs.object_blobs.gathering import Gathered
from server.adapters.blobs.object_blobs.generations import Generation, Generations
from server.adapters.blobs.object_blobs.names import Locators, ObjectName, Place, new_large
from server.adapters.blobs.object_blobs.packing import Erase, Packer, Remember, create
from server.adapters.blobs.objects.client import MultipartWriter, ObjectClient
from server.adapters.blobs.records import trailer
from server.model.buffer import Buffer
from server.model.ids import PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Derived, Tail

SMALL_BYTES = PIECE_BYTES
"""Blobs up to this size are packed."""

PART_BYTES = 8 << 20
"""Size of a part of a multipart upload. Smaller blobs are sent by one request."""

_MAX_PARTS = 9_000  # S3 allows 10,000


class Sending:
    """What all writers of a store share.

    Args:
        allowance: memory for the bytes that writers hold.
        spill: directory for the bytes of writers for which there is no memory left.
        storage_class: returns the storage class of the blobs of a partition; None is that of the bucket.
        remember, erase: see `Packer`.
    """

    def __init__(
        self,
        client: ObjectClient,
        generations: Generations,
        threads: DiskThreads,
        allowance: Allowance,
        spill: Path,
        storage_class: Callable[[PartitionName], str | None],
        remember: Remember,
        erase: Erase,
    ) -> None:
        self.client = client
        self.generations = generations
        self.threads = threads
        self.allowance = allowance
        self.spill = spill
        self.storage_class = storage_class
        self.packer = Packer(client, generations, threads, remember, erase)


class ObjectWriter:
    """BlobWriter (see `server.ports.blobs`). Use as an async context manager.

    Args:
        size_hint: expected size in bytes.
        partition: of the instance, if it is known before the bytes are.
    """

    def __init__(
        self,
        sending: Sending,
        locators: Locators,
        derived: DerivedBlobs,
        size_hint: int | None,
        partition: PartitionName | None,
    ) -> None:
        self._sending = sending
        self._locators = locators
        self._derived = derived
        self._part_bytes = max(PART_BYTES, -(-(size_hint or 0) // _MAX_PARTS))
        self._storage_class = sending.storage_class(partition) if partition is not None else None
        self._checksums = Checksums()
        self._gathered = Gathered(sending.allowance, sending.spill, sending.threads)
        self._generation: Generation | None = None
        self._name: ObjectName | None = None
        self._upload: MultipartWriter | None = None

    async def __aenter__(self) -> "ObjectWriter":
        """Enter."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Discard the bytes unless they were committed."""
        self._gathered.clear()
        if (upload := self._upload) is not None:
            self._upload = None
            await self._sending.threads.run(upload.abort)
        self._leave()

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._checksums.whole

    @property
    def length(self) -> int:
        """See `OwnWriter`."""
        return self._checksums.length

    async def write(self, data: Buffer) -> None:
        """See the port."""
        self._checksums.update(data)
        await self._gathered.add(data)
        if self._gathered.size_bytes >= self._part_bytes:
            await self._send_part()

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        return await self._commit(receipt, is_derived=False)

    async def commit_before(self, tail: Tail, receipt: Receipt) -> Derived:
        """See the port."""
        return await self._derived.commit(self, tail, receipt)

    async def commit_derived(self, receipt: Receipt) -> Locator:
        """See `OwnWriter`."""
        return await self._commit(receipt, is_derived=True)

    async def _commit(self, receipt: Receipt, *, is_derived: bool) -> Locator:
        end = trailer(receipt, self._checksums)
        if self._upload is None and self.length <= SMALL_BYTES:
            storage_class = self._sending.storage_class(receipt.partition)
            gathered = self._gathered
            pieces = await self._sending.threads.run(gathered.pieces) if gathered.is_in_file else gathered.pieces()
            place = await self._sending.packer.add([*pieces, end], storage_class, is_derived=is_derived)
        elif self._upload is None:
            place = await self._commit_object(receipt, end, is_derived=is_derived)
        else:
            place = await self._commit_upload(end, is_derived=is_derived)
        return self._locators.of(place)

    async def _commit_object(self, receipt: Receipt, end: bytes, *, is_derived: bool) -> Place:
        generation = await self._enter()
        name = new_large(generation.id, is_derived=is_derived)
        storage_class = self._sending.storage_class(receipt.partition)

        def send() -> None:
            create(self._sending.client, name, b"".join((*self._gathered.pieces(), end)), storage_class)

        with generation.writing(name.path):
            await self._sending.threads.run(send)
            return self._committed(generation, name)

    async def _commit_upload(self, end: bytes, *, is_derived: bool) -> Place:
        generation, name, upload = self._generation, self._name, self._upload
        assert generation is not None
        assert name is not None
        assert upload is not None

        def complete() -> None:
            upload.part(b"".join((*self._gathered.pieces(), end)))
            upload.complete()

        with generation.writing(name.path):
            await self._sending.threads.run(complete)
            self._upload = None
            return await self._renamed(generation, name) if is_derived else self._committed(generation, name)

    async def _renamed(self, generation: Generation, name: ObjectName) -> Place:
        """Give an object the name of a derived blob: only now it is known to be one."""
        derived = new_large(generation.id, is_derived=True)

        def copy() -> None:
            self._sending.client.copy(name.path, derived.path)
            self._sending.client.delete([name.path])

        with generation.writing(derived.path):
            await self._sending.threads.run(copy)
            return self._committed(generation, derived)

    def _committed(self, generation: Generation, name: ObjectName) -> Place:
        self._sending.generations.require(generation)
        place = Place(name, 0, self.length, name.is_derived)
        generation.unsettled.add(place)
        self._leave()
        return place

    async def _send_part(self) -> None:
        if self._upload is None:
            generation = await self._enter()
            self._name = name = new_large(generation.id)
            self._upload = await self._sending.threads.run(
                lambda: self._sending.client.multipart(
                    name.path, part_bytes=self._part_bytes, storage_class=self._storage_class
                )
            )
        upload = self._upload
        await self._sending.threads.run(lambda: upload.part(b"".join(self._gathered.pieces())))
        self._gathered.clear()

    async def _enter(self) -> Generation:
        self._generation = await self._sending.generations.enter(asyncio.get_running_loop().time())
        return self._generation

    def _leave(self) -> None:
        if self._generation is not None:
            self._sending.generations.leave(self._generation)
            self._generation = None
