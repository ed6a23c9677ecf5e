"""Bytes that are gathered before they are sent: in memory, or in a temporary file if all writers hold too many."""

import os
import tempfile
from pathlib import Path

from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.disk.threads import DiskThreads, as_errors_of_the_store, write_all
from server.model.buffer import Buffer


class Gathered:
    """The bytes of one writer that have not been sent.

    Args:
        allowance: memory for all writers together.
        directory: for a temporary file, if the allowance is used up; it need not exist.
    """

    def __init__(self, allowance: Allowance, directory: Path, threads: DiskThreads) -> None:
        self._allowance = allowance
        self._directory = directory
        self._threads = threads
        self._pieces: list[Buffer] = []
        self._allowed_bytes = 0
        self._fd = -1
        self.size_bytes = 0

    async def add(self, data: Buffer) -> None:
        """Append bytes. Raises: Unavailable, Exhausted, of the local disk."""
        if self._fd < 0 and self._allowance.take(len(data)):
            self._allowed_bytes += len(data)
            self._pieces.append(data)
        else:
            await self._threads.run(lambda: self._write(data))
        self.size_bytes += len(data)

    @property
    def is_in_file(self) -> bool:
        """Whether the bytes are in a temporary file."""
        return self._fd >= 0

    def pieces(self) -> list[Buffer]:
        """Return all bytes; blocks if they are in a file."""
        if self._fd < 0:
            return self._pieces
        with as_errors_of_the_store():
            return [os.pread(self._fd, self.size_bytes, 0)]

    def clear(self) -> None:
        """Forget the bytes and give the memory back."""
        self._pieces = []
        self._allowance.give_back(self._allowed_bytes)
        self._allowed_bytes = 0
        self.size_bytes = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: Buffer) -> None:
        if self._fd < 0:
            self._directory.mkdir(parents=True, exist_ok=True)
            fd, path = tempfile.mkstemp(dir=self._directory)
            os.unlink(path)
            self._fd = fd
            write_all(fd, self._pieces, 0)
            self._pieces = []
            self._allowance.give_back(self._allowed_bytes)
            self._allowed_bytes = 0
        write_all(self._fd, [data], self.size_bytes)
