"""Fair sharing of a limited number of slots, such as concurrent calls, among clients."""

from collections.abc import Hashable

FACTOR = 4


def may_hold_more(held: float, more: float, free: float, reserve: float) -> bool:
    """Return whether a client that holds a part of a resource may take more of it.

    A client that holds some already may hold at most `FACTOR` times as much as then remains free beyond the reserve.
    Alone it gets four fifths of the resource. If several clients take all they can, each of them gets less as they
    release what they hold, and a part remains free for a client that comes later (dynamic thresholds, as in switches
    with shared memory).
    """
    return held == 0 or held + more <= FACTOR * (free - reserve)


class Shares:
    """Slots of which no client takes all. Only clients that hold slots occupy memory."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self._held: dict[Hashable, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether no slot is free."""
        return self.taken >= self.slots

    def take(self, client: Hashable | None) -> bool:
        """Take a slot; return False if none is free, or none for this client. None has no limit of its own."""
        if self.is_full:
            return False
        if client is not None:
            held = self._held.get(client, 0)
            if not may_hold_more(held, 1, self.slots - self.taken, 1):
                return False
            self._held[client] = held + 1
        self.taken += 1
        return True

    def release(self, client: Hashable | None) -> None:
        """Release a slot that the client took."""
        self.taken -= 1
        if client is not None:
            if self._held[client] == 1:
                del self._held[client]
            else:
                self._held[client] -= 1
