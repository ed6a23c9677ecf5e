"""The position of the scrub, as a file beside the blobs: `scrub`, and `scrub.lock` for the process that scrubs."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.threads import DiskThreads, sync_directory
from server.model.scrub import ScrubPosition


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
            found: Any = json.loads(self._path.read_bytes())
            return ScrubPosition(
                datetime.fromisoformat(found["began"]),
                None if found["after"] is None else int(found["after"]),
                datetime.fromisoformat(found["complete"]) if found["complete"] else None,
            )
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return None  # the scrub starts over

    def _save(self, position: ScrubPosition) -> None:
        fresh = self._root / "scrub.new"
        complete = position.complete.isoformat() if position.complete else None
        with fresh.open("w") as file:
            json.dump({"began": position.began.isoformat(), "after": position.after, "complete": complete}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path)
        sync_directory(self._root)
