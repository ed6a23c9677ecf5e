"""Reading blobs in segments through a few open files, and without a thread where the page cache has the bytes."""

import os
from collections import OrderedDict
from pathlib import Path

from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.records import Trailer, missing
from server.adapters.blobs.segment_files.segments import Record, cached_trailer, path_of, read_record, read_trailer
from server.model.buffer import Buffer

_OPEN_FILES = 64


class OpenSegments:
    """Caches open files of recently read segments. A file is closed when its last reader has finished."""

    def __init__(self, directory: Path, threads: DiskThreads, cache: PageCache) -> None:
        self._directory = directory
        self._threads = threads
        self._cache = cache
        self._open: OrderedDict[str, _OpenSegment] = OrderedDict()

    async def read(
        self, record: Record, offset: int = 0, length: int | None = None, crc32c: int | None = None
    ) -> Buffer:
        """Return a range of a blob: immediately if it is in the page cache, otherwise by a thread.

        Raises: as `read_record`, and Unavailable.
        """
        file = await self._file(record.segment)
        fd = file.fd  # `file` stays until the end, and with it the descriptor
        data = read_record(lambda size, start: self._cache.read(fd, size, start), record, offset, length, crc32c)
        if data is not None:
            return data
        data = await self._threads.run(
            lambda: read_record(
                lambda size, start: memoryview(os.pread(file.fd, size, start)), record, offset, length, crc32c
            )
        )
        assert data is not None, "a blocking read always returns data"
        return data

    async def trailer(self, record: Record) -> Trailer:
        """Return the trailer of a blob. Raises: as `read_trailer`, and Unavailable."""
        file = await self._file(record.segment)
        fd = file.fd  # `file` stays until the end, and with it the descriptor
        found = cached_trailer(lambda size, start: self._cache.read(fd, size, start), record)
        return await self._threads.run(lambda: read_trailer(file.fd, record)) if found is None else found

    def close(self) -> None:
        """Close all files, each when its last reader has finished."""
        self._open.clear()

    async def _file(self, segment: str) -> "_OpenSegment":
        file = self._open.get(segment)
        if file is not None:
            self._open.move_to_end(segment)
            return file
        path = path_of(self._directory, segment)
        try:
            fd = self._cache.open(path)
        except FileNotFoundError:
            raise missing() from None
        file = _OpenSegment(fd) if fd is not None else await self._threads.run(lambda: _open(path))
        self._open[segment] = file
        while len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)
        return file


class _OpenSegment:
    """A descriptor that is closed with the last reference to this object."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _open(path: Path) -> _OpenSegment:
    try:
        return _OpenSegment(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        raise missing() from None
