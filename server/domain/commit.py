"""From durable bytes to visible instances, many in one transaction.

While one transaction runs, those who come meanwhile gather; the next transaction takes them together. A lone
instance never waits. The blobs are looked after here in every outcome: settled when the index has them, erased when
it refuses them, and asked about again when the database did not say what became of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from server.model.errors import DicomStoreError
from server.model.instance import AddOutcome, AlreadyStored, Locator, NewInstance
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex

_MOST_AT_ONCE = 200
_log = logging.getLogger("dicomstore.commit")

_Waiting = tuple[NewInstance, "asyncio.Future[AddOutcome]"]


class Committer:
    """Makes instances visible; the blob of each must be committed and becomes the committer's to look after."""

    def __init__(
        self,
        blobs: BlobStore,
        index: InstanceIndex,
        now: Callable[[], datetime],
        on_change: Callable[[], None],
    ) -> None:
        self._blobs = blobs
        self._index = index
        self._now = now
        self._on_change = on_change
        self._waiting: list[_Waiting] = []
        self._transaction = asyncio.Lock()
        self._in_doubt: set[Locator] = set()

    def add(self, instance: NewInstance) -> Awaitable[AddOutcome]:
        """Queue one instance at once; the result makes it visible, after those that were queued before.

        When the result is Added, the instance is durable; a cancelled caller may find it stored. For AlreadyStored the
        new blob is left to the caller, who may want to compare it; see `discard`.

        Raises, when awaited:
            Exhausted, Unavailable, NotFound: see `InstanceIndex.add`.
        """
        future: asyncio.Future[AddOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((instance, future))
        return self._added(future, asyncio.create_task(self._commit_when_free(future)))

    async def _added(self, future: "asyncio.Future[AddOutcome]", work: "asyncio.Task[None]") -> AddOutcome:
        try:
            return await asyncio.shield(future)
        finally:
            if future.done():
                await work

    async def discard(self, locators: Sequence[Locator]) -> None:
        """Erase blobs that no instance will name; if that fails now, it is tried again by `settle_doubts`."""
        try:
            await self._blobs.delete(locators)
        except DicomStoreError as error:
            _log.warning("could not erase unused blobs count=%d reason=%s", len(locators), error.reason)
            self._in_doubt.update(locators)

    async def settle_doubts(self) -> None:
        """Ask the index about blobs whose transaction ended without an answer; settle or erase them.

        Raises: as `InstanceIndex.known` and `BlobStore.delete`; what is still in doubt stays so.
        """
        await self.resolve(sorted(self._in_doubt))

    async def resolve(self, locators: Sequence[Locator]) -> None:
        """Settle those of `locators` that the index names, erase the others."""
        if not locators:
            return
        known = await self._index.known(locators)
        await self._blobs.settle([locator for locator in locators if locator in known])
        await self._blobs.delete([locator for locator in locators if locator not in known])
        self._in_doubt.difference_update(locators)

    async def _commit_when_free(self, future: "asyncio.Future[AddOutcome]") -> None:
        async with self._transaction:
            if future.done():
                return  # went with an earlier transaction
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            await self._commit(batch)

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._index.add([instance for instance, _ in batch], self._now())
        except DicomStoreError as error:
            for _, future in batch:
                future.set_exception(error)
            await self._after_failure([instance.locator for instance, _ in batch])
            return
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            self._in_doubt.update(instance.locator for instance, _ in batch)
            raise
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            future.set_result(outcome)
        self._on_change()
        added = [
            instance.locator
            for (instance, _), outcome in zip(batch, outcomes, strict=True)
            if not isinstance(outcome, AlreadyStored)
        ]
        try:
            await self._blobs.settle(added)
        except DicomStoreError as error:  # they stay unsettled, which costs a question at the next start
            _log.warning("could not settle blobs count=%d reason=%s", len(added), error.reason)

    async def _after_failure(self, locators: Sequence[Locator]) -> None:
        """A failed transaction may have been committed all the same: a lost connection does not say."""
        self._in_doubt.update(locators)
        try:
            await self.resolve(locators)
        except DicomStoreError as error:
            _log.warning("blobs in doubt count=%d reason=%s", len(self._in_doubt), error.reason)
