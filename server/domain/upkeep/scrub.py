"""Reading all blobs once in a while, so that damage is found before the bytes are needed."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from crc32c import crc32c as crc32c_of

from server.domain.damage import DamageRecord, of_bytes
from server.domain.read_only import ReadOnlyState
from server.model.damage import NO_DAMAGE, Damage
from server.model.errors import DataLoss, DicomStoreError
from server.model.instance import StoredInstance
from server.model.scrub import ScrubPosition
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex
from server.ports.scrub import ScrubRecord

_PAGE = 20
_INTERVAL_SECONDS = 60.0
_MOST_BYTES_A_SECOND = 64 << 20
_log = logging.getLogger("dicomstore.scrub")


class Scrub:
    """Reads every instance once in a period, spread evenly over it, and records which are damaged.

    Any number of processes may try; the record lets one of them work. After a restart it goes on where it was.

    Args:
        latest: the last version that was given out, as far as this process knows.
        period: within which all instances are read; none is if it is zero.
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
        """Read what is due, again and again, until cancelled or the archive is read-only."""
        interval_seconds = min(_INTERVAL_SECONDS, self._period.total_seconds() / 20)
        while self._period and not self._read_only.cause:
            try:
                await self.turn()
            except DicomStoreError as error:
                _log.warning("the scrub failed and is retried reason=%s", error.reason)
            await asyncio.sleep(interval_seconds)

    async def turn(self) -> None:
        """Read the instances that are due by now.

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
                position = ScrubPosition(self._now(), 0, complete)
                await self._record.save(position)
            await self._go_on(position.began, position.after or 0, position.complete)

    async def _go_on(self, began: datetime, after: int, complete: datetime | None) -> None:
        while page := await self._index.locators(after, _PAGE):
            is_due, before = False, after
            for stored in page:
                is_due = self._is_due(stored, began) and not self._read_only.cause
                if not is_due:
                    break
                await self._verify(stored)
                after = stored.version
            if after != before:
                await self._record.save(ScrubPosition(began, after, complete))
            if not is_due:
                return
        if self._share(began) < 1:
            return  # instances that are stored in the rest of the time belong to it
        await self._record.save(ScrubPosition(began, None, self._now()))
        _log.info("the scrub has read all instances last_version=%d", after)

    def _is_due(self, stored: StoredInstance, began: datetime) -> bool:
        share = self._share(began)
        return share >= 1 or stored.version <= share * self._latest()

    def _share(self, began: datetime) -> float:
        """Return how much of the time is over."""
        return (self._now() - began) / self._period

    async def _verify(self, stored: StoredInstance) -> None:
        """Compare the bytes on the disk with the checksum in the index; record damage, and that there is none."""
        damage = await self._found(stored)
        if damage is NO_DAMAGE:
            if stored.damage.is_of_bytes:
                await self._damage.repaired(stored, stored.damage)
            return
        current = await self._index.locators(stored.version - 1, 1)
        if not current or current[0].version != stored.version:
            return  # it was deleted meanwhile
        if current[0].locator == stored.locator:
            await self._damage.found(stored, damage)
        else:
            await self._verify(current[0])  # it was moved meanwhile

    async def _found(self, stored: StoredInstance) -> Damage:
        crc32c, size_bytes = 0, 0
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async for piece in self._blobs.read_unverified(stored.locator):
                crc32c = crc32c_of(piece, crc32c)
                size_bytes += len(piece)
                seconds = clock() - started
                await asyncio.sleep(max(seconds, len(piece) / _MOST_BYTES_A_SECOND - seconds))
                started = clock()
        except DataLoss as error:
            return of_bytes(error)
        is_changed = (size_bytes, crc32c) != (stored.size_bytes, stored.crc32c)
        return Damage(is_changed=True) if is_changed else NO_DAMAGE
