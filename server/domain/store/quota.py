"""Limits of the stored bytes of partitions."""

import time
from collections.abc import Callable, Mapping

from server.model.errors import Exhausted, Reason
from server.model.ids import PartitionName
from server.ports.index import Partitions

EVERY_OTHER = "*"
"""In the limits: each partition that is not named."""

_REFRESH_SECONDS = 1.0
"""Time after which the stored bytes are read again, which includes those of other processes."""

_RETRY_SECONDS = 3600.0
"""Room comes from deleting instances and erasing their bytes, which takes long."""

_MAX_QUOTAS = 10_000


class Quota:
    """The limit of one partition.

    Instances that this process stores count at once, those of other processes after a second at most, so several
    processes together may exceed the limit by what they store in that time. Deleted instances count until their bytes
    are erased.
    """

    def __init__(
        self, partition: PartitionName, limit_bytes: int, partitions: Partitions, clock: Callable[[], float]
    ) -> None:
        self._partition = partition
        self._limit_bytes = limit_bytes
        self._partitions = partitions
        self._clock = clock
        self._stored_bytes = 0
        self._reserved_bytes = 0
        self._read_at = float("-inf")

    async def require_room(self) -> None:
        """Raise Exhausted (QUOTA_EXCEEDED) if no instance can be stored."""
        await self._refresh()
        if self._stored_bytes + self._reserved_bytes >= self._limit_bytes:
            raise self._exceeded()

    async def reserve(self, size_bytes: int) -> None:
        """Reserve room for an instance, to be ended by `end`. Raises Exhausted (QUOTA_EXCEEDED)."""
        await self._refresh()
        if self._stored_bytes + self._reserved_bytes + size_bytes > self._limit_bytes:
            raise self._exceeded()
        self._reserved_bytes += size_bytes

    def end(self, size_bytes: int, *, is_stored: bool) -> None:
        """End a reservation."""
        self._reserved_bytes -= size_bytes
        if is_stored:
            self._stored_bytes += size_bytes

    async def _refresh(self) -> None:
        now = self._clock()
        if now >= self._read_at + _REFRESH_SECONDS:
            self._read_at = now
            self._stored_bytes = await self._partitions.stored_bytes(self._partition)

    def _exceeded(self) -> Exhausted:
        message = "The partition has reached its limit of stored bytes."
        error = Exhausted(Reason.QUOTA_EXCEEDED, message, partition=self._partition)
        error.retry_seconds = _RETRY_SECONDS
        return error


class Quotas:
    """The limits of all partitions."""

    def __init__(
        self, partitions: Partitions, limits: Mapping[str, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`limits`: stored bytes by name of the partition, and `EVERY_OTHER`."""
        self._partitions = partitions
        self._limits = limits
        self._clock = clock
        self._known: dict[PartitionName, Quota] = {}

    def of(self, partition: PartitionName) -> Quota | None:
        """Return the quota of a partition; None if it has no limit."""
        limit = self._limits.get(partition, self._limits.get(EVERY_OTHER))
        if limit is None:
            return None
        quota = self._known.get(partition)
        if quota is None:
            if len(self._known) >= _MAX_QUOTAS:
                self._known.clear()
            quota = self._known[partition] = Quota(partition, limit, self._partitions, self._clock)
        return quota
