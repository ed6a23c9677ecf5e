"""Garbage collection: deciding about blobs that a crash left unsettled, erasing deleted blobs after the retention time,
ending quarantines, compaction, and retention of worklists.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

from common.telemetry.tracing import BLOBS, following
from server.domain.audit.recorder import RecordWork, unrecorded
from server.domain.read_only import ReadOnlyState
from server.domain.signal import wait
from server.domain.store.commit import Committer
from server.domain.upkeep.relocation import IndexRelocation
from server.domain.upkeep.steady_clock import SteadyClock
from server.model.errors import DicomStoreError
from server.model.instance import Locator
from server.model.lifecycle.erasure import ErasedVersion
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex
from server.ports.lifecycle.blob_moves import BlobMoves

_BATCH = 200
_RECORDED = 100
"""Maximum number of versions in an audit record."""

_log = logging.getLogger("dicomstore.housekeeping")


class Housekeeping:
    """Idempotent maintenance tasks.

    One process at a time does those for the whole archive (`run`); each process does its own (`run_own`).
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        index: InstanceIndex,
        moves: BlobMoves,
        committer: Committer,
        clock: SteadyClock,
        retention: timedelta,
        quarantine: timedelta,
        read_only: ReadOnlyState,
        work: RecordWork = unrecorded,
        others: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """`retention`: time until deleted bytes are erased; `quarantine`: minimum time until unknown blobs are; `work`
        records what is erased in the audit trail; `others`: other tasks for the archive."""
        self._others = others
        self._work = work
        self._blobs = blobs
        self._index = index
        self._committer = committer
        self._clock = clock
        self._read_only = read_only
        self._wake = asyncio.Event()
        self._quarantine = max(quarantine, retention)
        self._relocation = IndexRelocation(
            blobs=blobs, moves=moves, committer=committer, now=clock.now, retention=retention
        )

    async def recover(self) -> int:
        """Settle or quarantine every blob that an ended process left unsettled, depending on the index.

        Returns the number of quarantined blobs; 0 on a read-only archive, whose index is not reliable. Raises:
        Unavailable if index or blobs are not reachable.
        """
        count = 0
        if self._read_only.cause:
            return count
        async for locators in self._blobs.recover():
            await self._committer.resolve(locators)
            count += len(locators)
        return count

    async def erase(self) -> int:
        """Erase the blobs whose retention time is over; return their number."""
        count = 0
        while locators := await self._index.begin_erasure(self._clock.now(), _BATCH):
            with following("erase blobs", "", {BLOBS: len(locators)}):
                async with AsyncExitStack() as stack:
                    await self._record(stack, locators)
                    await self._blobs.delete(locators)
                    await self._index.erased(locators)
            count += len(locators)
        return count

    async def _record(self, stack: AsyncExitStack, locators: Sequence[Locator]) -> None:
        """Record the erasure of blobs in the audit trail: that of versions by who requested it and why, and others."""
        groups: dict[tuple[str, str, str], list[ErasedVersion]] = {}
        for one in await self._index.deleted_versions(locators):
            groups.setdefault((one.id.partition, one.author, one.reason), []).append(one)
        for (partition, author, reason), group in groups.items():
            for some in _slices(group):
                facts = {
                    "partition": partition,
                    "author": author,
                    "why": reason,
                    "blobs": [one.locator for one in some],
                    "erased": [
                        [one.id.study, one.id.series, one.id.instance, one.version, one.size_bytes, f"{one.crc32c:08x}"]
                        for one in some
                    ],
                    "items": len(some),
                }
                await stack.enter_async_context(self._work("garbage-collection", "erase", **facts))
        known = {one.locator for group in groups.values() for one in group}
        if others := [locator for locator in locators if locator not in known]:
            work = self._work("garbage-collection", "erase", blobs=others, items=len(others))
            await stack.enter_async_context(work)

    async def end_quarantine(self) -> int:
        """Erase blobs that are still unknown to the index at the end of their quarantine; return their number."""
        count = 0
        async for locators in self._blobs.quarantined(self._clock.now() - self._quarantine):
            known = await self._index.known(locators)
            unknown = [locator for locator in locators if locator not in known]
            if unknown:
                work = self._work("garbage-collection", "erase-quarantined", blobs=unknown, items=len(unknown))
                with following("erase quarantined blobs", "", {BLOBS: len(unknown)}):
                    async with work:
                        await self._blobs.delete(unknown)
            await self._blobs.release(locators)
            count += len(unknown)
        return count

    def start_soon(self) -> None:
        """Let `run` begin its next run at once."""
        self._wake.set()

    async def run(self, interval_seconds: float) -> None:
        """Run the tasks for the archive at an interval, and after `start_soon`, until cancelled or it is read-only.

        The next run retries failures.
        """
        while True:
            is_more = False
            if self._read_only.cause:  # the index may lack blobs that are in use
                return
            self._wake.clear()
            try:
                await self._clock.tick()
                await self.recover()
                if erased := await self.erase():
                    _log.info("erased blobs count=%d", erased)
                if erased := await self.end_quarantine():
                    _log.warning("erased blobs after their quarantine count=%d", erased)
                for other in self._others:
                    await other()
                is_more = await self._blobs.compact(self._relocation)
            except DicomStoreError as error:
                _log.warning("housekeeping failed reason=%s", error.reason)
            if not is_more:
                await wait(self._wake, interval_seconds)

    async def run_own(self, interval_seconds: float) -> None:
        """Keep the clock of this process, and decide about its blobs in doubt, until cancelled or read-only."""
        while not self._read_only.cause:
            try:
                await self._clock.tick()
                await self._committer.resolve_in_doubt()
            except DicomStoreError as error:
                _log.warning("housekeeping failed reason=%s", error.reason)
            await asyncio.sleep(interval_seconds)


def _slices(group: Sequence[ErasedVersion]) -> Iterator[Sequence[ErasedVersion]]:
    for start in range(0, len(group), _RECORDED):
        yield group[start : start + _RECORDED]
