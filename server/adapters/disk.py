"""Work on disk, done by threads so that the event loop never waits, with errors in our own words."""

import asyncio
import ctypes
import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from server.model.errors import DicomStoreError, Exhausted, Reason, Unavailable

PIECE_BYTES = 1 << 20
"""Most bytes that are read or written at once."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MOST_BUFFERS = 500  # of one pwritev; Linux takes 1024

_SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)

Buffer = bytes | memoryview
_T = TypeVar("_T")


class DiskThreads:
    """A few threads that belong to one store."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="disk")

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do work on a thread. A cancelled caller waits for its end, so that nobody closes a file under it.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE, for every other error of the operating system.
        """
        future = asyncio.get_running_loop().run_in_executor(self._threads, _translated, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # has been looked at: nobody is left to hear of it
            raise

    def close(self) -> None:
        """End the threads when their work is done."""
        self._threads.shutdown()


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, buffers: Sequence[Buffer], position: int) -> int:
    """Write all of the buffers, one after the other and without joining them, at `position`; return where they end."""
    left = [memoryview(buffer) for buffer in buffers]
    left.reverse()
    while left:
        written = os.pwritev(fd, left[: -_MOST_BUFFERS - 1 : -1], position)
        position += written
        while left and written >= len(left[-1]):
            written -= len(left.pop())
        if written:
            left[-1] = left[-1][written:]
    return position


def start_writeback(fd: int, offset: int, size: int) -> None:
    """Let the system begin to write a range to disk, so that a later sync has less to wait for. Promises nothing."""
    _libc.sync_file_range(fd, ctypes.c_longlong(offset), ctypes.c_longlong(size), _SYNC_FILE_RANGE_WRITE)


def _translated(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except OSError as error:
        raise _ours(error) from error


def _ours(error: OSError) -> DicomStoreError:
    if error.errno in _NO_ROOM:
        return Exhausted(Reason.STORAGE_FULL, "The blob store is full.")
    return Unavailable(Reason.STORAGE_UNAVAILABLE, "The blob store can't be used at the moment.")
