"""A bounded cache of parts of objects on the local disk, which several processes may share.

    <directory>/<digit>/<key>       a part, as it is stored
    <directory>/.evicting           locked by the process that removes old parts
    <directory>/new/<random>        a part that is being written

A part is written and then renamed, so that an ended process leaves no incomplete one. Nothing is synced: the caller
verifies what it reads, and removes what is damaged. A part that is read again is younger than the others; the oldest
ones are removed. No function raises OSError: a cache that can't be written or read is empty. All functions block for
the disk, except `read_now`.
"""

import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.threads import write_all
from server.model.buffer import Buffer

_FOLDERS = 16
_NEW = "new"
_FULL_PARTS = 50
"""A process looks for old parts after it has written a fiftieth of the size of the cache."""

_KEPT = 0.9  # of the size, after old parts were removed
_TOUCH_SECONDS = 600
_LEFT_BEHIND_SECONDS = 3600
_AGE_BITS = 8
"""Ages of parts are distinguished by so many leading bits, within one per cent: there are at most 7300 such ages."""

_log = logging.getLogger("dicomstore.blobs")


class PartCache:
    """A cache below one directory.

    Args:
        size_bytes: of all parts; exceeded by a fiftieth of it for each process. With 0, nothing is cached.
    """

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self._directory = directory
        self._size_bytes = size_bytes
        self._pages = PageCache()
        self._lock = threading.Lock()
        self._written_bytes = size_bytes  # the first part that is written looks for old ones
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

    def touch(self, key: str) -> bool:
        """Return whether there is a part, and make it younger; its content is not verified."""
        try:
            found = os.stat(self._path(key))
            if time.time() - found.st_mtime > _TOUCH_SECONDS:
                os.utime(self._path(key))
        except OSError:
            return False
        return True

    def read_now(self, key: str, offset: int = 0, length: int | None = None) -> memoryview | None:
        """Return a part, or a range of it, if that needs no waiting for the disk, for the event loop.

        Returns None if it is not there, not in memory, or shorter.
        """
        try:
            fd = self._pages.open(self._path(key))
        except OSError:
            return None
        if fd is None:
            return None
        try:
            found = os.fstat(fd)
            data = self._pages.read(fd, found.st_size - offset if length is None else length, offset)
            if data is not None:
                _touch(fd, found)
            return data
        finally:
            os.close(fd)

    def read(self, key: str) -> memoryview | None:
        """Return a part, or None."""
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            found = os.fstat(fd)
            data = os.pread(fd, found.st_size, 0)
            _touch(fd, found)
        except OSError:
            return None
        finally:
            os.close(fd)
        return memoryview(data)

    def write(self, key: str, data: Buffer) -> None:
        """Add a part."""
        if len(data) > self._size_bytes // 4:
            return
        new, path = self._directory / _NEW / uuid.uuid4().hex, self._path(key)
        try:
            try:
                fd = _create(new)
            except FileNotFoundError:
                new.parent.mkdir(parents=True, exist_ok=True)
                fd = _create(new)
            try:
                write_all(fd, [data], 0)
            finally:
                os.close(fd)
            try:
                os.rename(new, path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.rename(new, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(new)
            if not self._has_warned:
                self._has_warned = True
                _log.warning("the blob cache can't be written error=%s", error.strerror)
            return
        with self._lock:
            self._written_bytes += len(data)
            is_full = self._written_bytes >= self._size_bytes // _FULL_PARTS
            if is_full:
                self._written_bytes = 0
        if is_full:
            self._evict()

    def remove(self, keys: Iterable[str]) -> None:
        """Remove parts; unknown ones are ignored."""
        for key in keys:
            with suppress(OSError):
                os.unlink(self._path(key))

    def clear(self) -> None:
        """Remove all parts."""
        for entry in self._entries():
            with suppress(OSError):
                os.unlink(entry.path)

    def _path(self, key: str) -> Path:
        return self._directory / key[0] / key

    def _evict(self) -> None:
        """Remove the parts that were not used for the longest time, until nine tenths of the size are left."""
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
        """Remove parts until nine tenths of the size are left, if it is exceeded; the parts are not kept in memory."""
        now = time.time_ns()
        sizes: Counter[int] = Counter()  # by age
        for entry in self._entries():
            with suppress(OSError):
                stat = entry.stat()
                sizes[_age(now, stat)] += stat.st_size
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
                    left -= stat.st_size if age == oldest else 0

    def _remove_left_behind(self) -> None:
        """Remove incomplete parts of ended processes."""
        oldest = time.time() - _LEFT_BEHIND_SECONDS
        with suppress(OSError), os.scandir(self._directory / _NEW) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat().st_mtime < oldest:
                        os.unlink(entry.path)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for number in range(_FOLDERS):
            with suppress(OSError), os.scandir(self._directory / f"{number:x}") as entries:
                yield from entries


def _age(now_ns: int, found: os.stat_result) -> int:
    """Return the age of a part, of which few bits are exact; an older one has a greater or equal number."""
    age = max(now_ns - found.st_mtime_ns, 1)
    shift = max(age.bit_length() - _AGE_BITS, 0)
    return (shift << _AGE_BITS) + (age >> shift)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)


def _touch(fd: int, found: os.stat_result) -> None:
    """Make a part younger, unless it is so already."""
    if time.time() - found.st_mtime > _TOUCH_SECONDS:
        with suppress(OSError):
            os.utime(fd)
