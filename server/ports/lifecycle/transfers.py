"""The record of transfers between the archive and other systems."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from server.model.ids import PartitionName
from server.model.lifecycle.transfer import Transfer, TransferState

Change = Callable[[Transfer], Transfer | None]
"""Returns the next state of a transfer; None leaves it as it is. May raise. Called in any thread, and perhaps again."""


class TransferRecord(Protocol):
    """The record of transfers: storage only. The functions passed to it decide the transitions.

    Each call is one transaction. All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database cannot be
    reached.
    """

    async def add(self, transfer: Transfer, request_id: str, limit: int, expired: datetime) -> Transfer | None:
        """Record a transfer and return it; None if `limit` transfers are unfinished.

        If a request with the id `request_id`, which is not empty, has recorded one, return that. Transfers that ended
        before `expired` are removed.
        """
        ...

    async def find(self, transfer_id: str) -> Transfer | None:
        """Return a transfer; None if there is none."""
        ...

    async def list(
        self,
        *,
        partitions: Collection[PartitionName] | None,
        states: Collection[TransferState],
        remote: str,
        before: int | None,
        limit: int,
    ) -> Sequence[tuple[int, Transfer]]:
        """Return transfers with their record keys, newest first.

        Args:
            partitions: of the transfers; None means all.
            states, remote: filters; empty means all.
            before: only those with smaller record keys.
        """
        ...

    async def numbers(self) -> Mapping[TransferState, int]:
        """Return the numbers of transfers by state; those without any may be missing."""
        ...

    async def change(self, transfer_id: str, change: Change) -> Transfer | None:
        """Store the next state of a transfer, and return it; None if there is no transfer."""
        ...

    async def claim(self, now: datetime, limit: int, change: Change) -> Sequence[Transfer]:
        """Store the next state of transfers that are due, those that are due longest first, and return them.

        Of two calls at the same time, at most one gets a transfer.
        """
        ...
