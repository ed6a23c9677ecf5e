"""Memory budget for instances on their way to disk, shared by all uploads of the process.

Each upload has a `Reservation`. It acquires `BASE_BYTES` before it reads its first message: they cover the current
message, the instances in it, and what the blob store buffers of an open one. The upload keeps them until no instance is
open and another upload waits; then it goes to the end of the queue. Three more things may be held:

    finishing   instances that are being finished while the next message is read; only if the budget allows it at once
    header      header bytes of the open instance beyond the usual size; the upload may have to wait for them
    in gRPC     bytes that the client has sent and the core has not read; bounded by flow control, not counted here

Invariants:

1. The used bytes never exceed the capacity, except for one upload at a time, by one header at most.
2. A holder waits only to grow, and one growing holder is always admitted; every holder therefore finishes and releases.
   There is no deadlock.
3. Of the waiting uploads, the first one of the client that holds the least enters; the uploads of a client keep their
   order. Bytes for finishing instances are only reserved while no upload waits.
4. Idle clients do not block waiting uploads: between instances, the base of an upload whose client is silent is lent to
   others after a moment; an upload with an open instance whose client is silent for `wait_seconds` is evicted.
5. No upload waits for much longer than `wait_seconds`; then it fails with BUSY.
6. No client holds so much that others cannot enter (`common.shares`), or more than `client_bytes` besides the first
   base. This does not apply to an upload that grows, nor to clients that are not distinguished.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from common.shares import may_hold_more
from server.model.errors import Exhausted, Reason

BASE_BYTES = 1 << 20
"""Bytes that every upload needs."""

MAX_FINISHING_BYTES = 24 << 20
"""Limit for one upload."""

_TICK_SECONDS = 0.2
"""Interval between checks of the queue, and how long a client may be silent between instances while others wait."""


def busy() -> Exhausted:
    """Return the error of an upload that the budget does not admit."""
    return Exhausted(Reason.BUSY, "The server has too many uploads in flight; try again later.")


def _nothing() -> None:
    """Do nothing."""


class _Waiter:
    """An upload in the queue."""

    def __init__(self, reservation: "Reservation", size: int, deadline: float) -> None:
        self.reservation = reservation
        self.size = size
        self.deadline = deadline
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class IngestBudget:
    """The budget of a process, for use within one event loop.

    Args:
        capacity_bytes: at least `BASE_BYTES`.
        wait_seconds: time limit for a waiting upload, and for a silent client with an open instance while others wait.
        client_bytes: limit of the bytes of one client; 0 means none besides its share.
    """

    def __init__(self, capacity_bytes: int, wait_seconds: float, client_bytes: int = 0) -> None:
        assert capacity_bytes >= BASE_BYTES
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._wait_seconds = wait_seconds
        self._client_bytes = client_bytes
        self._held: dict[str, int] = {}  # by client
        self._tick = min(_TICK_SECONDS, wait_seconds / 4)
        self._admitted: dict[Reservation, None] = {}  # an ordered set
        self._entering: deque[_Waiter] = deque()
        self._growing: deque[_Waiter] = deque()
        self._over_capacity: Reservation | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Number of waiting uploads."""
        return len(self._entering) + len(self._growing)

    def fits(self, reservation: "Reservation", size: int) -> bool:
        """True if `size` bytes are free for a reservation and no upload waits for free bytes."""
        if self._growing or (self._entering and any(self._candidates())):
            return False
        return self.used_bytes + size <= self.capacity_bytes and self._is_in_share(reservation, size)

    def _is_in_share(self, reservation: "Reservation", size: int) -> bool:
        """True unless the client holds so much that it must leave `size` free bytes to others."""
        held = self._held.get(reservation.client, 0) if reservation.client is not None else 0
        if self._client_bytes and held and held + size > self._client_bytes:
            return False
        return may_hold_more(held, size, self.capacity_bytes - self.used_bytes, BASE_BYTES)

    def _candidates(self) -> Iterator[_Waiter]:
        """Yield the uploads that wait for free bytes, and not for others of their client."""
        return (each for each in self._entering if self._is_in_share(each.reservation, BASE_BYTES))

    def _first_to_enter(self) -> _Waiter | None:
        """Return the waiting upload that enters next, if there is room for one."""
        if self.used_bytes + BASE_BYTES > self.capacity_bytes:
            return None
        return min(self._candidates(), key=lambda each: self._held.get(each.reservation.client or "", 0), default=None)

    def can_grow(self, reservation: "Reservation", size: int) -> bool:
        """True if a reservation may grow at once: the bytes are free, or no other one exceeds the capacity."""
        return self.used_bytes + size <= self.capacity_bytes or self._over_capacity in (None, reservation)

    def charge(self, reservation: "Reservation", size: int) -> None:
        """Add bytes to a reservation."""
        self.used_bytes += size
        reservation.held_bytes += size
        self._count(reservation, size)
        if self.used_bytes > self.capacity_bytes:
            self._over_capacity = reservation

    def release(self, reservation: "Reservation", size: int) -> None:
        """Take bytes back from a reservation and admit waiting uploads."""
        if not size:
            return
        self.used_bytes -= size
        reservation.held_bytes -= size
        self._count(reservation, -size)
        if self.used_bytes <= self.capacity_bytes:
            self._over_capacity = None
        if self._growing or self._entering:
            self._admit_waiting()

    def _count(self, reservation: "Reservation", size: int) -> None:
        """Add to the bytes of a client; a client without any is forgotten."""
        if (client := reservation.client) is not None:
            self._held[client] = self._held.get(client, 0) + size
            if not self._held[client]:
                del self._held[client]

    def admit(self, reservation: "Reservation") -> None:
        """Give a reservation its base."""
        self.charge(reservation, BASE_BYTES)
        self._admitted[reservation] = None

    def release_base(self, reservation: "Reservation") -> None:
        """Take the base of a reservation back, if it has one."""
        if reservation in self._admitted:
            del self._admitted[reservation]
            self.release(reservation, BASE_BYTES)

    def is_admitted(self, reservation: "Reservation") -> bool:
        """True if a reservation has its base."""
        return reservation in self._admitted

    async def wait(self, reservation: "Reservation", growth: int = 0) -> None:
        """Wait for the base, or for growth. Raises Exhausted (BUSY)."""
        queue = self._growing if growth else self._entering
        deadline = asyncio.get_running_loop().time() + self._wait_seconds
        waiter = _Waiter(reservation, growth or BASE_BYTES, deadline)
        queue.append(waiter)
        self._check_queue()
        try:
            await waiter.granted  # bytes granted to a waiter that is cancelled now are released by `close`
        finally:
            if waiter in queue:
                queue.remove(waiter)
                self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._growing and self.can_grow(self._growing[0].reservation, self._growing[0].size):
            waiter = self._growing.popleft()
            if not waiter.granted.done():
                self.charge(waiter.reservation, waiter.size)
                waiter.granted.set_result(None)
        while not self._growing and (entering := self._first_to_enter()) is not None:
            self._entering.remove(entering)
            if not entering.granted.done():
                self.admit(entering.reservation)
                entering.granted.set_result(None)

    def _check_queue(self) -> None:
        """Take bytes back from idle uploads and refuse uploads at their deadline, now and at every tick."""
        now = asyncio.get_running_loop().time()
        for holder in [each for each in self._admitted if each.is_idle and now - each.active_at >= self._tick]:
            if self._entering:
                self.release_base(holder)
        waiters = [*self._growing, *self._entering]
        if any(now >= waiter.deadline for waiter in waiters) and not self._evict(now - self._wait_seconds):
            for waiter in waiters:
                if now >= waiter.deadline and not waiter.granted.done():
                    waiter.granted.set_exception(busy())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.waiting:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._check_queue)

    def _evict(self, inactive_since: float) -> int:
        """Evict uploads whose client has been silent since then; return their number."""
        stale = [each for each in self._admitted if each.active_at <= inactive_since and not each.is_evicted]
        for reservation in stale:
            reservation.is_evicted = True
            reservation.evict()
        return len(stale)


class Reservation:
    """The part of the budget that one upload holds. The upload must `close` it.

    Args:
        evict: must end the upload.
        client: to which the upload belongs; None if clients are not distinguished.
    """

    def __init__(self, budget: IngestBudget, evict: Callable[[], object], client: str | None = None) -> None:
        self.client = client
        self.evict = evict
        self.is_evicted = False
        self.is_idle = False
        self.held_bytes = 0
        self.finishing_bytes = 0
        self.active_at = asyncio.get_running_loop().time()
        self._budget = budget

    async def acquire(self) -> None:
        """Wait for the base, unless it is held already. Raises Exhausted (BUSY)."""
        self.is_idle = False
        if not self._budget.is_admitted(self):
            if self._budget.fits(self, BASE_BYTES):
                self._budget.admit(self)
            else:
                await self._budget.wait(self)
        self.active_at = asyncio.get_running_loop().time()

    def await_client(self, *, lend: bool, grace_seconds: float = 0.0) -> None:
        """Record that the upload waits for its client from now on, until `acquire`.

        Args:
            lend: others may use the base while the client is silent.
            grace_seconds: how long not even then.
        """
        self.active_at = asyncio.get_running_loop().time() + grace_seconds
        self.is_idle = lend

    async def yield_to_waiting(self) -> None:
        """Go to the end of the queue if other uploads wait. Call it only while no instance is open."""
        if self._budget.waiting:
            self._budget.release_base(self)
            await self.acquire()

    def reserve_finishing(self, size: int) -> bool:
        """Reserve bytes for instances that are being finished; False if they are not free at once."""
        if not size:
            return True
        if self.finishing_bytes + size > MAX_FINISHING_BYTES or not self._budget.fits(self, size):
            return False
        self._budget.charge(self, size)
        self.finishing_bytes += size
        return True

    def release_finishing(self, size: int) -> None:
        """Release bytes of finished instances."""
        self.finishing_bytes -= size
        self._budget.release(self, size)

    async def reserve_header(self, size: int) -> None:
        """Wait for bytes for an unusually large header. Raises Exhausted (BUSY)."""
        if self._budget.can_grow(self, size):
            self._budget.charge(self, size)
        else:
            await self._budget.wait(self, size)

    def release_header(self, size: int) -> None:
        """Release bytes of a header."""
        self._budget.release(self, size)

    def close(self) -> None:
        """Release everything."""
        self._budget.release_base(self)
        self._budget.release(self, self.held_bytes)
        self.evict = _nothing  # breaks a reference cycle with the upload, which would be freed late
