"""What the core does by itself: finish what a crash interrupted, erase what was deleted long enough ago, let the blob
store give back space.
"""

import asyncio
import logging
from datetime import timedelta

from server.domain.read_only import ReadOnlyState
from server.domain.store.commit import Committer
from server.domain.upkeep.relocation import IndexRelocation
from server.domain.upkeep.steady_clock import SteadyClock
from server.model.errors import DicomStoreError
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex

_BATCH = 200
_log = logging.getLogger("dicomstore.housekeeping")


class Housekeeping:
    """Idempotent chores; several processes may do them at once."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        index: InstanceIndex,
        committer: Committer,
        clock: SteadyClock,
        retention: timedelta,
        quarantine: timedelta,
        read_only: ReadOnlyState,
    ) -> None:
        """Begin. What was deleted is kept for `retention`, what the index does not know for `quarantine` or longer."""
        self._blobs = blobs
        self._index = index
        self._committer = committer
        self._clock = clock
        self._read_only = read_only
        self._quarantine = max(quarantine, retention)
        self._relocation = IndexRelocation(
            blobs=blobs, index=index, committer=committer, now=clock.now, retention=retention
        )

    async def recover(self) -> int:
        """Decide about every blob that a dead process left unsettled: the index knows it, or it is quarantined.

        Returns how many there were; 0 if the archive is read-only: nobody can be asked then. Raises: Unavailable when
        index or blobs can't be reached.
        """
        count = 0
        if self._read_only.cause:
            return count
        async for locators in self._blobs.recover():
            await self._committer.resolve(locators)
            count += len(locators)
        return count

    async def erase(self) -> int:
        """Erase the blobs whose time has come; return how many."""
        count = 0
        while locators := await self._index.erasable(self._clock.now(), _BATCH):
            await self._blobs.delete(locators)
            await self._index.erased(locators)
            count += len(locators)
        return count

    async def end_quarantine(self) -> int:
        """Ask the index again about blobs whose quarantine is over, erase what it still does not know; say how many."""
        count = 0
        async for locators in self._blobs.quarantined(self._clock.now() - self._quarantine):
            known = await self._index.known(locators)
            unknown = [locator for locator in locators if locator not in known]
            await self._blobs.delete(unknown)
            await self._blobs.release(locators)
            count += len(unknown)
        return count

    async def run(self, interval_seconds: float) -> None:
        """Do the regular chores until cancelled or the archive is read-only. After a failure they are tried again."""
        while True:
            is_more = False
            if self._read_only.cause:  # what the index says of blobs can't be trusted
                return
            try:
                await self._clock.tick()
                await self.recover()
                await self._committer.settle_doubts()
                if erased := await self.erase():
                    _log.info("erased blobs count=%d", erased)
                if erased := await self.end_quarantine():
                    _log.warning("erased blobs after their quarantine count=%d", erased)
                is_more = await self._blobs.compact(self._relocation)
            except DicomStoreError as error:
                _log.warning("housekeeping failed reason=%s", error.reason)
            if not is_more:
                await asyncio.sleep(interval_seconds)
