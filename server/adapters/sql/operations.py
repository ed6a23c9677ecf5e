"""The record of operations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from server.adapters.sql.core.counters import Counters
from server.adapters.sql.core.tables import operations, tags
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.model.operation import Operation, OperationState, OperationType

_FIRST_FINAL = int(OperationState.SUCCEEDED)


class SqlOperations:
    """`server.ports.operations.Operations` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def get(self, operation_id: str) -> Operation | None:
        """See the port."""
        return await self._transactions.read(lambda connection: find(connection, operation_id))

    async def list(self, before: int | None, limit: int) -> Sequence[tuple[int, Operation]]:
        """See the port."""
        newest = select(operations).order_by(operations.c.key.desc()).limit(limit)
        if before is not None:
            newest = newest.where(operations.c.key < before)
        return await self._transactions.read(
            lambda connection: [(row.key, operation_of(row)) for row in connection.execute(newest)]
        )

    async def unfinished(self, kind: OperationType) -> Sequence[Operation]:
        """See the port."""
        return await self._transactions.read(lambda connection: unfinished(connection, kind))

    async def cancel(self, operation_id: str, now: datetime) -> Operation | None:
        """See the port."""
        return await self._transactions.write(
            lambda connection: _end(connection, operation_id, OperationState.CANCELED, "", now)
        )

    async def fail(self, operation_id: str, message: str, now: datetime) -> None:
        """See the port."""
        await self._transactions.write(
            lambda connection: _end(connection, operation_id, OperationState.FAILED, message, now)
        )

    async def forget(self, finished_before: datetime) -> int:
        """See the port."""
        old = delete(operations).where(
            operations.c.state >= _FIRST_FINAL,
            operations.c.updated < to_microseconds(finished_before),
            ~select(tags.c.key).where(tags.c.operation_id == operations.c.id).exists(),
        )
        return await self._transactions.write(lambda connection: int(connection.execute(old).rowcount))


def add(connection: Connection, operation: Operation, *, request_id: str, rest: int) -> None:
    """Add the record of an operation. `rest` is the version below which all is still to be done."""
    last_key = connection.execute(select(func.coalesce(func.max(operations.c.key), 0))).scalar_one()
    row = {
        "key": last_key + 1,
        "id": operation.id,
        "request_id": request_id or None,
        "type": int(operation.type),
        "state": int(operation.state),
        "created": to_microseconds(operation.created),
        "updated": to_microseconds(operation.updated),
        "done": operation.done,
        "total": operation.total,
        "rest": rest,
        "subject": "\n".join(operation.subject),
        "errors": "\n".join(operation.errors),
    }
    connection.execute(insert(operations), row)


def find(connection: Connection, operation_id: str) -> Operation | None:
    """Return an operation; None if there is none."""
    row = connection.execute(select(operations).where(operations.c.id == operation_id)).one_or_none()
    return None if row is None else operation_of(row)


def unfinished(connection: Connection, kind: OperationType) -> list[Operation]:
    """Return the operations of a kind that are not final, oldest first."""
    rows = connection.execute(
        select(operations)
        .where(operations.c.state < _FIRST_FINAL, operations.c.type == int(kind))
        .order_by(operations.c.key)
    )
    return [operation_of(row) for row in rows]


def operation_of(row: Any) -> Operation:
    """Return the operation of a row."""
    return Operation(
        id=row.id,
        type=OperationType(row.type),
        state=OperationState(row.state),
        created=to_datetime(row.created),
        updated=to_datetime(row.updated),
        done=row.done,
        total=row.total,
        subject=tuple(row.subject.split("\n")) if row.subject else (),
        errors=tuple(row.errors.split("\n")) if row.errors else (),
    )


def _end(
    connection: Connection, operation_id: str, state: OperationState, message: str, now: datetime
) -> Operation | None:
    """Make an operation final, if it is not; return it as it is then."""
    Counters.lock(connection)
    connection.execute(
        update(operations)
        .where(operations.c.id == operation_id, operations.c.state < _FIRST_FINAL)
        .values(state=int(state), errors=message, updated=to_microseconds(now))
    )
    return find(connection, operation_id)
