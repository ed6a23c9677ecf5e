"""A bounded cache of ranges of objects on the local disk, which several processes may share.

    <directory>/<digit>/<name>      ranges of one object, at the same offsets as in the object; the rest are holes
    <directory>/.evicting           locked by the process that removes old files
    <directory>/new/<random>        temporary files of others, see `spill`

There is no index: a range that is not cached reads as zeros, so the caller must verify what it reads. For the same
reason nothing is synced; what is damaged is written again. The neighbours that one request returned are in one file,
because creating a file costs more than writing half a megabyte.

A file that is read again is younger than the others; the oldest ones are removed. No function raises OSError: a cache
that can't be written or read is empty. All functions block for the disk, except `read_now`.
"""

import ctypes
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from server.adapters.blobs.disk.direct import write_past_cache
from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.threads import write_all
from server.model.buffer import Buffer

_FOLDERS = 16
_NEW = "new"
_FULL_PARTS = 50
"""A process looks for old files after it has written a fiftieth of the size of the cache."""

_KEPT = 0.9  # of the size, after old files were removed
_TOUCH_SECONDS = 600
_LEFT_BEHIND_SECONDS = 3600
_AGE_BITS = 8
"""Ages of files are distinguished by so many leading bits, within one per cent: there are at most 7300 such ages."""

_STAT_BLOCK_BYTES = 512

_PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE

_log = logging.getLogger("dicomstore.blobs")

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Range(NamedTuple):
    """Bytes of an object.

    name: of the cache file, which begins with a hexadecimal digit.
    offset, length: in bytes.
    """

    name: str
    offset: int
    length: int


class PartCache:
    """A cache below one directory.

    Args:
        size_bytes: of all files; exceeded by a fiftieth of it for each process. With 0, nothing is cached.
    """

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self._directory = directory
        self._size_bytes = size_bytes
        self._pages = PageCache()
        self._lock = threading.Lock()
        self._written_bytes = size_bytes  # the first bytes that are written look for old files
        self._has_warned = False

    @property
    def directory(self) -> Path:
        """The directory; it need not exist."""
        return self._directory

    @property
    def is_enabled(self) -> bool:
        """Whether anything is cached."""
        return self._size_bytes > 0

    @property
    def spill(self) -> Path:
        """A directory for other temporary files; it need not exist."""
        return self._directory / _NEW

    def has(self, wanted: Range) -> bool:
        """Return whether a range seems to be cached, and make its file younger; its content is not verified."""
        return not self.lacking([wanted])

    def lacking(self, wanted: Sequence[Range]) -> list[Range]:
        """Return those ranges of one file that are not cached. As `has`."""
        fd = self._open(wanted[0].name) if wanted else None
        if fd is None:
            return list(wanted)
        try:
            return [one for one in wanted if not _is_written(fd, one)]
        except OSError:
            return list(wanted)
        finally:
            os.close(fd)

    def read_now(self, wanted: Range) -> memoryview | None:
        """Return a range if that needs no waiting for the disk, for the event loop.

        Returns None if it is not there, or not in memory. Zeros where nothing is cached.
        """
        try:
            fd = self._pages.open(self._path(wanted.name))
        except OSError:
            return None
        if fd is None:
            return None
        try:
            data = self._pages.read(fd, wanted.length, wanted.offset)
            if data is not None:
                _touch(fd)
            return data
        finally:
            os.close(fd)

    def read(self, wanted: Range) -> memoryview | None:
        """Return a range, or None if it is not there."""
        fd = self._open(wanted.name)
        if fd is None:
            return None
        try:
            data = os.pread(fd, wanted.length, wanted.offset) if _is_written(fd, wanted) else b""
        except OSError:
            return None
        finally:
            os.close(fd)
        return memoryview(data) if len(data) == wanted.length else None

    def write(self, name: str, parts: Sequence[tuple[int, Buffer]]) -> None:
        """Add ranges of one object: their offsets and bytes."""
        size = sum(len(data) for _, data in parts)
        if size > self._size_bytes // 4:
            return
        path = self._path(name)
        try:
            try:
                fd = _opened_for_writing(path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                fd = _opened_for_writing(path)
            try:
                for offset, data in parts:
                    write_past_cache(fd, data, offset)
            finally:
                os.close(fd)
        except OSError as error:
            with suppress(OSError):  # a disk without space for this has none for what is there
                os.unlink(path)
            if not self._has_warned:
                self._has_warned = True
                _log.warning("the blob cache can't be written error=%s", error.strerror)
            return
        with self._lock:
            self._written_bytes += size
            is_full = self._written_bytes >= self._size_bytes // _FULL_PARTS
            if is_full:
                self._written_bytes = 0
        if is_full:
            self._evict()

    def remove(self, ranges: Iterable[Range]) -> None:
        """Remove ranges; those that are not cached are ignored."""
        for unwanted in ranges:
            path = self._path(unwanted.name)
            with suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if _erase(fd, unwanted):
                        os.unlink(path)
                finally:
                    os.close(fd)

    def clear(self) -> None:
        """Remove everything."""
        for entry in self._entries():
            with suppress(OSError):
                os.unlink(entry.path)

    def _open(self, name: str) -> int | None:
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        _touch(fd)
        return fd

    def _path(self, name: str) -> Path:
        return self._directory / name[0] / name

    def _evict(self) -> None:
        """Remove the files that were not used for the longest time, until nine tenths of the size are left."""
        try:
            lock = lock_if_free(self._directory / ".evicting")
        except OSError:
            return
        if lock is None:
            return
        try:
            self._remove_left_behind()
            self._remove_oldest()
        finally:
            os.close(lock)

    def _remove_oldest(self) -> None:
        """Remove files until nine tenths of the size are left, if it is exceeded. No list of them is kept in memory."""
        now = time.time_ns()
        sizes: Counter[int] = Counter()  # by age
        for entry in self._entries():
            with suppress(OSError):
                stat = entry.stat()
                sizes[_age(now, stat)] += stat.st_blocks * _STAT_BLOCK_BYTES
        excess = sizes.total() - self._size_bytes * _KEPT
        if excess <= self._size_bytes / _FULL_PARTS:
            return
        left = excess
        for oldest in sorted(sizes, reverse=True):
            if left <= sizes[oldest]:  # of these, `left` bytes
                break
            left -= sizes[oldest]
        for entry in self._entries():
            with suppress(OSError):
                stat = entry.stat()
                age = _age(now, stat)
                if age > oldest or (age == oldest and left > 0):
                    os.unlink(entry.path)
                    left -= stat.st_blocks * _STAT_BLOCK_BYTES if age == oldest else 0

    def _remove_left_behind(self) -> None:
        """Remove temporary files of ended processes."""
        oldest = time.time() - _LEFT_BEHIND_SECONDS
        with suppress(OSError), os.scandir(self.spill) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat().st_mtime < oldest:
                        os.unlink(entry.path)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for number in range(_FOLDERS):
            with suppress(OSError), os.scandir(self._directory / f"{number:x}") as entries:
                yield from entries


def _age(now_ns: int, found: os.stat_result) -> int:
    """Return the age of a file, of which few bits are exact; an older one has a greater or equal number."""
    age = max(now_ns - found.st_mtime_ns, 1)
    shift = max(age.bit_length() - _AGE_BITS, 0)
    return (shift << _AGE_BITS) + (age >> shift)


def _opened_for_writing(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _touch(fd: int) -> None:
    """Make a file younger, unless it is so already."""
    with suppress(OSError):
        if time.time() - os.fstat(fd).st_mtime > _TOUCH_SECONDS:
            os.utime(fd)


def _is_written(fd: int, wanted: Range) -> bool:
    """Return whether no block of a range is a hole. Raises: OSError."""
    if os.fstat(fd).st_size < wanted.offset + wanted.length:
        return False
    try:
        return (
            os.lseek(fd, wanted.offset, os.SEEK_DATA) == wanted.offset
            and os.lseek(fd, wanted.offset, os.SEEK_HOLE) >= wanted.offset + wanted.length
        )
    except OSError:  # a hole up to the end
        return False


def _erase(fd: int, unwanted: Range) -> bool:
    """Remove a range of a file; return whether nothing is left in it. Raises: OSError."""
    end = unwanted.offset + unwanted.length
    size = os.fstat(fd).st_size
    if end >= size:
        os.ftruncate(fd, min(size, unwanted.offset))
    elif _fallocate(fd, _PUNCH_HOLE, unwanted.offset, unwanted.length):  # the filesystem has no holes
        write_all(fd, [bytes(unwanted.length)], unwanted.offset)
    return os.fstat(fd).st_blocks == 0
