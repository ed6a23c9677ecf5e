"""Small blobs packed into segment files, large ones in files of their own.

    blobs/, ingest/            large ones; see `file_blobs`
    quarantine/                notes of both kinds; see `quarantine`
    segments/<segment>.seg     small ones; see `segments`
    segments/ingest/<process>/ a file named as each segment in which the process has unsettled blobs; see `appending`

What a dead process left in its unsettled segments is handed out by `recover`, all of it, because only the index knows
what is settled; a torn tail is cut off first.

Deleting overwrites the bytes with zeros and gives whole blocks back. A segment that nobody appends to and nothing lives
in is removed.

Whatever is read is verified, see `records`.
"""

import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime
from io import FileIO
from itertools import groupby
from pathlib import Path

from server.adapters.blobs.checksums import Checksums
from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.process_directory import LOCK
from server.adapters.blobs.disk.threads import PIECE_BYTES, sync_directory
from server.adapters.blobs.files import FileBlobs, FileWriter
from server.adapters.blobs.records import piece_of, trailer
from server.adapters.blobs.segment_files.appending import SEGMENT_BYTES, Appender
from server.adapters.blobs.segment_files.compaction import Compaction
from server.adapters.blobs.segment_files.open_segments import OpenSegments
from server.adapters.blobs.segment_files.segments import (
    HEADER_BYTES,
    SUFFIX,
    Record,
    cut_torn_tail,
    dead_until,
    erase,
    living,
    path_of,
    record_of,
)
from server.adapters.blobs.segment_files.sparse_segments import SparseSegments
from server.adapters.blobs.uncached_reads import read_past_cache
from server.model.buffer import Buffer
from server.model.errors import DataLoss, Reason
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Relocation, most_piece_bytes

SMALL_BYTES = PIECE_BYTES
"""Blobs up to this size are packed; above, a file of its own costs no more (docs/decisions/0011-segments.md).

Not more than a piece, so that a packed blob is read in one go, unless the reader wants smaller pieces: then one that is
erased under it fails.
"""

_HELD_BYTES = 32 << 20
_LANES = 2  # segments that are appended to, so that one is written while another is synced
_SHARED_SYNC_BYTES = 64 << 10  # smaller ones gain more from sharing a sync than from a lane without a queue
_RECORDS_AT_ONCE = 500
_SPARSE_BYTES = 4 << 20  # of a batch of blobs to be moved


class PackedBlobs:
    """BlobStore (see `server.ports.blobs`) below one directory. Use as an async context manager.

    Args:
        small_bytes: largest blob that is packed, at most PIECE_BYTES.
        held_bytes: what may be held in memory of all blobs that may turn out small; above it they go to files.
    """

    def __init__(self, root: Path, *, small_bytes: int = SMALL_BYTES, held_bytes: int = _HELD_BYTES) -> None:
        assert small_bytes <= PIECE_BYTES
        self._allowance = Allowance(held_bytes)
        cache = PageCache()
        self._files = FileBlobs(root, cache=cache)
        self._directory = root / "segments"
        self._small_bytes = small_bytes
        self._lanes = [Appender(self._directory, self._files.threads, self.delete) for _ in range(_LANES)]
        self._appender = self._lanes[0]
        self._reading = OpenSegments(self._directory, self._files.threads, cache)
        self._sparse = SparseSegments(self._directory, self._appender)
        self._compaction = Compaction(self, self.sparse)
        self._dead_until: dict[str, int] = {}  # segment → where its first living record was last seen

    async def __aenter__(self) -> "PackedBlobs":
        """Prepare the directories and enter. Raises Unavailable or Exhausted when they can't be written."""
        await self._files.__aenter__()
        await self._files.threads.run(self._enter)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave. What is unsettled stays for the next `recover`."""
        for lane in self._lanes:
            await lane.close()
        self._reading.close()
        await self._files.__aexit__()

    def _enter(self) -> None:
        for lane in self._lanes:
            lane.process.enter()
        sync_directory(self._directory)

    # Writing

    @asynccontextmanager
    async def open_write(self, size_hint: int | None = None) -> AsyncIterator["_Writer"]:
        """See the port."""
        async with AsyncExitStack() as resources:
            writer = _Writer(self._lanes, self._files, self._allowance, self._small_bytes, resources)
            if size_hint is not None and size_hint > self._small_bytes:
                await writer.spill()
            try:
                yield writer
            finally:
                writer.let_go()

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
            await self._files.threads.run(lambda: self._erase(records))
            await self._settle(records)

    def _erase(self, records: Sequence[Record]) -> None:
        for name, of_segment in groupby(sorted(records, key=lambda record: record.segment), lambda r: r.segment):
            path = path_of(self._directory, name)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                erase(fd, list(of_segment))
                if not self._appender.is_in_use(name) and self._is_dead(name, fd):
                    path.unlink(missing_ok=True)  # another process may have erased the rest at the same time
                    sync_directory(self._directory)
            finally:
                os.close(fd)

    def _is_dead(self, segment: str, fd: int) -> bool:
        """Say whether nothing lives in a segment, looking on from where the last look ended."""
        end = dead_until(fd, self._dead_until.get(segment, 0))
        if end == os.fstat(fd).st_size:
            self._dead_until.pop(segment, None)
            return True
        self._dead_until[segment] = end
        return False

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

    async def read_unverified(self, locator: Locator) -> AsyncIterator[bytes]:
        """See the port."""
        record = record_of(locator)
        if record is None:
            pieces = self._files.read_unverified(locator)
        else:
            try:
                await self._reading.trailer(record)
            except DataLoss as loss:  # a damaged trailer says nothing of the bytes
                if loss.reason is Reason.BLOB_MISSING:
                    raise
            path = path_of(self._directory, record.segment)
            pieces = read_past_cache(self._files.background, path, record.offset + HEADER_BYTES, record.length)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def size(self, locator: Locator) -> int:
        """See the port."""
        record = record_of(locator)
        if record is None:
            return await self._files.size(locator)
        return (await self._reading.trailer(record)).length

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        record = record_of(locator)
        if record is None:
            return await self._files.receipt(locator)
        found = await self._reading.trailer(record)
        return found.receipt, found.crc32c

    # Keeping house

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
                for name in await run(lambda: _names(directory)):  # noqa: B023 - awaited here
                    await run(lambda: self._cut(name))  # noqa: B023 - awaited here
                    async for records in self._living(name):
                        yield [record.locator for record in records]
                await run(lambda: shutil.rmtree(directory))  # noqa: B023 - awaited here
            finally:
                os.close(lock)

    def _cut(self, segment: str) -> None:
        try:
            with FileIO(path_of(self._directory, segment), "r+") as file:
                cut_torn_tail(file.fileno())
        except FileNotFoundError:
            return  # never begun, or all erased

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

    async def sparse(self) -> AsyncGenerator[list[Locator]]:
        """Yield blobs that stand in the way of removing segments, in batches of a few MiB.

        Segments are taken one after the other; those with damaged headers are left alone. A blob is yielded again only
        if something else was deleted beside it, or if the call before was not read to its end. While one process reads
        this, others get nothing.
        """
        run = self._files.threads.run
        lock = await run(self._sparse.lock)
        if lock is None:
            return
        try:
            for segment in await run(self._sparse.find):
                async for records in self._living(segment, most_bytes=_SPARSE_BYTES):
                    yield [record.locator for record in records]
                self._sparse.emptied(segment)
        finally:
            os.close(lock)

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""
        async for found in self._files.walk():
            yield found
        for path in await self._files.threads.run(lambda: sorted(self._directory.glob(f"*{SUFFIX}"))):
            async for records in self._living(path.stem):
                for record in records:
                    yield record.locator, record.length

    async def _living(self, segment: str, most_bytes: int = SEGMENT_BYTES) -> AsyncGenerator[list[Record]]:
        """Yield the living records of a segment, some at a time, and so many bytes; nothing if it was removed."""
        run = self._files.threads.run
        file = await run(lambda: _open(path_of(self._directory, segment)))
        if file is None:
            return
        with file:
            found = (Record(segment, offset, length) for offset, length in living(file.fileno()))
            while records := await run(lambda: _some(found, most_bytes)):
                yield records

    async def check(self) -> None:
        """See the port."""
        await self._files.check()

    async def check_writing(self, size_bytes: int = 0) -> None:
        """See the port."""
        await self._files.check_writing(size_bytes)

    async def free_bytes(self) -> int:
        """See the port."""
        return await self._files.free_bytes()


class _Writer:
    """BlobWriter (see `server.ports.blobs`): gathers until it is clear that the blob is not a small one."""

    def __init__(
        self,
        lanes: Sequence[Appender],
        files: FileBlobs,
        allowance: Allowance,
        small_bytes: int,
        resources: AsyncExitStack,
    ) -> None:
        self._lanes = lanes
        self._files = files
        self._allowance = allowance
        self._small_bytes = small_bytes
        self._resources = resources
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._file: FileWriter | None = None
        self._checksums = Checksums()

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._checksums.whole

    async def write(self, data: Buffer) -> None:
        """See the port."""
        self._checksums.update(data)
        if self._file is None:
            is_small = self._gathered_bytes + len(data) <= self._small_bytes
            if is_small and self._allowance.take(len(data)):
                self._gathered.append(data)
                self._gathered_bytes += len(data)
                return
            await self.spill()
        assert self._file is not None
        await self._file.write(data)

    async def spill(self) -> None:
        """Go on in a file of its own."""
        self._file = await self._resources.enter_async_context(self._files.open_file(self._checksums))
        gathered, self._gathered = self._gathered, []
        self.let_go()
        for piece in gathered:
            await self._file.write(piece)

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        if self._file is not None:
            return await self._file.commit(receipt)
        lane = self._lanes[0]
        if self._gathered_bytes > _SHARED_SYNC_BYTES:
            lane = min(self._lanes, key=lambda lane: lane.backlog_bytes)
        return await lane.append([*self._gathered, trailer(receipt, self._checksums.all_blocks, self._gathered_bytes)])

    def let_go(self) -> None:
        """Give back what was allowed to be gathered."""
        self._allowance.give_back(self._gathered_bytes)
        self._gathered_bytes = 0


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


def _some(records: Iterator[Record], most_bytes: int) -> list[Record]:
    some: list[Record] = []
    size = 0
    for record in records:
        some.append(record)
        size += record.length
        if len(some) == _RECORDS_AT_ONCE or size >= most_bytes:
            break
    return some


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != LOCK)


def _open(path: Path) -> FileIO | None:
    try:
        return FileIO(path)
    except FileNotFoundError:
        return None
