"""Finding segments whose living blobs should move elsewhere, so that the files can go.

Deleting gives back whole blocks at best. What is left are headers, parts of blocks, and everything where the filesystem
can't punch holes; and each start of a process leaves a segment that may hold next to nothing.
"""

import fcntl
import logging
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from server.adapters.appending import SEGMENT_BYTES, Appender
from server.adapters.disk import sync_directory
from server.adapters.segments import SUFFIX, living_bytes, path_of

_SMALL_BYTES = SEGMENT_BYTES // 8
_MANY = 8
_LOOKS_A_CALL = 50
_BLOCK_BYTES = 512  # of st_blocks, see stat(2)
_log = logging.getLogger("dicomstore.blobs")


@dataclass(slots=True)
class _Look:
    """What was seen of a segment when it had last been written to."""

    mtime_ns: int
    is_sparse: bool = False
    is_small: bool = False


class SparseSegments:
    """Looks for sparse segments, and again only at those that were written to since. All functions block."""

    def __init__(self, directory: Path, appender: Appender) -> None:
        self._directory = directory
        self._appender = appender
        self._looks: dict[str, _Look] = {}

    def lock(self) -> int | None:
        """Return a descriptor to close when done; None if another process is at it."""
        fd = os.open(self._directory / ".compacting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def find(self) -> list[str]:
        """Return segments that nobody appends to and less than half of which lives; and small ones, if there are many.

        Removes those in which nothing lives. Looks at a few dozen a call: headers are read one by one.
        """
        written_to = self._last_writes()
        self._looks = {name: look for name, look in self._looks.items() if name in written_to}
        changed = [
            name
            for name, mtime_ns in written_to.items()
            if name not in self._looks or self._looks[name].mtime_ns != mtime_ns
        ]
        left = _LOOKS_A_CALL
        for name in sorted(changed, key=written_to.__getitem__):
            if left and not self._appender.is_in_use(name):
                self._look(name)
                left -= 1
        small = [name for name, look in self._looks.items() if look.is_small]
        sparse = [name for name, look in self._looks.items() if look.is_sparse]
        return sparse + small if len(small) >= _MANY else sparse

    def _last_writes(self) -> dict[str, int]:
        """Return all segments and when they were last written to."""
        with os.scandir(self._directory) as entries:
            return {
                entry.name.removesuffix(SUFFIX): entry.stat().st_mtime_ns
                for entry in entries
                if entry.name.endswith(SUFFIX)
            }

    def emptied(self, segment: str) -> None:
        """Remember that all that should move out of a segment has moved."""
        if segment in self._looks:
            self._looks[segment] = _Look(self._looks[segment].mtime_ns)

    def _look(self, segment: str) -> None:
        """Look at the records of a segment; remove it if nothing lives in it."""
        path = path_of(self._directory, segment)
        with FileIO(path) as file:
            found = os.fstat(file.fileno())
            alive = living_bytes(file.fileno())
        if alive == 0:
            path.unlink(missing_ok=True)
            sync_directory(self._directory)
            self._looks.pop(segment, None)
            return
        look = self._looks[segment] = _Look(found.st_mtime_ns)
        if alive is None:
            _log.warning("a segment has a damaged header and is left alone segment=%s", segment)
            return
        occupied = min(found.st_size, found.st_blocks * _BLOCK_BYTES)  # all of it where there are no holes
        look.is_sparse = 2 * alive < occupied
        look.is_small = not look.is_sparse and found.st_size < _SMALL_BYTES
