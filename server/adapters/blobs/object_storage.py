"""Storage in a bucket of an object store; README.md has its format."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from server.adapters.blobs.audit_trail.trail import ChainedAuditTrail
from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_blobs.cache import PartCache
from server.adapters.blobs.object_blobs.names import BLOBS
from server.adapters.blobs.object_blobs.store import ObjectBlobs
from server.adapters.blobs.object_records.audit_place import ObjectPlace
from server.adapters.blobs.object_records.identity import ObjectIdentity
from server.adapters.blobs.object_records.journal import ObjectJournal
from server.adapters.blobs.object_records.marks import ObjectMarks
from server.adapters.blobs.object_records.scrub import ObjectScrubRecord
from server.adapters.blobs.objects.client import ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.adapters.blobs.objects.locks import ObjectLock
from server.model.storage.object_storage import ObjectStorageSettings
from server.ports.blobs import BlobStore

_LEASE_REQUEST_SECONDS = 5


class ObjectStorage:
    """Storage (see `server.ports.storage`) below the prefix of a client.

    Args:
        place: the URL of the client.
        folders: those with adopted files, by name.
    """

    def __init__(
        self,
        client: ObjectClient,
        place: str,
        settings: ObjectStorageSettings,
        folders: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self._folders = folders
        self._client = client
        self._settings = settings
        # A request without an answer must not cost the lease.
        self._lease = ProcessLease(ObjectClient(place, timeout_seconds=_LEASE_REQUEST_SECONDS, attempts=2))
        self._threads = DiskThreads(1)
        self.marks = ObjectMarks(client, self._lease)
        self.identity = ObjectIdentity(client, self._lease, self.marks, place, self._has_blobs)
        self.journal = ObjectJournal(client, self._lease)
        self.scrub = ObjectScrubRecord(client, self._lease)
        self.audit = ChainedAuditTrail(ObjectPlace(client, self._lease, self._threads))

    @property
    def directories(self) -> Sequence[Path]:
        """See the port."""
        return ()

    @asynccontextmanager
    async def blobs(self) -> AsyncIterator[BlobStore]:
        """See the port."""
        store = await asyncio.to_thread(self.identity.store_id)
        async with ObjectBlobs(
            self._client,
            self._lease,
            recovering=ObjectLock(self._client, self._lease, "recover"),
            compacting=ObjectLock(self._client, self._lease, "compact"),
            cache=PartCache(self._settings.cache, self._settings.cache_bytes),
            store_id=store,
            storage_class=self._settings.storage_class,
            folders=self._folders,
        ) as blobs:
            yield blobs

    def gather_records(self) -> None:
        """See the port: this is one store."""

    def close(self) -> None:
        """See the port."""
        self.scrub.close()
        self._threads.close()
        self.journal.close()
        self.marks.leave()
        self._lease.leave()

    def _has_blobs(self) -> bool:
        return next(self._client.names(f"{BLOBS}/", limit=1), None) is not None
