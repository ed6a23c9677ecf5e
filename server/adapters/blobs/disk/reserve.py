"""Disk space reserved for starts and deletes on a full disk: a file that is truncated when they need its space.

    <root>/start-reserve

Even reading requires some writes: SQLite creates an index of its log (32 KiB), and each process a directory and a mark.
A delete writes to the journal, and must work on a full disk because deletes free space. All functions block.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from server.adapters.blobs.disk.threads import free_bytes

RESERVE_BYTES = 4 << 20

_DRAWN_BYTES = 256 << 10
"""What the start of a process may write, or the journal of some thousand deleted instances."""

_log = logging.getLogger("dicomstore.blobs")


class Reserve:
    """The reserve below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "start-reserve"

    def draw(self) -> bool:
        """Free 256 KiB if the disk has less free space; return whether it has them now."""
        with suppress(OSError):  # without a reserve, the work of the caller reports the full disk
            if free_bytes(self._root) >= _DRAWN_BYTES:
                return True
            left = self._path.stat().st_size - _DRAWN_BYTES
            if left < 0:
                _log.warning("the disk is full and the start-up reserve is used up")
                return False
            os.truncate(self._path, left)
            _log.warning("the disk is full: the start-up reserve was released left_bytes=%d", left)
            return True
        return False

    def fill(self) -> None:
        """Restore the reserve if the disk has far more free space than it needs. One process at a time calls this."""
        with suppress(OSError):
            if free_bytes(self._root) < 2 * RESERVE_BYTES:
                return
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                if os.fstat(fd).st_size < RESERVE_BYTES:
                    os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
