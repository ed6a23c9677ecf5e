"""The position of the scrub, on an object store: `scrub`, and `locks/scrub` for the process that scrubs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.adapters.blobs.archive_records.scrub_format import parsed_position, position_text
from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.objects.client import NotFound, ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.adapters.blobs.objects.locks import ObjectLock
from server.model.storage.scrub import ScrubPosition

_NAME = "scrub"


class ObjectScrubRecord:
    """ScrubRecord (see `server.ports.scrub`)."""

    def __init__(self, client: ObjectClient, lease: ProcessLease) -> None:
        self._client = client
        self._lock = ObjectLock(client, lease, "scrub")
        self._threads = DiskThreads(1)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[bool]:
        """See the port."""
        token = await self._threads.run(self._lock.acquire)
        try:
            yield token is not None
        finally:
            if token is not None:
                await self._threads.run(lambda: self._lock.release(token))

    async def load(self) -> ScrubPosition | None:
        """See the port."""
        return await self._threads.run(self._load)

    async def save(self, position: ScrubPosition) -> None:
        """See the port."""
        await self._threads.run(lambda: self._client.put(_NAME, position_text(position)))

    def close(self) -> None:
        """End the thread."""
        self._threads.close()

    def _load(self) -> ScrubPosition | None:
        try:
            return parsed_position(self._client.get(_NAME)[0])
        except NotFound:
            return None
