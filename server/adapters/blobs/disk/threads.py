"""Disk operations on threads, so that the event loop never waits, with errors translated to those of the model."""

import asyncio
import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from common.telemetry.tracing import current_span, within
from server.model.buffer import Buffer
from server.model.errors import DicomStoreError, Exhausted, Reason, Unavailable

PIECE_BYTES = 1 << 20
"""Most bytes that are read or written at once."""

_ROOM_BYTES = 4 << 20
"""Less free space than this counts as a full disk: the next upload may need it."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MAX_BUFFERS = 500  # of one pwritev; Linux takes 1024

_WRITE_BYTES = 512 << 10
"""Most bytes of one write. Larger ones take up to ten times the processor time (ext4, Linux 6.18: pages of 2 MiB)."""

_SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)

_T = TypeVar("_T")


class _Job:
    """Work for a thread, and its result."""

    __slots__ = ("error", "is_done", "loop", "result", "span", "waiter", "work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Any]) -> None:
        self.loop = loop
        self.work = work
        self.waiter: asyncio.Future[None] = loop.create_future()
        self.is_done = False
        self.span = current_span()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do the work, in a thread."""
        try:
            if self.span is None:
                self.result = self.work()
            else:
                with within(self.span):
                    self.result = self.work()
        except OSError as error:
            self.error = _translated_error(error)
            self.error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.error = error

    def end(self) -> None:
        """Wake the caller, in the event loop."""
        self.is_done = True
        if not self.waiter.done():
            self.waiter.set_result(None)


class DiskThreads:
    """A few threads of one store, for one event loop.

    An executor of the standard library takes three times as long to pass work to a thread and its result back.
    """

    def __init__(self, count: int, *, niceness: int = 0) -> None:
        self._count = count
        self._niceness = niceness
        self._threads: list[threading.Thread] = []
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._unfinished = 0
        self._is_closed = False

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run `work` on a thread. A cancelled caller waits for its end, so that no file is closed while it is used.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE, for every other error of the operating system.
            RuntimeError: after `close`.
        """
        if self._is_closed:
            raise RuntimeError("closed")
        job = _Job(asyncio.get_running_loop(), work)
        self._unfinished += 1
        if self._unfinished > len(self._threads) < self._count:
            self._start_thread()
        self._inbox.put(job)
        try:
            await job.waiter
        except asyncio.CancelledError:
            if not job.is_done:
                job.waiter = job.loop.create_future()
                await job.waiter
            raise
        finally:
            self._unfinished -= 1
        if job.error is not None:
            try:
                raise job.error
            finally:
                del job  # breaks a reference cycle of the error and this frame
        return job.result  # type: ignore[no-any-return]

    def close(self) -> None:
        """Wait for the work in progress and end the threads."""
        self._is_closed = True
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        # Daemon threads, so that a program that exits without closing does not hang.
        thread = threading.Thread(target=self._work, name=f"disk-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        be_nice(self._niceness)
        while (job := self._inbox.get()) is not None:
            job.run()
            with suppress(RuntimeError):  # the loop is closed: no caller is waiting
                job.loop.call_soon_threadsafe(job.end)
            del job  # results may be large: not referenced while waiting


def be_nice(niceness: int) -> None:
    """Lower the priority of the calling thread."""
    if niceness:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)  # on Linux, of this thread alone


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, buffers: Sequence[Buffer], position: int) -> int:
    """Write all buffers at `position` without joining them; return the end position."""
    left = [memoryview(buffer) for buffer in buffers]
    left.reverse()
    while left:
        some: list[memoryview] = []
        room = _WRITE_BYTES
        for view in left[: -_MAX_BUFFERS - 1 : -1]:
            some.append(view[:room])
            room -= len(some[-1])
            if not room:
                break
        written = os.pwritev(fd, some, position)
        position += written
        while left and written >= len(left[-1]):
            written -= len(left.pop())
        if written:
            left[-1] = left[-1][written:]
    return position


def start_writeback(fd: int, offset: int, size: int) -> None:
    """Ask the system to start writing a range to disk, to shorten a later sync. Without guarantees."""
    _libc.sync_file_range(fd, ctypes.c_longlong(offset), ctypes.c_longlong(size), _SYNC_FILE_RANGE_WRITE)


def require_directory(path: Path) -> None:
    """Open a directory. Raises: OSError."""
    os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def free_bytes(directory: Path) -> int:
    """Return the free space of the filesystem of a directory, in bytes. Raises: OSError."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def require_room(directory: Path, size_bytes: int) -> None:
    """Check that a file of a few megabytes can be created, and that `size_bytes` are free.

    Raises:
        OSError: ENOSPC, or another error of the system.
    """
    if free_bytes(directory) < max(size_bytes, _ROOM_BYTES):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o640)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):  # this filesystem does not support unnamed files
            return
        raise
    try:
        os.posix_fallocate(fd, 0, _ROOM_BYTES)  # also detects limits such as quotas
    finally:
        os.close(fd)


@contextmanager
def as_errors_of_the_store() -> Iterator[None]:
    """Turn errors of the operating system into STORAGE_FULL or STORAGE_UNAVAILABLE."""
    try:
        yield
    except OSError as error:
        raise _translated_error(error) from error


def _translated_error(error: OSError) -> DicomStoreError:
    if error.errno in _NO_ROOM:
        return Exhausted(Reason.STORAGE_FULL, "The blob store is full.")
    return Unavailable(Reason.STORAGE_UNAVAILABLE, "The blob store is unavailable.")
