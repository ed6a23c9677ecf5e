"""Access control: the one place that decides whether a caller may perform an operation.

Every domain operation that a client can call calls `Access.permit` exactly once, before any effect
(`tests/integration/test_access.py`). No caller is refused yet; `permit` checks the partition, and that a read-only
archive is not changed.
"""

import enum
import logging
from dataclasses import replace

from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.model.call import Call
from server.model.ids import ALL_PARTITIONS, Address

_log = logging.getLogger("dicomstore.audit")


class Action(enum.Enum):
    """The kind of an operation."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMINISTER = "administer"


class Access:
    """Permits or refuses operations."""

    def __init__(self, partitions: PartitionNames, read_only: ReadOnlyState) -> None:
        self._partitions = partitions
        self._read_only = read_only

    async def permit(
        self, call: Call, action: Action, address: Address, *, partition_may_be_new: bool = False
    ) -> Address:
        """Return the address with its resolved partition if the caller may perform the action there.

        Args:
            address: as in the request; `ARCHIVE` for operations on all partitions.
            partition_may_be_new: the operation creates the partition if it does not exist.

        Raises:
            Unavailable: ARCHIVE_READ_ONLY, and the action is not READ.
            and the partition reasons of `PartitionNames.resolve`.
        """
        _log.debug(
            "access action=%s partition=%s study=%s series=%s instance=%s principal=%s request_id=%s",
            action.value,
            address.partition or "-",
            address.study or "-",
            address.series or "-",
            address.instance or "-",
            call.principal.id,
            call.request_id,
        )
        if action is not Action.READ:
            self._read_only.require_writable()
        if address.partition == ALL_PARTITIONS:
            return address
        partition = await self._partitions.resolve(address.partition, must_exist=not partition_may_be_new)
        return address if partition == address.partition else replace(address, partition=partition)
