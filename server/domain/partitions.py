"""The list of data partitions."""

import time
from collections.abc import Callable
from datetime import datetime

from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.model.access import Action
from server.model.call import Call
from server.model.errors import AlreadyExists, Reason
from server.model.ids import Address, PartitionName
from server.model.partition import DuplicatePolicy, Partition
from server.ports.index import Partitions as PartitionIndex

_MAX_AGE_SECONDS = 10.0
_MAX_CACHED = 10_000


class DuplicatePolicies:
    """The duplicates policy of each partition, cached for ten seconds.

    Args:
        default: of partitions without a policy.
    """

    def __init__(
        self, partitions: PartitionIndex, default: DuplicatePolicy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._partitions = partitions
        self._default = default
        self._clock = clock
        self._known: dict[PartitionName, tuple[float, DuplicatePolicy]] = {}

    async def of(self, name: PartitionName) -> DuplicatePolicy:
        """Return the policy that applies in a partition; the default if it does not exist."""
        read_at, policy = self._known.get(name, (float("-inf"), self._default))
        now = self._clock()
        if now < read_at + _MAX_AGE_SECONDS:
            return policy
        partition = await self._partitions.get(name)
        policy = self._default if partition is None or partition.duplicates is None else partition.duplicates
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        self._known[name] = (now, policy)
        return policy

    def forget(self, name: PartitionName) -> None:
        """Read the policy of a partition again when it is needed."""
        self._known.pop(name, None)


class Partitions:
    """Lists, creates and changes partitions."""

    def __init__(
        self,
        *,
        access: Access,
        names: PartitionNames,
        partitions: PartitionIndex,
        policies: DuplicatePolicies,
        now: Callable[[], datetime],
    ) -> None:
        self._policies = policies
        self._access = access
        self._names = names
        self._partitions = partitions
        self._now = now

    async def list(self, call: Call) -> list[Partition]:
        """Return the partitions that the principal may read. Raises WrongState (PARTITIONS_DISABLED)."""
        permitted = self._access.permit_partitions(call, Action.READ)
        self._names.require_enabled()
        return await self._partitions.list(permitted)

    async def get(self, call: Call, address: Address) -> Partition:
        """Return one partition.

        Raises:
            WrongState: PARTITIONS_DISABLED.
            NotFound: PARTITION_NOT_FOUND.
        """
        address = await self._access.permit(call, Action.READ, address)
        partition = await self._partitions.get(address.partition)
        assert partition is not None, "partitions are never removed"
        return partition

    async def create(self, call: Call, address: Address) -> Partition:
        """Create a partition and return it.

        Raises:
            WrongState: PARTITIONS_DISABLED.
            AlreadyExists: PARTITION_ALREADY_EXISTS.
        """
        address = await self._access.permit(call, Action.WRITE, address, partition_may_be_new=True)
        partition = await self._partitions.create(address.partition, self._now())
        if partition is None:
            message = "The partition already exists."
            raise AlreadyExists(Reason.PARTITION_ALREADY_EXISTS, message, partition=address.partition)
        return partition

    async def update(self, call: Call, address: Address, duplicates: DuplicatePolicy | None) -> Partition:
        """Set the policy of a partition and return it; None means that of the settings.

        Raises: as `Access.permit`.
        """
        call.audit.note(duplicates=duplicates.name.lower() if duplicates is not None else "default")
        address = await self._access.permit(call, Action.ADMINISTER, address)
        partition = await self._partitions.update(address.partition, duplicates)
        assert partition is not None, "partitions are never removed"
        self._policies.forget(address.partition)
        return partition
