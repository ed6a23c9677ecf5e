"""Small blobs packed into segment files, large ones in separate files.

    blobs/, ingest/            large ones; see `file_blobs`
    quarantine/                records for both kinds; see `quarantine`
    segments/<segment>.seg     small ones; see `segments`
    segments/ingest/<process>/ a marker file for each segment in which the process has unsettled blobs; see `appending`

`recover` yields all blobs of the segments that an ended process left unsettled, because only the index knows which of
them are settled; an incomplete last record is cut off first.

Deleting overwrites the bytes with zeros and frees whole filesystem blocks. A segment without live records is removed
once no process appends to it.

Reads are verified, see `records`.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from server.adapters.blobs.adopted import AdoptedFiles, AdoptedWriter
from server.adapters.blobs.derived import DerivedBlobs, is_derived
from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.process_directory import LOCK
from server.adapters.blobs.disk.threads import PIECE_BYTES, sync_directory
from server.adapters.blobs.files.store import FileBlobs
from server.adapters.blobs.packed_writer import PackedWriter
from server.adapters.blobs.records import piece_of
from server.adapters.blobs.segment_files.appending import Appender
from server.adapters.blobs.segment_files.compaction import Compaction
from server.adapters.blobs.segment_files.directory import SegmentDirectory
from server.adapters.blobs.segment_files.open_segments import OpenSegments
from server.adapters.blobs.segment_files.segments import HEADER_BYTES, Record, path_of, record_of
from server.adapters.blobs.segment_files.sparse_segments import SparseSegments
from server.adapters.blobs.uncached_reads import read_past_cache
from server.model.buffer import Buffer
from server.model.errors import DataLoss, Reason
from server.model.ids import PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Relocation, SharedBytes, most_piece_bytes

SMALL_BYTES = PIECE_BYTES
"""Blobs up to this size are packed; above, a file of its own costs no more (docs/decisions/0011-segments.md).

At most a piece, so that a packed blob is read at once. If the caller wants smaller pieces and the blob is erased
between two of them, the read fails.
"""

_HELD_BYTES = 32 << 20
_LANES = 2  # segments that are appended to, so that one is written while another is synced
_SPARSE_BYTES = 4 << 20  # of a batch of blobs to be moved


class PackedBlobs:
    """BlobStore (see `server.ports.blobs`) below one directory. Use as an async context manager.

    Args:
        small_bytes: largest blob that is packed, at most PIECE_BYTES.
        held_bytes: memory for all blobs that may turn out to be small; without any left, blobs go to files.
        folders: those with adopted files, by name.
    """

    def __init__(
        self,
        root: Path,
        *,
        small_bytes: int = SMALL_BYTES,
        held_bytes: int = _HELD_BYTES,
        folders: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        assert small_bytes <= PIECE_BYTES
        self._allowance = Allowance(held_bytes)
        cache = PageCache()
        self._files = FileBlobs(root, cache=cache)
        self._directory = root / "segments"
        self._small_bytes = small_bytes
        self._lanes = [Appender(self._directory, self._files.threads, self.delete) for _ in range(_LANES)]
        self._appender = self._lanes[0]
        self._reading = OpenSegments(self._directory, self._files.threads, cache)
        self._segments = SegmentDirectory(self._directory, self._files.threads, self._appender.is_in_use)
        self._sparse = SparseSegments(self._directory, self._appender)
        self._derived = DerivedBlobs(self, AdoptedFiles(folders, self._files.threads, self._files.background))
        self._compaction = Compaction(self._copy, self.shared, self.delete, self.sparse)

    async def __aenter__(self) -> "PackedBlobs":
        """Prepare the directories and enter. Raises Unavailable or Exhausted when they can't be written."""
        await self._files.__aenter__()
        await self._files.threads.run(self._enter)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave. Unsettled blobs stay for the next `recover`."""
        for lane in self._lanes:
            await lane.close()
        self._reading.close()
        await self._files.__aexit__()

    def _enter(self) -> None:
        for lane in self._lanes:
            lane.process.enter()
        sync_directory(self._directory)

    # Writing

    def open_write(self, size_hint: int | None = None, partition: PartitionName | None = None) -> PackedWriter:
        """See the port."""
        is_small = size_hint is None or size_hint <= self._small_bytes
        return PackedWriter(
            self._lanes, self._files, self._allowance, self._small_bytes, self._derived, is_small=is_small
        )

    def adopt(self, folder: str, path: str) -> AdoptedWriter:
        """See the port."""
        return AdoptedWriter(self._derived, self.open_write, folder, path)

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        records, others = _split(locators)
        if others:
            await self._files.settle(others)
        if records:
            await self._settle(records)

    async def _settle(self, records: Sequence[Record]) -> None:
        for lane in self._lanes:
            await lane.settle(records)

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        records, others = _split(locators)
        if others:
            await self._files.delete(others)
        if records:
            await self._files.threads.run(lambda: self._segments.erase(records))
            await self._settle(records)

    # Reading

    async def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """See the port."""
        if is_derived(locator):
            async with aclosing(self._derived.read(locator, offset, length, piece_bytes, crc32c)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        record = record_of(locator)
        if record is None:
            async with aclosing(self._files.read(locator, offset, length, piece_bytes, crc32c)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        left = record.length - offset if length is None else length
        if left <= piece_bytes():
            if data := await self._reading.read(record, offset, length, crc32c):
                yield data
            return
        while left > 0:
            size = piece_of(offset, left, piece_bytes())
            yield await self._reading.read(record, offset, size, crc32c)
            offset += size
            left -= size

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """See the port."""
        if is_derived(locator):
            return await self._derived.read_piece(locator, offset, length, crc32c)
        record = record_of(locator)
        if record is None:
            return await self._files.read_piece(locator, offset, length, crc32c)
        return await self._reading.read(record, offset, length, crc32c)

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        """See the port: the system reads ahead."""

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

    # Parts of derived blobs, see `derived.Parts`

    async def read_own(self, locator: Locator, offset: int, length: int) -> Buffer:
        """Return a verified range of the stored bytes."""
        record = record_of(locator)
        if record is None:
            return await self._files.read_own(locator, offset, length)
        return await self._reading.read(record, offset, length)

    async def read_own_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """Yield the stored bytes without verification."""
        record = record_of(locator)
        if record is None:
            pieces = self._files.read_own_unverified(locator)
        else:
            try:
                await self._reading.trailer(record)
            except DataLoss as loss:  # the bytes may be intact even if the trailer is damaged
                if loss.reason is Reason.BLOB_MISSING:
                    raise
            path = path_of(self._directory, record.segment)
            pieces = read_past_cache(self._files.background, path, record.offset + HEADER_BYTES, record.length)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def own_size(self, locator: Locator) -> int:
        """Return the number of stored bytes."""
        record = record_of(locator)
        if record is None:
            return await self._files.own_size(locator)
        return (await self._reading.trailer(record)).length

    async def stored_size(self, locator: Locator) -> int:
        """Return the number of stored bytes; of a record without reading it."""
        record = record_of(locator)
        return await self._files.stored_size(locator) if record is None else record.length

    async def own_receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """Return the receipt, and the CRC-32C of the stored bytes."""
        record = record_of(locator)
        if record is None:
            return await self._files.own_receipt(locator)
        found = await self._reading.trailer(record)
        return found.receipt, found.crc32c

    # Maintenance

    async def recover(self) -> AsyncIterator[list[Locator]]:
        """See the port."""
        async for batch in self._files.recover():
            yield batch
        run = self._files.threads.run
        process = self._appender.process
        for directory in await run(process.others):
            lock = await run(lambda: process.take_over(directory))  # noqa: B023 - awaited here
            if lock is None:
                continue
            try:
                for name in await run(lambda: _unsettled_segments(directory)):  # noqa: B023 - awaited here
                    await run(lambda: self._segments.cut_torn_tail(name))  # noqa: B023 - awaited here
                    async for records in self._segments.live_records(name):
                        yield [record.locator for record in records]
                await run(lambda: process.remove(directory))  # noqa: B023 - awaited here
            finally:
                os.close(lock)

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """See the port."""
        await self._files.quarantine(locators, now)
        await self.settle(locators)

    def quarantined(self, until: datetime | None = None) -> AsyncIterator[list[Locator]]:
        """See the port."""
        return self._files.quarantined(until)

    async def release(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._files.release(locators)

    async def compact(self, relocation: Relocation) -> bool:
        """See the port."""
        return await self._compaction.turn(relocation)

    async def _copy(self, locator: Locator, base: Locator | None) -> Locator:
        return await self._derived.copy(locator, self.open_write, base)

    async def sparse(self) -> AsyncGenerator[list[Locator]]:
        """Yield blobs to move, so that their segments can be removed, in batches of a few MiB.

        Segments are processed one after the other; those with damaged headers are skipped. A blob is yielded again only
        if another blob of its segment was deleted, or if the previous call was not read to its end. While one process
        reads this, others get nothing.
        """
        run = self._files.threads.run
        lock = await run(self._sparse.lock)
        if lock is None:
            return
        try:
            for segment in await run(self._sparse.find):
                async for records in self._segments.live_records(segment, most_bytes=_SPARSE_BYTES):
                    yield [record.locator for record in records]
                self._sparse.emptied(segment)
        finally:
            os.close(lock)

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""
        async for found in self._files.walk():
            yield found
        for segment in await self._files.threads.run(self._segments.names):
            async for records in self._segments.live_records(segment):
                for record in records:
                    yield record.locator, record.length

    async def check(self) -> None:
        """See the port."""
        await self._files.check()

    async def check_writing(self, size_bytes: int = 0) -> None:
        """See the port."""
        await self._files.check_writing(size_bytes)

    async def free_bytes(self) -> int:
        """See the port."""
        return await self._files.free_bytes()


def _split(locators: Iterable[Locator]) -> tuple[list[Record], list[Locator]]:
    """Return the records of segments, and the other locators."""
    records, others = [], []
    for locator in locators:
        record = record_of(locator)
        if record is None:
            others.append(locator)
        else:
            records.append(record)
    return records, others


def _unsettled_segments(directory: Path) -> list[str]:
    """Return the segments in which a process has unsettled blobs, according to its directory."""
    return sorted(path.name for path in directory.iterdir() if path.name != LOCK)
