"""Resolving the partition of a request."""

from collections.abc import Callable
from datetime import datetime

from server.model.errors import NotFound, Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, NO_PARTITION, PartitionName
from server.ports.index import Partitions

_CACHED_NAMES = 10_000


class PartitionNames:
    """Resolves the partition of a request to an existing one.

    Partitions are never removed, so the names of existing ones are cached.
    """

    def __init__(self, partitions: Partitions, *, enabled: bool, now: Callable[[], datetime]) -> None:
        self._partitions = partitions
        self._enabled = enabled
        self._now = now
        self._known: set[PartitionName] = set()

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
        if name in self._known:
            return True
        if await self._partitions.get(name) is None:
            return False
        self._cache(name)
        return True

    async def require(self, name: PartitionName) -> None:
        """Raise NotFound (PARTITION_NOT_FOUND) unless the partition exists."""
        if name != DEFAULT_PARTITION and not await self.exists(name):
            raise NotFound(Reason.PARTITION_NOT_FOUND, "Specified PartitionName does not exist.", partition=name)

    async def create_missing(self, name: PartitionName) -> None:
        """Create a partition unless it exists."""
        if not await self.exists(name):
            await self._partitions.create(name, self._now())
            self._cache(name)

    def require_enabled(self) -> None:
        """Raise WrongState (PARTITIONS_DISABLED) if partitions are disabled."""
        if not self._enabled:
            raise WrongState(Reason.PARTITIONS_DISABLED, "Data partitions feature is disabled.")

    def _cache(self, name: PartitionName) -> None:
        if len(self._known) < _CACHED_NAMES:
            self._known.add(name)
