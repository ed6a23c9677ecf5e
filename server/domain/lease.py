"""A lease: work that one process of the archive does at a time, and that another one takes over when it ends."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from server.domain.signal import wait
from server.model.errors import DicomStoreError
from server.ports.events.leases import Leases, LeaseState

LEASE_SECONDS = 9.0
"""Time after which another process takes over from one that was killed or is suspended, plus a third of it."""

Work = Callable[[], Awaitable[None]]

_log = logging.getLogger("dicomstore.lease")


class Lease:
    """Runs work while this process holds a lease.

    The holder renews the lease repeatedly. Another process takes it when it has seen no renewal for `seconds` of its
    own monotonic clock, so the clocks of the machines need not agree. A holder that cannot renew it stops its work
    earlier. As a process can be suspended at any time, transactions of the work must not rely on the lease alone.

    Args:
        holder: identifies this process.
        woken: called when any process has called `wake` and this one holds the lease.
    """

    def __init__(
        self,
        record: Leases,
        name: str,
        holder: str,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        woken: Callable[[], None] = lambda: None,
    ) -> None:
        self._record = record
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._clock = clock
        self._woken = woken
        self._wakes = 0
        self._is_wanted = asyncio.Event()
        self._working: list[asyncio.Task[None]] = []
        self._seen: LeaseState | None = None
        self._seen_at = clock()

    def wake(self) -> None:
        """Let the holder, in whatever process it is, look for work; within seconds."""
        if self._working:
            self._woken()
        else:
            self._is_wanted.set()

    async def run(self, *works: Work) -> None:
        """Run the works concurrently whenever this process holds the lease, until cancelled.

        A work that fails or ends is started again, at most once per renewal.
        """
        valid_until = self._clock()
        try:
            while True:
                asked = self._clock()
                if await self._is_taken():
                    valid_until = asked + self._seconds * 2 / 3
                    self._start(works)
                elif self._working and (self._seen is not None or self._clock() >= valid_until):
                    await self._stop()
                await self._pass_on()
                await wait(self._is_wanted, self._seconds / 3)
        finally:
            if self._working:
                await self._stop()
                with contextlib.suppress(DicomStoreError):
                    await self._record.release(self._name, self._holder)

    def _start(self, works: tuple[Work, ...]) -> None:
        running = [*self._working, *[None] * (len(works) - len(self._working))]
        self._working = [
            asyncio.create_task(_logged(work)) if task is None or task.done() else task
            for work, task in zip(works, running, strict=True)
        ]

    async def _stop(self) -> None:
        tasks, self._working = self._working, []
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

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
            if self._working and state.wakes != self._wakes:
                self._woken()
            self._wakes = state.wakes
            return True
        if state != self._seen:
            self._seen, self._seen_at = state, self._clock()
        return False

    async def _pass_on(self) -> None:
        """Tell the holder that `wake` was called here. A failure is harmless: the holder works at intervals, too."""
        if not self._is_wanted.is_set():
            return
        self._is_wanted.clear()
        if self._working:
            self._woken()
        else:
            with contextlib.suppress(DicomStoreError):
                await self._record.wake(self._name)


async def _logged(work: Work) -> None:
    try:
        await work()
    except DicomStoreError as error:
        _log.warning("work of a lease is interrupted reason=%s", error.reason)
    except Exception:  # noqa: BLE001 - it is started again
        _log.exception("work of a lease is interrupted by an unexpected fault")
