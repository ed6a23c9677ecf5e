"""Small blobs packed into segment files, large ones in files of their own.

    blobs/, ingest/            large ones; see `file_blobs`
    segments/<segment>.seg     small ones; see `segments`
    segments/ingest/<process>/ a file named as each segment in which the process has unsettled blobs

A process appends to one segment of its own. Blobs that are committed at the same time are written with one call and
synced with one call. What a dead process left in its unsettled segments is handed out by `recover`, all of it,
because only the index knows what is settled; a torn tail is cut off first.

Deleting overwrites the bytes with zeros and gives whole blocks back. A segment that nobody appends to and nothing lives
in is removed.
"""

import asyncio
import logging
import os
import shutil
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from io import FileIO
from itertools import groupby
from pathlib import Path

from server.adapters.disk import DiskThreads, sync_directory
from server.adapters.file_blobs import FileBlobs, FileWriter
from server.adapters.process_directory import LOCK, ProcessDirectory
from server.adapters.segments import (
    HEADER_BYTES,
    Record,
    Segment,
    blob_in,
    cut_torn_tail,
    erase,
    is_dead,
    living,
    missing,
    path_of,
    record_of,
)
from server.model.errors import DataLoss, DicomStoreError, Reason
from server.model.instance import Locator

SMALL_BYTES = 64 << 10
"""Blobs up to this size are packed; above, a file of its own costs no more (docs/performance.md)."""

_SEGMENT_BYTES = 64 << 20
_MOST_AT_ONCE_BYTES = 4 << 20
_OPEN_FILES = 64
_RECOVERED_AT_ONCE = 500
_TAIL = -1  # stands for what may or may not be durable behind the last record

_log = logging.getLogger("dicomstore.blobs")

_Waiting = tuple[list[bytes], "asyncio.Future[Locator]"]


class PackedBlobs:
    """BlobStore (see `server.ports.blobs`) below one directory. Use as an async context manager."""

    def __init__(self, root: Path, *, small_bytes: int = SMALL_BYTES) -> None:
        self._files = FileBlobs(root)
        self._directory = root / "segments"
        self._process = ProcessDirectory(self._directory / "ingest")
        self._small_bytes = small_bytes
        self._appending = DiskThreads(1)
        self._work: asyncio.Task[None] | None = None
        self._waiting: list[_Waiting] = []
        self._segment: Segment | None = None
        self._unsettled: dict[str, set[int]] = {}  # segment → offsets
        self._open: OrderedDict[str, _OpenSegment] = OrderedDict()

    async def __aenter__(self) -> "PackedBlobs":
        """Prepare the directories and enter. Raises Unavailable or Exhausted when they can't be written."""
        await self._files.__aenter__()
        await self._files.threads.run(self._enter)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave. What is unsettled stays for the next `recover`."""
        if self._work is not None:
            await asyncio.wait([self._work])
        if self._segment is not None:
            await self._leave_segment(self._segment)
        self._open.clear()
        self._appending.close()
        nothing_left = not any(self._unsettled.values())
        await self._files.threads.run(lambda: self._process.leave(nothing_left=nothing_left))
        await self._files.__aexit__()

    def _enter(self) -> None:
        self._process.enter()
        sync_directory(self._directory)

    # Writing

    @asynccontextmanager
    async def open_write(self, size_hint: int | None = None) -> AsyncIterator["_Writer"]:
        """See the port."""
        async with AsyncExitStack() as resources:
            yield _Writer(self, self._files, self._small_bytes, resources)

    def append(self, pieces: list[bytes]) -> Awaitable[Locator]:
        """Make a small blob durable, together with those that are committed at the same time."""
        future: asyncio.Future[Locator] = asyncio.get_running_loop().create_future()
        self._waiting.append((pieces, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._append_all())
        return future

    async def _append_all(self) -> None:
        while self._waiting:
            batch = self._take_batch()
            try:
                records = await self._append([pieces for pieces, _ in batch])
            except Exception as error:  # noqa: BLE001 - handed on to each of those who wait
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            unheard: list[Locator] = []  # their writers were cancelled
            for (_, future), record in zip(batch, records, strict=True):
                if future.done():
                    unheard.append(record.locator)
                else:
                    future.set_result(record.locator)
            if unheard:
                await self._discard(unheard)

    async def _discard(self, locators: Sequence[Locator]) -> None:
        try:
            await self.delete(locators)
        except DicomStoreError as error:  # unsettled as they are, `recover` finds them after the next start
            _log.warning("discarded blobs could not be erased count=%d reason=%s", len(locators), error.reason)

    def _take_batch(self) -> list[_Waiting]:
        count, size = 0, 0
        while count < len(self._waiting) and size < _MOST_AT_ONCE_BYTES:
            size += sum(map(len, self._waiting[count][0]))
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _append(self, blobs: list[list[bytes]]) -> list[Record]:
        run = self._appending.run
        if self._segment is not None and self._segment.end >= _SEGMENT_BYTES:
            await self._leave_segment(self._segment)
        if self._segment is None:
            self._segment = await run(self._new_segment)
        segment = self._segment
        try:
            records = await run(lambda: segment.append(blobs))
        except DicomStoreError:
            if segment.is_broken:
                self._unsettled.setdefault(segment.name, set()).add(_TAIL)  # for `recover` to look at
                await self._leave_segment(segment)
            raise
        self._unsettled.setdefault(segment.name, set()).update(record.offset for record in records)
        return records

    def _new_segment(self) -> Segment:
        name = uuid.uuid4().hex
        (self._process.path / name).touch()
        sync_directory(self._process.path)
        return Segment(self._directory, name)

    async def _leave_segment(self, segment: Segment) -> None:
        self._segment = None
        await self._appending.run(segment.close)
        await self._forget_settled({segment.name})

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        records, others = _split(locators)
        if others:
            await self._files.settle(others)
        ours = [record for record in records if record.segment in self._unsettled]
        for record in ours:
            self._unsettled[record.segment].discard(record.offset)
        await self._forget_settled({record.segment for record in ours})

    async def _forget_settled(self, segments: Iterable[str]) -> None:
        """Take away the signs of segments that need no look after a crash any more."""
        appending_to = self._segment.name if self._segment else ""
        settled = [name for name in segments if not self._unsettled.get(name) and name != appending_to]
        for name in settled:
            self._unsettled.pop(name, None)
        if settled:
            await self._files.threads.run(lambda: self._remove_signs(settled))

    def _remove_signs(self, segments: Sequence[str]) -> None:
        for name in segments:
            (self._process.path / name).unlink(missing_ok=True)

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        records, others = _split(locators)
        if others:
            await self._files.delete(others)
        if records:
            await self._files.threads.run(lambda: self._erase(records))
            await self.settle([record.locator for record in records])

    def _erase(self, records: Sequence[Record]) -> None:
        for name, of_segment in groupby(sorted(records, key=lambda record: record.segment), lambda r: r.segment):
            path = path_of(self._directory, name)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                erase(fd, list(of_segment))
                if not self._is_appended_to(name) and is_dead(fd):
                    path.unlink()
                    sync_directory(self._directory)
            finally:
                os.close(fd)

    def _is_appended_to(self, segment: str) -> bool:
        return any((directory / segment).exists() for directory in (*self._process.others(), self._process.path))

    # Reading

    async def read(self, locator: Locator, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See the port."""
        record = record_of(locator)
        if record is None:
            async for piece in self._files.read(locator, offset, length):
                yield piece
            return
        blob = await self._blob(record)
        end = len(blob) if length is None else offset + length
        if end > len(blob):
            raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance are cut off.")
        if end > offset:
            yield blob[offset:end]

    async def size(self, locator: Locator) -> int:
        """See the port."""
        record = record_of(locator)
        if record is None:
            return await self._files.size(locator)
        return len(await self._blob(record))

    async def _blob(self, record: Record) -> bytes:
        """Return a whole small blob: at once when it is in the page cache, by a thread when not."""
        file = self._open.get(record.segment)
        if file is None:
            file = await self._files.threads.run(lambda: self._open_segment(record.segment))
            self._keep_open(record.segment, file)
        else:
            self._open.move_to_end(record.segment)
        size = HEADER_BYTES + record.length
        buffer = bytearray(size)
        try:
            count = os.preadv(file.fd, [buffer], record.offset, os.RWF_NOWAIT)
        except BlockingIOError:
            count = 0
        if count < size:
            return blob_in(record, await self._files.threads.run(lambda: os.pread(file.fd, size, record.offset)))
        return blob_in(record, bytes(buffer))

    def _open_segment(self, segment: str) -> "_OpenSegment":
        try:
            return _OpenSegment(path_of(self._directory, segment))
        except FileNotFoundError:
            raise missing() from None

    def _keep_open(self, segment: str, file: "_OpenSegment") -> None:
        self._open[segment] = file
        while len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)

    # Keeping house

    async def recover(self) -> AsyncIterator[list[Locator]]:
        """See the port."""
        async for batch in self._files.recover():
            yield batch
        run = self._files.threads.run
        for directory in await run(self._process.others):
            lock = await run(lambda: self._process.take_over(directory))  # noqa: B023 - awaited here
            if lock is None:
                continue
            try:
                for name in await run(lambda: _names(directory)):  # noqa: B023 - awaited here
                    found = await run(lambda: self._recovered(name))  # noqa: B023 - awaited here
                    for first in range(0, len(found), _RECOVERED_AT_ONCE):
                        yield [record.locator for record in found[first : first + _RECOVERED_AT_ONCE]]
                await run(lambda: shutil.rmtree(directory))  # noqa: B023 - awaited here
            finally:
                os.close(lock)

    def _recovered(self, segment: str) -> list[Record]:
        try:
            with open(path_of(self._directory, segment), "r+b", buffering=0) as file:
                cut_torn_tail(file.fileno())
                return [Record(segment, offset, length) for offset, length in living(file.fileno())]
        except FileNotFoundError:
            return []

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""
        async for found in self._files.walk():
            yield found
        run = self._files.threads.run
        for path in await run(lambda: sorted(self._directory.glob("*.seg"))):
            for record in await run(lambda: self._living(path)):  # noqa: B023 - awaited here
                yield record.locator, record.length

    def _living(self, path: Path) -> list[Record]:
        try:
            with FileIO(path) as file:
                return [Record(path.stem, offset, length) for offset, length in living(file.fileno())]
        except FileNotFoundError:
            return []  # removed since it was listed

    async def check(self) -> None:
        """See the port."""
        await self._files.check()


class _OpenSegment:
    """A segment open for reading; closed when the last of its readers lets go of it."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class _Writer:
    """BlobWriter (see `server.ports.blobs`): gathers until it is clear that the blob is not a small one."""

    def __init__(self, store: PackedBlobs, files: FileBlobs, small_bytes: int, resources: AsyncExitStack) -> None:
        self._store = store
        self._files = files
        self._small_bytes = small_bytes
        self._resources = resources
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._file: FileWriter | None = None

    async def write(self, data: bytes) -> None:
        """See the port."""
        if self._file is None:
            self._gathered.append(data)
            self._gathered_bytes += len(data)
            if self._gathered_bytes <= self._small_bytes:
                return
            self._file = await self._resources.enter_async_context(self._files.open_write())
            for piece in self._gathered:
                await self._file.write(piece)
            self._gathered = []
        else:
            await self._file.write(data)

    async def commit(self) -> Locator:
        """See the port."""
        if self._file is not None:
            return await self._file.commit()
        return await self._store.append(self._gathered)


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


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != LOCK)
