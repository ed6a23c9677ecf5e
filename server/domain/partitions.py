"""The list of data partitions."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from server.domain.access import Access
from server.domain.limits import check_reason
from server.domain.partition_names import PartitionNames
from server.model.access import Action
from server.model.call import Call
from server.model.errors import AlreadyExists, NotFound, Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName
from server.model.partition import DuplicatePolicy, Partition, PartitionUsage
from server.ports.index import Partitions as PartitionIndex

_MAX_AGE_SECONDS = 1.0
_MAX_CACHED = 10_000


class DuplicatePolicies:
    """The duplicates policy of each partition, cached for a second.

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
    """Lists, creates, changes and deletes partitions."""

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

    async def usage(self, call: Call) -> Sequence[PartitionUsage]:
        """Return the contents of the partitions that the principal may read."""
        permitted = self._access.permit_partitions(call, Action.READ)
        return await self._partitions.usage(permitted)

    async def get(self, call: Call, address: Address) -> Partition:
        """Return one partition.

        Raises:
            WrongState: PARTITIONS_DISABLED.
            NotFound: PARTITION_NOT_FOUND.
        """
        address = await self._access.permit(call, Action.READ, address)
        partition = await self._partitions.get(address.partition)
        if partition is None:
            raise _not_found(address)
        return partition

    async def create(self, call: Call, address: Address) -> Partition:
        """Create a partition and return it.

        Raises:
            WrongState: PARTITIONS_DISABLED.
            WrongState: PARTITION_BEING_DELETED.
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
        if partition is None:
            raise _not_found(address)
        self._policies.forget(address.partition)
        return partition

    async def delete(self, call: Call, address: Address, *, reason: str = "") -> None:
        """Delete a partition with all its instances.

        Raises:
            InvalidRequest: INVALID_FIELD, the reason.
            WrongState: DEFAULT_PARTITION; ON_HOLD; PARTITIONS_DISABLED.
            NotFound: PARTITION_NOT_FOUND.
            and as `Access.permit`.
        """
        check_reason(reason)
        if reason:
            call.audit.note(reason=reason)
        address = await self._access.permit(call, Action.DELETE, address)
        if address.partition == DEFAULT_PARTITION:
            message = "The default partition cannot be deleted."
            raise WrongState(Reason.DEFAULT_PARTITION, message, partition=address.partition)
        if not await self._partitions.delete(address.partition, self._now()):
            raise _not_found(address)
        self._names.forget(address.partition)
        self._policies.forget(address.partition)


def _not_found(address: Address) -> NotFound:
    message = "Specified PartitionName does not exist."
    return NotFound(Reason.PARTITION_NOT_FOUND, message, partition=address.partition)
