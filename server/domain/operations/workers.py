"""The operations workers of all machines: a worker that ends without a word is replaced within seconds."""

import time
from collections.abc import Callable, Sequence

from server.domain.lease import LEASE_SECONDS
from server.ports.events.leases import Leases, LeaseState

PREFIX = "operations-worker "
"""Begin of the names of the leases of workers."""


class Workers:
    """Each worker renews a lease of its own; the others see when it no longer does.

    Args:
        name: of this worker; a worker with the name of an ended one replaces it.
        holder: random id of this process.
        seconds: time without renewals after which a worker is considered ended.
    """

    def __init__(
        self,
        record: Leases,
        name: str,
        holder: str,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._record = record
        self._lease = PREFIX + name
        self._holder = holder
        self._seconds = seconds
        self._clock = clock
        self._renew_at = float("-inf")
        self._seen: dict[str, tuple[LeaseState, float]] = {}

    async def look(self) -> Sequence[str]:
        """Renew the lease of this worker if that is due; return the names of workers that have ended.

        Each is returned to one worker, which calls `replaced` when it has taken over the work. Raises: Unavailable.
        """
        if self._clock() < self._renew_at:
            return []
        await self._take(self._lease)
        self._renew_at = self._clock() + self._seconds / 3
        states = await self._record.states(PREFIX)
        self._seen = {
            lease: (state, self._seen[lease][1] if self._seen.get(lease, (None,))[0] == state else self._clock())
            for lease, state in states.items()
            if lease != self._lease
        }
        ended_before = self._clock() - self._seconds
        stale = [(lease, state) for lease, (state, since) in self._seen.items() if since <= ended_before]
        taken = [lease for lease, state in stale if await self._takes(lease, state)]
        return [lease.removeprefix(PREFIX) for lease in taken]

    async def _take(self, lease: str) -> None:
        """Take the lease, also that of an ended worker with this name."""
        state = await self._record.take(lease, self._holder, None)
        if state.holder != self._holder:
            await self._record.take(lease, self._holder, state)

    async def _takes(self, lease: str, state: LeaseState) -> bool:
        return (await self._record.take(lease, self._holder, state)).holder == self._holder

    async def replaced(self, name: str) -> None:
        """Note that this worker has taken over the work of an ended one. Raises: Unavailable."""
        await self._record.release(PREFIX + name, self._holder)

    async def leave(self) -> None:
        """Note that this worker ends, and leaves no work. Raises: Unavailable."""
        await self._record.release(self._lease, self._holder)
