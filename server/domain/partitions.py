"""Which partition a call means, and the list of them (spec: partitions.md)."""

from collections.abc import Callable
from datetime import datetime

from server.model.errors import AlreadyExists, NotFound, Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, PartitionName, parse_partition_name
from server.model.partition import Partition
from server.ports.index import Partitions

_CACHED_NAMES = 10_000


class PartitionGate:
    """Turns the partition text of a request into a partition that exists.

    Names never disappear, so those seen once are remembered.
    """

    def __init__(self, partitions: Partitions, *, enabled: bool, now: Callable[[], datetime]) -> None:
        self._partitions = partitions
        self._enabled = enabled
        self._now = now
        self._seen: set[PartitionName] = set()

    async def resolve(self, text: str, create: bool = False) -> PartitionName:
        """Return the partition that `text` names; with `create`, make it first if need be.

        Raises:
            WrongState: PARTITIONS_DISABLED when partitions are off and one is named,
                PARTITION_REQUIRED when they are on and none is.
            InvalidRequest: INVALID_PARTITION_NAME.
            NotFound: PARTITION_NOT_FOUND.
        """
        if not self._enabled:
            if text:
                raise WrongState(Reason.PARTITIONS_DISABLED, "Data partitions feature is disabled.")
            return DEFAULT_PARTITION
        if not text:
            raise WrongState(Reason.PARTITION_REQUIRED, "A partition name is required.")
        name = parse_partition_name(text)
        if name not in self._seen:
            if await self._partitions.get(name) is None:
                if not create:
                    raise _not_found(name)
                await self._partitions.create(name, self._now())
            if len(self._seen) < _CACHED_NAMES:
                self._seen.add(name)
        return name

    async def list(self) -> list[Partition]:
        """Return all partitions. Raises WrongState (PARTITIONS_DISABLED)."""
        self._require_enabled()
        return await self._partitions.list()

    async def get(self, text: str) -> Partition:
        """Return one partition.

        Raises:
            WrongState: PARTITIONS_DISABLED.
            InvalidRequest: INVALID_PARTITION_NAME.
            NotFound: PARTITION_NOT_FOUND.
        """
        self._require_enabled()
        name = parse_partition_name(text, "name")
        partition = await self._partitions.get(name)
        if partition is None:
            raise _not_found(name)
        return partition

    async def create(self, text: str) -> Partition:
        """Create a partition and return it.

        Raises:
            WrongState: PARTITIONS_DISABLED.
            InvalidRequest: INVALID_PARTITION_NAME.
            AlreadyExists: PARTITION_ALREADY_EXISTS.
        """
        self._require_enabled()
        name = parse_partition_name(text, "name")
        partition = await self._partitions.create(name, self._now())
        if partition is None:
            raise AlreadyExists(Reason.PARTITION_ALREADY_EXISTS, "The partition already exists.", partition=name)
        return partition

    def _require_enabled(self) -> None:
        if not self._enabled:
            raise WrongState(Reason.PARTITIONS_DISABLED, "Data partitions feature is disabled.")


def _not_found(name: PartitionName) -> NotFound:
    return NotFound(Reason.PARTITION_NOT_FOUND, "Specified PartitionName does not exist.", partition=name)
