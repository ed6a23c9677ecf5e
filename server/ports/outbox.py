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
    """A record in the outbox.

    key: number of the process * `ROWS_PER_PROCESS` + number of the row in the process, from 1. One integer is cheaper
        to insert, and to delete as a part of a range, than two columns.
    time: before the transaction, in microseconds since 1970.
    record: a JSON object.
    """

    key: int
    time: int
    record: bytes

    @property
    def process(self) -> ProcessNumber:
        """The process that has written it."""
        return self.key // ROWS_PER_PROCESS

    @property
    def id(self) -> str:
        """The id that the record has in the audit trail; text, because JSON numbers are exact to 53 bits only."""
        return str(self.key)


class KeyRange(NamedTuple):
    """Rows with consecutive keys."""

    first: int
    last: int


class OutboxChanges(NamedTuple):
    """Rows that a transaction adds, and rows that it removes because the audit trail has their records.

    calls: that of each added row.
    """

    added: Sequence[OutboxRow]
    removed: Sequence[KeyRange]
    calls: Sequence[CallAudit] = ()


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
