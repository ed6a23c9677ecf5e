"""Memory budget for instances on their way to disk; all uploads of the process share it.

Each upload has a `Share`. It takes `BASE_BYTES` before it reads its first message: they cover the message at hand, the
instances in it, and what the blob store buffers of an open one. It keeps them until no instance is open and another
upload waits; then it goes to the end of the queue. Three things may be held besides:

    carried   instances that are being finished while the next message is read; only if they fit at once
    grown     header of the open instance beyond the usual size; may have to be waited for
    in gRPC   what the client has sent and the upload has not read; bounded by flow control, not counted here

Invariants:

1. The used bytes never exceed the capacity, except for one share at a time that has grown beyond it, by one header at
   most.
2. A holder waits only to grow, and one growing holder is always admitted; every holder therefore finishes and releases.
   No deadlock.
3. The queue is served in order; an upload carries more only while none waits.
4. Waiting uploads do not depend on idle ones: a share between instances whose client sends nothing lends its base after
   a moment, and one with an open instance whose client has sent nothing for the whole of `idle_timeout_seconds` is
   evicted.
5. No upload waits for much longer than `idle_timeout_seconds`; then it fails with BUSY.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from server.model.errors import Exhausted, Reason

BASE_BYTES = 1 << 20
"""What each upload needs to go on."""

MOST_CARRIED_BYTES = 8 << 20
"""Of one upload."""

_TICK_SECONDS = 0.2
"""Time between two rounds of `_serve_waiting`, and how long a client may be silent between instances meanwhile."""


def busy() -> Exhausted:
    """Return the error of an upload that the budget is too small for."""
    return Exhausted(Reason.BUSY, "The server has too many uploads in flight; try again later.")


class _Waiter:
    """A share in the queue."""

    def __init__(self, share: "Share", size: int, deadline: float) -> None:
        self.share = share
        self.size = size
        self.deadline = deadline
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class IngestBudget:
    """The budget. To be used within one event loop."""

    def __init__(self, capacity_bytes: int, idle_timeout_seconds: float) -> None:
        assert capacity_bytes >= BASE_BYTES
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._idle_timeout = idle_timeout_seconds
        self._tick = min(_TICK_SECONDS, idle_timeout_seconds / 4)
        self._shares: dict[Share, None] = {}  # those with a base
        self._entering: deque[_Waiter] = deque()
        self._growing: deque[_Waiter] = deque()
        self._widest: Share | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Number of waiting uploads."""
        return len(self._entering) + len(self._growing)

    def fits(self, size: int) -> bool:
        """Return whether so many bytes are free at once, without overtaking a waiting upload."""
        return not self.waiting and self.used_bytes + size <= self.capacity_bytes

    def may_grow(self, share: "Share", size: int) -> bool:
        """Return whether a share may grow at once: the bytes are free, or no other share is beyond the capacity."""
        return self.used_bytes + size <= self.capacity_bytes or self._widest in (None, share)

    def take(self, share: "Share", size: int) -> None:
        """Give bytes to a share."""
        self.used_bytes += size
        share.held_bytes += size
        if self.used_bytes > self.capacity_bytes:
            self._widest = share

    def give(self, share: "Share", size: int) -> None:
        """Take bytes back from a share, and admit waiting uploads."""
        self.used_bytes -= size
        share.held_bytes -= size
        if self.used_bytes <= self.capacity_bytes:
            self._widest = None
        self._grant()

    def add(self, share: "Share") -> None:
        """Give a share its base."""
        self.take(share, BASE_BYTES)
        self._shares[share] = None

    def remove(self, share: "Share") -> None:
        """Take the base of a share back, if it has one."""
        if share in self._shares:
            del self._shares[share]
            self.give(share, BASE_BYTES)

    def has(self, share: "Share") -> bool:
        """Return whether a share has its base."""
        return share in self._shares

    async def wait(self, share: "Share", growth: int = 0) -> None:
        """Wait for the base, or for growth. Raises Exhausted (BUSY)."""
        queue = self._growing if growth else self._entering
        deadline = asyncio.get_running_loop().time() + self._idle_timeout
        waiter = _Waiter(share, growth or BASE_BYTES, deadline)
        queue.append(waiter)
        self._serve_waiting()
        try:
            await waiter.granted  # what was granted to one that is cancelled now goes back when its share is closed
        finally:
            if waiter in queue:
                queue.remove(waiter)
                self._grant()

    def _grant(self) -> None:
        while self._growing and self.may_grow(self._growing[0].share, self._growing[0].size):
            waiter = self._growing.popleft()
            if not waiter.granted.done():
                self.take(waiter.share, waiter.size)
                waiter.granted.set_result(None)
        while self._entering and not self._growing and self.used_bytes + BASE_BYTES <= self.capacity_bytes:
            waiter = self._entering.popleft()
            if not waiter.granted.done():
                self.add(waiter.share)
                waiter.granted.set_result(None)

    def _serve_waiting(self) -> None:
        """Reclaim bytes for waiting uploads, or fail those that have waited too long; now and every tick."""
        now = asyncio.get_running_loop().time()
        for share in [share for share in self._shares if share.is_idle and now - share.moved_at >= self._tick]:
            if self._entering:
                self.remove(share)
        waiters = [*self._growing, *self._entering]
        if any(now >= waiter.deadline for waiter in waiters) and not self._evict(now - self._idle_timeout):
            for waiter in waiters:
                if now >= waiter.deadline and not waiter.granted.done():
                    waiter.granted.set_exception(busy())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.waiting:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._serve_waiting)

    def _evict(self, moved_before: float) -> int:
        """Evict shares that did not move for so long; return how many."""
        stale = [share for share in self._shares if share.moved_at <= moved_before and not share.is_evicted]
        for share in stale:
            share.is_evicted = True
            share.evict()
        return len(stale)


class Share:
    """What one upload holds, which must `close` it. `evict` must end the upload."""

    def __init__(self, budget: IngestBudget, evict: Callable[[], object]) -> None:
        self.evict = evict
        self.is_evicted = False
        self.is_idle = False
        self.held_bytes = 0
        self.carried_bytes = 0
        self.moved_at = asyncio.get_running_loop().time()
        self._budget = budget

    async def enter(self) -> None:
        """Wait for the base, unless it is there already. Raises Exhausted (BUSY)."""
        self.is_idle = False
        if not self._budget.has(self):
            if self._budget.fits(BASE_BYTES):
                self._budget.add(self)
            else:
                await self._budget.wait(self)
        self.moved_at = asyncio.get_running_loop().time()

    def rest(self, *, lend: bool, grace_seconds: float = 0.0) -> None:
        """The client has the word. If asked to, the base is lent to others when it lets us wait, but not before."""
        self.moved_at = asyncio.get_running_loop().time() + grace_seconds
        self.is_idle = lend

    async def pass_on(self) -> None:
        """Let waiting uploads go first. To be called when no instance is open."""
        if self._budget.waiting:
            self._budget.remove(self)
            await self.enter()

    def carry(self, size: int) -> bool:
        """Take bytes for instances that are being finished; False if they are not free at once."""
        if size and (self.carried_bytes + size > MOST_CARRIED_BYTES or not self._budget.fits(size)):
            return False
        self._budget.take(self, size)
        self.carried_bytes += size
        return True

    def drop(self, size: int) -> None:
        """Give back what was carried."""
        self.carried_bytes -= size
        self._budget.give(self, size)

    async def grow(self, size: int) -> None:
        """Wait for the bytes of an uncommonly large header. Raises Exhausted (BUSY)."""
        if self._budget.may_grow(self, size):
            self._budget.take(self, size)
        else:
            await self._budget.wait(self, size)

    def shrink(self, size: int) -> None:
        """Give back what was grown."""
        self._budget.give(self, size)

    def close(self) -> None:
        """Give everything back."""
        self._budget.remove(self)
        self._budget.give(self, self.held_bytes)
