"""All segments of a store: listing live blobs, erasing, and cleaning up after a crash."""

import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from io import FileIO
from itertools import groupby
from pathlib import Path

from server.adapters.blobs.disk.threads import DiskThreads, sync_directory
from server.adapters.blobs.segment_files.appending import SEGMENT_BYTES
from server.adapters.blobs.segment_files.segments import (
    SUFFIX,
    Record,
    cut_torn_tail,
    erase,
    erased_until,
    live_records,
    path_of,
)

_RECORDS_AT_ONCE = 500


class SegmentDirectory:
    """The methods block, except `live_records`.

    Args:
        directory: of the segments.
        is_in_use: returns whether a process appends to a segment or has unsettled blobs in it; blocking.
    """

    def __init__(self, directory: Path, threads: DiskThreads, is_in_use: Callable[[str], bool]) -> None:
        self._directory = directory
        self._threads = threads
        self._is_in_use = is_in_use
        self._erased_until: dict[str, int] = {}  # segment → last known position of its first live record

    def names(self) -> list[str]:
        """Return the names of all segments."""
        return sorted(path.stem for path in self._directory.glob(f"*{SUFFIX}"))

    async def live_records(self, segment: str, most_bytes: int = SEGMENT_BYTES) -> AsyncGenerator[list[Record]]:
        """Yield the live records of a segment in batches of about `most_bytes`; nothing if it was removed."""
        file = await self._threads.run(lambda: _opened(path_of(self._directory, segment)))
        if file is None:
            return
        with file:
            found = live_records(file.fileno(), segment)
            while records := await self._threads.run(lambda: _some(found, most_bytes)):
                yield records

    def erase(self, records: Sequence[Record]) -> None:
        """Erase records durably, and remove segments without live records."""
        for name, of_segment in groupby(sorted(records, key=lambda record: record.segment), lambda r: r.segment):
            path = path_of(self._directory, name)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                erase(fd, list(of_segment))
                if not self._is_in_use(name) and self._is_dead(name, fd):
                    path.unlink(missing_ok=True)  # another process may have erased the rest at the same time
                    sync_directory(self._directory)
            finally:
                os.close(fd)

    def cut_torn_tail(self, segment: str) -> None:
        """Cut off a last record that an ended process did not finish writing."""
        try:
            with FileIO(path_of(self._directory, segment), "r+") as file:
                cut_torn_tail(file.fileno())
        except FileNotFoundError:
            return  # empty, or all erased

    def _is_dead(self, segment: str, fd: int) -> bool:
        """Return whether a segment has no live records, starting where the last call found one."""
        end = erased_until(fd, self._erased_until.get(segment, 0))
        if end == os.fstat(fd).st_size:
            self._erased_until.pop(segment, None)
            return True
        self._erased_until[segment] = end
        return False


def _opened(path: Path) -> FileIO | None:
    try:
        return FileIO(path)
    except FileNotFoundError:
        return None


def _some(records: Iterator[Record], most_bytes: int) -> list[Record]:
    some: list[Record] = []
    size = 0
    for record in records:
        some.append(record)
        size += record.length
        if len(some) == _RECORDS_AT_ONCE or size >= most_bytes:
            break
    return some
