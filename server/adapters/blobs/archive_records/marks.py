"""The progress of the index, recorded beside the blobs, so that an index that lost transactions is detected.

    <root>/marks/<process>    see `mark_format`

A process overwrites its mark after each commit, before the response. A mark survives the end of its process in the page
cache. It is synced, to survive a power cut, once a second while there are changes, and when the process ends. An index
that is older than a mark has lost acknowledged transactions; the opposite proves nothing. All functions block.
"""

import fcntl
import logging
import os
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from server.adapters.blobs.archive_records.mark_format import packed_mark, parsed_mark
from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.threads import sync_directory
from server.model.archive import Mark

_SYNC_SECONDS = 1.0
_log = logging.getLogger("dicomstore.blobs")


class Marks:
    """MarkRecord (see `server.ports.archive`) below a directory."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "marks"
        self.latest = Mark()
        self._fd = -1
        self._synced = 0.0
        self._is_synced = True
        self._is_failing = False

    def highest(self) -> Mark:
        """Return the highest version, with its shard, and the highest sequence of all marks; zeros if there is none."""
        marks = [mark for path in self._paths() if (mark := _read(path)) is not None]
        newest = max(marks, key=lambda mark: mark.version, default=Mark())
        return replace(newest, sequence=max((mark.sequence for mark in marks), default=0))

    def enter(self) -> Mark:
        """See the port. The marks of ended processes are removed."""
        mark = self.latest = self.highest()
        try:
            before = self._paths()
            self._begin(mark)
            for path in before:
                _remove_if_dead(path)
        except OSError as error:
            _log.warning("cannot create the file for the high-water mark of the index error=%s", error.strerror)
            self._is_failing = True
        return mark

    def _begin(self, mark: Mark) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._directory / uuid.uuid4().hex, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.pwrite(self._fd, packed_mark(mark), 0)
        os.fsync(self._fd)
        sync_directory(self._directory)

    def record(self, mark: Mark) -> None:
        """See the port."""
        self.latest = mark
        try:
            os.pwrite(self._fd, packed_mark(mark), 0)
            self._is_synced = False
            now = time.monotonic()
            if now - self._synced >= _SYNC_SECONDS:
                self._synced = now
                os.fdatasync(self._fd)
                self._is_synced = True
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                _log.warning("cannot write the high-water mark of the index error=%s", error.strerror)
            self._is_failing = True

    def leave(self) -> None:
        """Make the mark durable and unlock it; the next process takes it over."""
        with suppress(OSError):
            if not self._is_synced:
                os.fsync(self._fd)
        if self._fd >= 0:
            os.close(self._fd)

    def is_in_use(self) -> bool:
        """See the port."""
        return any(_is_locked(path) for path in self._paths())

    def _paths(self) -> list[Path]:
        return sorted(self._directory.iterdir()) if self._directory.exists() else []


def _read(path: Path) -> Mark | None:
    try:
        return parsed_mark(path.read_bytes())
    except FileNotFoundError:
        return None


def _is_locked(path: Path) -> bool:
    try:
        fd = lock_if_free(path, create=False)
    except FileNotFoundError:
        return False
    if fd is None:
        return True
    os.close(fd)
    return False


def _remove_if_dead(path: Path) -> None:
    with suppress(FileNotFoundError):
        fd = lock_if_free(path, create=False)
        if fd is not None:
            path.unlink()
            os.close(fd)
