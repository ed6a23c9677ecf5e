"""The segment to which a process appends, and the markers by which other processes recognise it.

A marker is an empty file in the process's directory with the name of the segment. It exists before the segment does,
and as long as the process appends to it or has unsettled blobs in it. Segments without a marker are only erased from.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from server.adapters.blobs.disk.process_directory import ProcessDirectory
from server.adapters.blobs.disk.threads import DiskThreads, sync_directory
from server.adapters.blobs.segment_files.segments import Record, Segment
from server.model.buffer import Buffer
from server.model.errors import DicomStoreError
from server.model.instance import Locator

SEGMENT_BYTES = 256 << 20
"""Where a segment ends and another is begun; the last blob may reach beyond."""

_MAX_COPY_BYTES = 3 << 19  # copying data that fits into the CPU cache takes half the time
_TAIL = -1  # represents bytes after the last record that may or may not be durable

_log = logging.getLogger("dicomstore.blobs")

_Waiting = tuple[list[Buffer], bool, int, "asyncio.Future[Locator]"]
"""The pieces of a blob and its trailer, whether it is derived, their size, and the future of its locator."""


class Appender:
    """Appends blobs; blobs committed at the same time share one write and one sync.

    Args:
        directory: of the segments.
        threads: for short operations, which must not wait for a sync.
        erase: erases blobs whose writers were cancelled.
    """

    def __init__(
        self, directory: Path, threads: DiskThreads, erase: Callable[[Sequence[Locator]], Awaitable[None]]
    ) -> None:
        self.process = ProcessDirectory(directory / "ingest")
        self._directory = directory
        self._threads = threads
        self._erase = erase
        self._appending = DiskThreads(1)
        self._work: asyncio.Task[None] | None = None
        self._waiting: list[_Waiting] = []
        self.backlog_bytes = 0  # waiting or being written
        self._segment: Segment | None = None
        self._unsettled: dict[str, set[int]] = {}  # segment → offsets

    async def close(self) -> None:
        """Close the segment and leave the directory of the process. Markers of segments with unsettled blobs stay."""
        if self._work is not None:
            await asyncio.wait([self._work])
        if self._segment is not None:
            await self._leave(self._segment)
        self._appending.close()
        nothing_left = not any(self._unsettled.values())
        await self._threads.run(lambda: self.process.leave(nothing_left=nothing_left))

    def append(self, pieces: list[Buffer], *, is_derived: bool = False) -> Awaitable[Locator]:
        """Make a blob, given in pieces with its trailer, durable, and return its locator. It is unsettled then."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Locator] = loop.create_future()
        size = sum(map(len, pieces))
        self._waiting.append((pieces, is_derived, size, future))
        self.backlog_bytes += size
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._append_all())
        return future

    async def settle(self, records: Iterable[Record]) -> None:
        """Remove blobs from the unsettled ones; unknown ones and those of other processes are ignored."""
        own = [record for record in records if record.segment in self._unsettled]
        for record in own:
            self._unsettled[record.segment].discard(record.offset)
        await self._remove_markers({record.segment for record in own})

    def is_in_use(self, segment: str) -> bool:
        """Return whether a process appends to a segment or has unsettled blobs in it; blocking."""
        return any((directory / segment).exists() for directory in (*self.process.others(), self.process.path))

    async def _append_all(self) -> None:
        while self._waiting:
            batch = self._take_batch()
            try:
                records = await self._append([(pieces, is_derived) for pieces, is_derived, _, _ in batch])
            except Exception as error:  # noqa: BLE001 - raised to each waiting caller
                for *_, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            finally:
                for _, _, size, _ in batch:
                    self.backlog_bytes -= size
            unclaimed: list[Locator] = []  # their writers were cancelled
            for (*_, future), record in zip(batch, records, strict=True):
                if future.done():
                    unclaimed.append(record.locator)
                else:
                    future.set_result(record.locator)
            if unclaimed:
                await self._discard(unclaimed)

    async def _discard(self, locators: Sequence[Locator]) -> None:
        try:
            await self._erase(locators)
        except DicomStoreError as error:  # they are unsettled, so `recover` finds them after the next start
            _log.warning("discarded blobs could not be erased count=%d reason=%s", len(locators), error.reason)

    def _take_batch(self) -> list[_Waiting]:
        count, size = 0, 0
        while count < len(self._waiting) and size < _MAX_COPY_BYTES:
            size += self._waiting[count][2]
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _append(self, blobs: list[tuple[list[Buffer], bool]]) -> list[Record]:
        run = self._appending.run
        if self._segment is not None and self._segment.end >= SEGMENT_BYTES:
            await self._leave(self._segment)
        if self._segment is None:
            self._segment = await run(self._new_segment)
        segment = self._segment
        try:
            records = await run(lambda: segment.append(blobs))
        except DicomStoreError:
            if segment.is_broken:
                self._unsettled.setdefault(segment.name, set()).add(_TAIL)  # for `recover` to examine
                await self._leave(segment)
            raise
        self._unsettled.setdefault(segment.name, set()).update(record.offset for record in records)
        return records

    def _new_segment(self) -> Segment:
        name = uuid.uuid4().hex
        (self.process.path / name).touch()
        sync_directory(self.process.path)
        return Segment(self._directory, name)

    async def _leave(self, segment: Segment) -> None:
        self._segment = None
        await self._appending.run(segment.close)
        await self._remove_markers({segment.name})

    async def _remove_markers(self, segments: Iterable[str]) -> None:
        """Remove the markers of segments that need not be examined after a crash any more."""
        appending_to = self._segment.name if self._segment else ""
        settled = [name for name in segments if not self._unsettled.get(name) and name != appending_to]
        for name in settled:
            self._unsettled.pop(name, None)
        if settled:
            await self._threads.run(lambda: self._unlink_markers(settled))

    def _unlink_markers(self, segments: Sequence[str]) -> None:
        for name in segments:
            (self.process.path / name).unlink(missing_ok=True)
