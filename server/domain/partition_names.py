"""Resolving the partition of a request."""

import time
from collections.abc import Callable
from datetime import datetime

from server.model.errors import NotFound, Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, NO_PARTITION, PartitionName
from server.ports.index import Partitions

MAX_AGE_SECONDS = 1.0
_CACHED_NAMES = 10_000


class PartitionNames:
    """Resolves the partition of a request to an existing one.

    Names of existing partitions are cached for `MAX_AGE_SECONDS`: so long can another process serve one that was
    deleted. The default partition always exists.
    """

    def __init__(
        self,
        partitions: Partitions,
        *,
        enabled: bool,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._partitions = partitions
        self._enabled = enabled
        self._now = now
        self._clock = clock
        self._known: dict[PartitionName, float] = {}  # when they were last seen

    def named(self, name: PartitionName) -> PartitionName:
        """Return the partition for the `name` in a request, which may be `NO_PARTITION`.

        Raises:
            WrongState: PARTITIONS_DISABLED if partitions are disabled and `name` is given,
                PARTITION_REQUIRED if they are enabled and it is not.
        """
        if not self._enabled:
            if name != NO_PARTITION:
                self.require_enabled()
            return DEFAULT_PARTITION
        if name == NO_PARTITION:
            raise WrongState(Reason.PARTITION_REQUIRED, "A partition name is required.")
        return name

    async def exists(self, name: PartitionName) -> bool:
        """Return whether a partition exists."""
        seen_at = self._known.get(name, float("-inf"))
        if name == DEFAULT_PARTITION or self._clock() < seen_at + MAX_AGE_SECONDS:
            return True
        if await self._partitions.get(name) is None:
            self.forget(name)
            return False
        self._cache(name)
        return True

    async def require(self, name: PartitionName) -> None:
        """Raise NotFound (PARTITION_NOT_FOUND) unless the partition exists."""
        if not await self.exists(name):
            raise NotFound(Reason.PARTITION_NOT_FOUND, "Specified PartitionName does not exist.", partition=name)

    async def create_missing(self, name: PartitionName) -> None:
        """Create a partition unless it exists. Raises WrongState (PARTITION_BEING_DELETED)."""
        if not await self.exists(name):
            await self._partitions.create(name, self._now())
            self._cache(name)

    def require_enabled(self) -> None:
        """Raise WrongState (PARTITIONS_DISABLED) if partitions are disabled."""
        if not self._enabled:
            raise WrongState(Reason.PARTITIONS_DISABLED, "Data partitions feature is disabled.")

    def forget(self, name: PartitionName) -> None:
        """Look for a partition again when it is needed."""
        self._known.pop(name, None)

    def _cache(self, name: PartitionName) -> None:
        if len(self._known) >= _CACHED_NAMES:
            self._known.clear()
        self._known[name] = self._clock()
