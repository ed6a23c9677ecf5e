"""Scrubbing: reading all blobs periodically, so that damage is found before the bytes are needed."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from crc32c import crc32c as crc32c_of

from server.domain.damage import DamageRecord, of_bytes
from server.domain.read_only import ReadOnlyState
from server.model.damage import NO_DAMAGE, Damage
from server.model.errors import DataLoss, DicomStoreError
from server.model.instance import StoredInstance
from server.model.lifecycle.kept import KeptVersion, VersionState
from server.model.storage.scrub import MAX_DAMAGED, ScrubPosition
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex
from server.ports.scrub import ScrubRecord

_PAGE = 20
_INTERVAL_SECONDS = 60.0
_MAX_BYTES_PER_SECOND = 64 << 20
_log = logging.getLogger("dicomstore.scrub")


class Scrub:
    """Reads every version once per period, also earlier ones and those of deleted instances, and records damage.

    Reading is spread evenly over the period.

    Any number of processes may run it; the scrub record lets one of them work at a time. It resumes after a restart.

    Args:
        latest: returns the highest version that this process knows.
        period: time for one pass over all instances; zero disables the scrub.
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        index: InstanceIndex,
        damage: DamageRecord,
        record: ScrubRecord,
        now: Callable[[], datetime],
        latest: Callable[[], int],
        period: timedelta,
        read_only: ReadOnlyState,
    ) -> None:
        self._blobs = blobs
        self._index = index
        self._damage = damage
        self._record = record
        self._now = now
        self._latest = latest
        self._period = period
        self._read_only = read_only

    async def run(self) -> None:
        """Call `run_once` repeatedly until cancelled or the archive is read-only."""
        interval_seconds = min(_INTERVAL_SECONDS, self._period.total_seconds() / 20)
        while self._period and not self._read_only.cause:
            try:
                await self.run_once()
            except DicomStoreError as error:
                _log.warning("the scrub failed and is retried reason=%s", error.reason)
            await asyncio.sleep(interval_seconds)

    async def run_once(self) -> None:
        """Read the instances that are due now.

        Raises: as the store and the index.
        """
        async with self._record.held() as is_held:
            if not is_held:
                return
            position = await self._record.load()
            if position is None or position.after is None:
                complete = position.complete if position else None
                if position is not None and self._now() < position.began + self._period:
                    return
                damaged = position.damaged if position else frozenset()
                position = ScrubPosition(self._now(), 0, complete, damaged)
                await self._record.save(position)
            await self._continue(position)

    async def _continue(self, position: ScrubPosition) -> None:
        began, after, damaged = position.began, position.after or 0, position.damaged
        while page := await self._index.kept_versions(after, _PAGE):
            is_due, before, found = False, after, set()
            for version in page:
                is_due = self._is_due(version.stored, began) and not self._read_only.cause
                if not is_due:
                    break
                if not await self._verify(version) and version.state is not VersionState.CURRENT:
                    found.add(int(version.stored.version))
                after = version.stored.version
            if after != before:
                damaged = _bounded(found.union(one for one in damaged if not before < one <= after))
                await self._record.save(replace(position, after=after, damaged=damaged))
            if not is_due:
                return
        if self._elapsed(began) < 1:
            return  # instances stored later in the period still belong to this pass
        damaged = frozenset(one for one in damaged if one <= after)
        await self._record.save(replace(position, after=None, complete=self._now(), damaged=damaged))
        _log.info("the scrub has read all instances last_version=%d", after)

    def _is_due(self, stored: StoredInstance, began: datetime) -> bool:
        elapsed = self._elapsed(began)
        return elapsed >= 1 or stored.version <= elapsed * self._latest()

    def _elapsed(self, began: datetime) -> float:
        """Return the elapsed fraction of the period."""
        return (self._now() - began) / self._period

    async def _verify(self, version: KeptVersion) -> bool:
        """Compare the bytes on disk with the checksum in the index; record or clear damage. Return whether they are
        equal."""
        stored = version.stored
        damage = await self._found(stored)
        if damage is NO_DAMAGE:
            if stored.damage.is_of_bytes:
                await self._damage.repaired(stored, stored.damage)
            return True
        now = await self._index.kept_versions(stored.version - 1, 1)
        if not now or now[0].stored.version != stored.version:
            return True  # erased in between, or restored as another version
        if now[0].stored.locator != stored.locator:
            return await self._verify(now[0])  # moved in between
        if now[0].state is VersionState.CURRENT:
            await self._damage.found(stored, damage)
        else:
            _log.warning(
                "damage found version=%d instance=%s damage=%s state=%s",
                stored.version,
                stored.id.instance,
                damage.text(),
                now[0].state,
            )
        return False

    async def _found(self, stored: StoredInstance) -> Damage:
        crc32c, size_bytes = 0, 0
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async for piece in self._blobs.read_unverified(stored.locator):
                crc32c = crc32c_of(piece, crc32c)
                size_bytes += len(piece)
                seconds = clock() - started
                await asyncio.sleep(max(seconds, len(piece) / _MAX_BYTES_PER_SECOND - seconds))
                started = clock()
        except DataLoss as error:
            return of_bytes(error)
        is_changed = (size_bytes, crc32c) != (stored.size_bytes, stored.crc32c)
        return Damage(is_changed=True) if is_changed else NO_DAMAGE


def _bounded(versions: Iterable[int]) -> frozenset[int]:
    return frozenset(sorted(versions)[:MAX_DAMAGED])
