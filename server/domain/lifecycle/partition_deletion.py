"""Deletion of the studies and workitems of deleted partitions."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from server.domain.read_only import ReadOnlyState
from server.ports.index import Partitions

AUTHOR = "dicomstore:partition-deletion"
"""Author of the deletions of studies; the audit trail has the principal that deleted the partition."""

REASON = "partition deleted"

_POLL_SECONDS = 2.0


class PartitionDeletion:
    """Deletes the studies and workitems of deleted partitions. One process at a time runs it; several do no harm.

    Args:
        now: the time recorded for changes.
        deadline_now: the clock of retention.
        on_change: called after instances have been deleted.
    """

    def __init__(
        self,
        *,
        partitions: Partitions,
        now: Callable[[], datetime],
        deadline_now: Callable[[], datetime],
        retention: timedelta,
        read_only: ReadOnlyState,
        on_change: Callable[[], None],
    ) -> None:
        self._partitions = partitions
        self._now = now
        self._deadline_now = deadline_now
        self._retention = retention
        self._read_only = read_only
        self._on_change = on_change

    async def run(self) -> None:
        """Delete studies until cancelled or the archive is read-only. Raises: as `Partitions`."""
        while not self._read_only.cause:
            if not await self.step():
                await asyncio.sleep(_POLL_SECONDS)

    async def step(self) -> bool:
        """Delete one study, or some workitems; return whether there may be more."""
        deleted = await self._partitions.purge(
            self._now(), self._deadline_now() + self._retention, reason=REASON, author=AUTHOR
        )
        if deleted is None:
            return False
        self._on_change()
        return True
