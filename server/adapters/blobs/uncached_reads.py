"""Reads that bypass the page cache (O_DIRECT): they read from the disk, and do not displace cached data."""

import errno
import mmap
import os
from collections.abc import AsyncGenerator
from pathlib import Path

from server.adapters.blobs.disk.threads import PIECE_BYTES, DiskThreads
from server.adapters.blobs.records import damaged, missing

_ALIGNMENT = 4096  # of offsets, sizes and memory, for O_DIRECT


async def read_past_cache(threads: DiskThreads, path: Path, offset: int, length: int) -> AsyncGenerator[bytes]:
    """Yield a range of a file, each piece read by one of `threads`.

    Raises:
        DataLoss: BLOB_MISSING when there is no file, BLOB_DAMAGED when it ends before the range does.
        Unavailable: STORAGE_UNAVAILABLE.
    """
    end = offset + length
    while offset < end:
        size = min(end - offset, PIECE_BYTES)
        piece = await threads.run(lambda: _read(path, offset, size))  # noqa: B023 - awaited here
        if len(piece) < size:
            raise damaged()
        yield piece
        offset += size


def _read(path: Path, offset: int, size: int) -> bytes:
    begin = offset - offset % _ALIGNMENT
    end = -(-(offset + size) // _ALIGNMENT) * _ALIGNMENT
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except FileNotFoundError:
        raise missing() from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # this filesystem has no O_DIRECT
    try:
        with mmap.mmap(-1, end - begin) as memory:
            count = os.preadv(fd, [memory], begin)
            return memory[offset - begin : min(offset - begin + size, count)]
    finally:
        os.close(fd)
