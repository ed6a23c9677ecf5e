"""Several storages as one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from server.adapters.blobs.store_set.audit import SetAuditTrail
from server.adapters.blobs.store_set.blobs import StoreSetBlobs
from server.adapters.blobs.store_set.identity import SetIdentity, SetMarks
from server.adapters.blobs.store_set.journal import SetJournal
from server.adapters.blobs.store_set.scrub import SetScrubRecord
from server.model.store_id import StoreId
from server.ports.blobs import BlobStore
from server.ports.storage import Storage


class StoreSet:
    """Storage (see `server.ports.storage`) that consists of several.

    Blobs and records are written to the primary one only. Of the further ones both are read, and blobs are erased.

    Args:
        primary: of setting `blobs`.
        further: of setting `blobs_also`.
    """

    def __init__(self, primary: Storage, further: Sequence[Storage] = ()) -> None:
        self._primary = primary
        self._stores = [primary, *further]
        self.identity = SetIdentity(self._stores)
        self.marks = SetMarks(self._stores)
        self.journal = SetJournal([store.journal for store in self._stores], self._ids)
        self.scrub = SetScrubRecord([store.scrub for store in self._stores])

    @property
    def audit(self) -> SetAuditTrail:
        """See the port."""
        return SetAuditTrail([store.audit for store in self._stores])

    @property
    def directories(self) -> Sequence[Path]:
        """See the port: those that are written."""
        return self._primary.directories

    @asynccontextmanager
    async def blobs(self) -> AsyncIterator[StoreSetBlobs]:
        """See the port."""
        async with AsyncExitStack() as stack:
            ids = await asyncio.to_thread(self._ids)
            stores: dict[StoreId, BlobStore] = {}
            for id_, store in zip(ids, self._stores, strict=True):
                stores[id_] = await stack.enter_async_context(store.blobs())
            yield StoreSetBlobs(ids[0], stores)

    def _ids(self) -> list[StoreId]:
        return [id_ for store in self._stores for id_ in store.identity.read().stores]

    def gather_records(self) -> None:
        """See the port. The audit trail stays: it is verified by the checkpoints beside it."""
        if self.identity.read().requires_authentication:
            self._primary.identity.require_authentication()
        self.journal.leave_out(self._ids())
        for id_, store in list(zip(self._ids(), self._stores, strict=True))[1:]:
            store.gather_records()
            self._primary.journal.absorb(id_, store.journal)

    def close(self) -> None:
        """See the port."""
        for store in self._stores:
            store.close()
