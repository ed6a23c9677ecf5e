"""The list of data partitions."""

from collections.abc import Callable
from datetime import datetime

from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.model.access import Action
from server.model.call import Call
from server.model.errors import AlreadyExists, Reason
from server.model.ids import Address
from server.model.partition import Partition
from server.ports.index import Partitions as PartitionIndex


class Partitions:
    """Lists and creates partitions."""

    def __init__(
        self, *, access: Access, names: PartitionNames, partitions: PartitionIndex, now: Callable[[], datetime]
    ) -> None:
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
