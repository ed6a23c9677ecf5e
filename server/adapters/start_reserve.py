"""Room for a start on a full disk: a file that is made shorter when a process could not begin without.

    <root>/start-reserve

To read what is stored takes some writing: SQLite makes an index of its log (32 KiB), and each process a directory and a
mark. All functions block, and are to be called while no other process starts, see `IdentityRecord.lock`.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from server.adapters.blobs.disk.threads import free_bytes

RESERVE_BYTES = 4 << 20

_START_BYTES = 256 << 10
"""What the start of a process may write."""

_log = logging.getLogger("dicomstore.blobs")


class Reserve:
    """The reserve below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "start-reserve"

    def draw(self) -> None:
        """Give as much back to the disk as a start needs, if the disk has less than that."""
        with suppress(OSError):  # without a reserve the start fails or not, and says why
            if free_bytes(self._root) >= _START_BYTES:
                return
            left = self._path.stat().st_size - _START_BYTES
            if left < 0:
                _log.warning("the disk is full and the start-up reserve is used up")
                return
            os.truncate(self._path, left)
            _log.warning("the disk is full: the start-up reserve was released left_bytes=%d", left)

    def fill(self) -> None:
        """Make the reserve complete, if there is far more room than it takes."""
        with suppress(OSError):
            if free_bytes(self._root) < 2 * RESERVE_BYTES:
                return
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                if os.fstat(fd).st_size < RESERVE_BYTES:
                    os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
