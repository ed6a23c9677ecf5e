"""The position of the scrub, as a file beside the blobs: `scrub`, and `scrub.lock` for the process that scrubs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.adapters.blobs.archive_records.scrub_format import parsed_position, position_text
from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.threads import DiskThreads, sync_directory
from server.model.storage.scrub import ScrubPosition


class ScrubFile:
    """ScrubRecord (see `server.ports.scrub`) below a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "scrub"
        self._threads = DiskThreads(1)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[bool]:
        """See the port."""
        fd = await self._threads.run(lambda: lock_if_free(self._root / "scrub.lock"))
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    async def load(self) -> ScrubPosition | None:
        """See the port."""
        return await self._threads.run(self._load)

    async def save(self, position: ScrubPosition) -> None:
        """See the port."""
        await self._threads.run(lambda: self._save(position))

    def close(self) -> None:
        """End the thread."""
        self._threads.close()

    def _load(self) -> ScrubPosition | None:
        try:
            return parsed_position(self._path.read_bytes())
        except FileNotFoundError:
            return None

    def _save(self, position: ScrubPosition) -> None:
        fresh = self._root / "scrub.new"
        with fresh.open("wb") as file:
            file.write(position_text(position))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path)
        sync_directory(self._root)
