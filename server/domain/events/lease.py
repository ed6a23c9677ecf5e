"""A lease: work that one process of the archive does at a time, and that another one takes over when it ends."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from server.model.errors import DicomStoreError
from server.ports.events.leases import Leases, LeaseState

LEASE_SECONDS = 15.0
"""Time after which another process takes over from one that was killed."""

_log = logging.getLogger("dicomstore.lease")


class Lease:
    """Runs work while this process holds a lease.

    The holder renews the lease repeatedly. Another process takes it when it has seen no renewal for `seconds` of its
    own monotonic clock, so the clocks of the machines need not agree. A holder that cannot renew it stops its work
    earlier. As a process can be suspended at any time, transactions of the work must not rely on the lease alone.

    Args:
        holder: identifies this process.
    """

    def __init__(
        self,
        record: Leases,
        name: str,
        holder: str,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._clock = clock
        self._seen: LeaseState | None = None
        self._seen_at = clock()

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` whenever this process holds the lease, until cancelled. Work that fails is started again."""
        working: asyncio.Task[None] | None = None
        valid_until = self._clock()
        try:
            while True:
                asked = self._clock()
                if await self._is_taken():
                    valid_until = asked + self._seconds * 2 / 3
                    if working is None or working.done():
                        working = asyncio.create_task(_logged(work))
                elif working is not None and (self._seen is not None or self._clock() >= valid_until):
                    await _cancelled(working)
                    working = None
                await asyncio.sleep(self._seconds / 3)
        finally:
            if working is not None:
                await _cancelled(working)
                with contextlib.suppress(DicomStoreError):
                    await self._record.release(self._name, self._holder)

    async def _is_taken(self) -> bool:
        """Take or renew the lease; return whether this process holds it. `_seen` is the state of another holder."""
        stale = self._seen if self._clock() >= self._seen_at + self._seconds else None
        try:
            async with asyncio.timeout(self._seconds / 3):
                state = await self._record.take(self._name, self._holder, stale)
        except (DicomStoreError, TimeoutError):
            self._seen = None
            return False
        if state.holder == self._holder:
            self._seen = None
            return True
        if state != self._seen:
            self._seen, self._seen_at = state, self._clock()
        return False


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except DicomStoreError as error:
        _log.warning("work of a lease is interrupted reason=%s", error.reason)
    except Exception:  # noqa: BLE001 - it is started again
        _log.exception("work of a lease is interrupted by an unexpected fault")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
