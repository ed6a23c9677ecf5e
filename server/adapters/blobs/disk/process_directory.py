"""A directory for each process that uses a store, so that the remains of an ended process are found quickly.

    <parent>/.lock        held while a process enters or examines the others
    <parent>/<id>/        one per process
    <parent>/<id>/.lock   locked as long as the process runs

All functions block; call them on a thread.
"""

import fcntl
import os
import shutil
import uuid
from pathlib import Path

from server.adapters.blobs.disk.file_lock import lock_if_free, locked

LOCK = ".lock"


class ProcessDirectory:
    """The directory of this process below `parent`, and the takeover of those of ended processes."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self.path = parent / uuid.uuid4().hex
        self._fd = -1

    def enter(self) -> None:
        """Create and lock the directory."""
        self._parent.mkdir(parents=True, exist_ok=True)
        with locked(self._parent / LOCK):
            self.path.mkdir()
            self._fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def leave(self, *, nothing_left: bool) -> None:
        """Unlock the directory; remove it if nothing is left in it for other processes."""
        try:
            if nothing_left:
                self.remove(self.path)
        finally:
            os.close(self._fd)

    def others(self) -> list[Path]:
        """Return the directories of other processes, running or ended."""
        return sorted(path for path in self._parent.iterdir() if path.is_dir() and path != self.path)

    def take_over(self, directory: Path) -> int | None:
        """Lock the directory of an ended process; return a descriptor to close, or None if the process runs."""
        with locked(self._parent / LOCK):
            try:
                return lock_if_free(directory / LOCK)
            except FileNotFoundError:
                return None  # its process, or one that has taken it over, has removed it

    def remove(self, directory: Path) -> None:
        """Remove the directory of this process, or one that it has taken over."""
        with locked(self._parent / LOCK):  # a process that examines it now would create its lock again
            shutil.rmtree(directory)
