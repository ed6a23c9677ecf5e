"""The outbox: audit records that become durable in the transaction of the index that they describe."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from server.model.audit.call_audit import CallAudit
from server.model.instance import AddOutcome

ProcessNumber = int
"""A process that writes to the outbox: 1 to `MAX_PROCESS`."""

MAX_PROCESS = (1 << 31) - 1

ROWS_PER_PROCESS = 1 << 32


class OutboxRow(NamedTuple):
    """The records of a transaction in the outbox.

    key: number of the process * `ROWS_PER_PROCESS` + number of the row in the process, from 1. One integer is cheaper
        to insert, and to delete as a part of a range, than two columns.
    time: before the transaction, in microseconds since 1970.
    records: JSON objects, separated by tabs, which JSON does not contain. Each has an id as its member `outbox`.
    """

    key: int
    time: int
    records: bytes

    @property
    def process(self) -> ProcessNumber:
        """The process that has written it."""
        return self.key // ROWS_PER_PROCESS


class KeyRange(NamedTuple):
    """Rows with consecutive keys."""

    first: int
    last: int


class OutboxChanges(NamedTuple):
    """Rows that a transaction adds, and rows that it removes because the audit trail has their records.

    records: of the added row, if `Outbox` has made it, with their calls.
    """

    added: Sequence[OutboxRow]
    removed: Sequence[KeyRange] = ()
    records: Sequence[tuple[CallAudit, str]] = ()


RecordsOf = Callable[[Sequence[AddOutcome]], OutboxChanges]
"""Returns what a transaction with these outcomes adds and removes. Called in any thread, again if the transaction is
repeated."""


DeletionRecordOf = Callable[[int], OutboxChanges]
"""The same for a transaction that deletes this number of instances, at least one."""


class OutboxTable(Protocol):
    """The rows of all processes. Errors are those of `InstanceIndex`."""

    async def page(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """Return the next rows after a key, in order."""
        ...

    async def remove(self, ranges: Sequence[KeyRange]) -> None:
        """Remove rows."""
        ...
