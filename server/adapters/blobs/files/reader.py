"""Reading blobs in separate files; each range is verified by the checksums of its blocks."""

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from io import FileIO

from cachetools import LRUCache

from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.files.layout import cached_trailer, find_blocks, length_of, read_blocking, trailer_of
from server.adapters.blobs.files.names import BlobNames
from server.adapters.blobs.records import Blocks, damaged, missing, piece_of, read_verified, unknown_receipt
from server.adapters.blobs.uncached_reads import read_past_cache
from server.model.buffer import Buffer
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import most_piece_bytes

_MAX_BLOCKS = 1 << 20
_MAX_BLOBS = 1000


class FileReader:
    """Reads files, and caches the block checksums of recently read ones: 4 MiB, for at most 1000 files.

    Args:
        threads: for reads that must wait for the disk.
        background: for reads of low priority.
    """

    def __init__(self, names: BlobNames, cache: PageCache, threads: DiskThreads, background: DiskThreads) -> None:
        self._names = names
        self._cache = cache
        self._threads = threads
        self._background = background
        self._kept: LRUCache[Locator, Blocks] = LRUCache(_MAX_BLOCKS, getsizeof=_kept_blocks)

    async def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncGenerator[Buffer]:
        """See the port."""
        with await self._opened(locator) as file:
            found = await self._blocks(locator, file, crc32c)
            left = found.length - offset if length is None else length
            if offset + left > found.length or not found.is_of(crc32c):
                raise damaged()
            while left > 0:
                size = piece_of(offset, left, piece_bytes())
                yield await self._piece(file, found, offset, size)
                offset += size
                left -= size

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int | None = None) -> Buffer:
        """See the port."""
        with await self._opened(locator) as file:
            found = await self._blocks(locator, file, crc32c)
            if offset + length > found.length or not found.is_of(crc32c):
                raise damaged()
            return await self._piece(file, found, offset, length)

    async def _piece(self, file: FileIO, found: Blocks, offset: int, size: int) -> Buffer:
        fd = file.fileno()
        piece = read_verified(lambda size, start: self._cache.read(fd, size, start), 0, found, offset, size)
        if piece is None:
            piece = await self._threads.run(lambda: read_blocking(file, found, offset, size))
        return piece

    async def _blocks(self, locator: Locator, file: FileIO, crc32c: int | None) -> Blocks:
        """Return the checksums of a blob. Raises: as `find_blocks`."""
        found: Blocks | None = self._kept.get(locator)
        if found is not None:
            return found
        fd = file.fileno()
        found = cached_trailer(lambda size, start: self._cache.read(fd, size, start), os.fstat(fd).st_size)
        if found is None:
            found = await self._threads.run(lambda: find_blocks(file, crc32c))
        self._kept[locator] = found
        return found

    async def read_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """See the port."""
        length = await self.size(locator)
        async with aclosing(read_past_cache(self._background, self._names.committed(locator), 0, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def size(self, locator: Locator) -> int:
        """See the port."""

        with await self._opened(locator) as file:
            return await self._threads.run(lambda: length_of(file))

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        with await self._opened(locator) as file:
            found = await self._threads.run(lambda: trailer_of(file))
        if found is None:
            raise unknown_receipt()
        return found.receipt, found.crc32c

    async def _opened(self, locator: Locator) -> FileIO:
        """Open a blob: immediately if the directory entries are cached, otherwise in a thread."""
        with _missing_if_not_found():
            fd = self._cache.open(self._names.existing(locator))
        return await self._threads.run(lambda: self._open(locator)) if fd is None else FileIO(fd)

    def _open(self, locator: Locator) -> FileIO:
        """Open a blob; blocking. Returns a file object, which is closed even if its reader is cancelled."""
        with _missing_if_not_found():
            return FileIO(self._names.existing(locator))


def _kept_blocks(found: Blocks) -> int:
    """Return the cost of checksums in the cache, which holds at most `_MAX_BLOBS`, but always one of any size."""
    return min(max(len(found.blocks), _MAX_BLOCKS // _MAX_BLOBS), _MAX_BLOCKS)


@contextmanager
def _missing_if_not_found() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise missing() from error
