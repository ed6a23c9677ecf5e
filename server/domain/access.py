"""Access: the one place where it is decided whether a caller may do something.

Every operation of the domain that a client can call asks here exactly once, before it does anything
(`tests/integration/test_access.py`). No caller is refused yet; what is checked is the partition, and that a read-only
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
    """What an operation does at its address."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMINISTER = "administer"


class Access:
    """Decides on every operation."""

    def __init__(self, partitions: PartitionNames, read_only: ReadOnlyState) -> None:
        self._partitions = partitions
        self._read_only = read_only

    async def permit(
        self, call: Call, action: Action, address: Address, *, partition_may_be_new: bool = False
    ) -> Address:
        """Return the address with its partition, if the caller may do this there.

        Args:
            address: as the request has it; `ARCHIVE` of what concerns all partitions.
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
