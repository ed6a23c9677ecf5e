"""The outbox of the audit trail."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.access import audit_outbox
from server.ports.outbox import KeyRange, OutboxChanges, OutboxRow

_c = audit_outbox.c
_INSERT = Prepared(insert(audit_outbox))
_REMOVE = Prepared(delete(audit_outbox).where(_c.key.between(bindparam("first"), bindparam("last"))))


def change_outbox(connection: Connection, changes: OutboxChanges) -> None:
    """Add and remove rows, as a part of a transaction."""
    if changes.added:
        _INSERT.send(connection, [{"key": row.key, "time": row.time, "record": row.records} for row in changes.added])
    if changes.removed:
        _REMOVE.send(connection, [one._asdict() for one in changes.removed])


class SqlOutboxTable:
    """`server.ports.outbox.OutboxTable` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def page(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """See the port."""
        page = select(_c.key, _c.time, _c.record).where(_c.key > after).order_by(_c.key).limit(limit)
        return await self._transactions.read(lambda connection: [OutboxRow(*row) for row in connection.execute(page)])

    async def remove(self, ranges: Sequence[KeyRange]) -> None:
        """See the port."""
        if ranges:
            await self._transactions.write(lambda connection: change_outbox(connection, OutboxChanges((), ranges)))
