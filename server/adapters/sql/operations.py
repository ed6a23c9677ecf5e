"""The record of operations."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.tables.operations import operation_errors, operations
from server.adapters.sql.tables.query_tags import tags
from server.model.errors import Reason
from server.model.ids import Address, PartitionName
from server.model.operation import Operation, OperationError, OperationState, OperationUpdate, Update
from server.ports.operations import Decide

FIRST_FINAL = min(state for state in OperationState if state.is_final)


class SqlOperations:
    """`server.ports.operations.Operations` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def start(self, request_id: str, decide: Decide) -> Operation:
        """See the port."""

        def work(connection: Connection) -> Operation:
            if known := started_by(connection, request_id):
                return known
            operation = decide(unfinished(connection))
            add(connection, operation, request_id)
            return operation

        return await self._transactions.write(work, alone=True)

    async def get(self, operation_id: str) -> Operation | None:
        """See the port."""
        return await self._transactions.read(lambda connection: find(connection, operation_id))

    async def list(
        self,
        *,
        types: Collection[str] = (),
        states: Collection[OperationState] = (),
        before: int | None = None,
        limit: int,
    ) -> Sequence[tuple[int, Operation]]:
        """See the port."""
        newest = select(operations).order_by(operations.c.key.desc()).limit(limit)
        if types:
            newest = newest.where(operations.c.type.in_(types))
        if states:
            newest = newest.where(operations.c.state.in_(map(int, states)))
        if before is not None:
            newest = newest.where(operations.c.key < before)
        return await self._transactions.read(
            lambda connection: [(row.key, _operation(row)) for row in connection.execute(newest)]
        )

    async def unfinished(self) -> Sequence[Operation]:
        """See the port."""
        return await self._transactions.read(unfinished)

    async def update(self, operation_id: str, update: Update) -> Operation | None:
        """See the port."""

        def work(connection: Connection) -> Operation | None:
            operation = find(connection, operation_id, locked=True)
            updated = update(operation) if operation is not None else None
            return operation if updated is None else save(connection, updated)

        return await self._transactions.write(work)

    async def errors(self, operation_id: str, *, after: int, limit: int) -> Sequence[tuple[int, OperationError]]:
        """See the port."""
        found = (
            select(operation_errors)
            .where(operation_errors.c.operation_id == operation_id, operation_errors.c.number > after)
            .order_by(operation_errors.c.number)
            .limit(limit)
        )
        return await self._transactions.read(
            lambda connection: [(row.number, _error(row)) for row in connection.execute(found)]
        )

    async def delete_final(self, finished_before: datetime, keep_newest_of: Collection[str] = ()) -> int:
        """See the port."""
        newest = select(func.max(operations.c.key)).where(operations.c.type.in_(keep_newest_of))
        old = select(operations.c.id).where(
            operations.c.state >= FIRST_FINAL,
            operations.c.updated < to_microseconds(finished_before),
            ~select(tags.c.key).where(tags.c.operation_id == operations.c.id).exists(),
            operations.c.key.not_in(newest.group_by(operations.c.type)),
        )

        def work(connection: Connection) -> int:
            ids = connection.execute(old).scalars().all()
            if ids:
                connection.execute(delete(operation_errors).where(operation_errors.c.operation_id.in_(ids)))
                connection.execute(delete(operations).where(operations.c.id.in_(ids)))
            return len(ids)

        return await self._transactions.write(work)


def add(connection: Connection, operation: Operation, request_id: str) -> None:
    """Add the record of an operation."""
    last_key = connection.execute(select(func.coalesce(func.max(operations.c.key), 0))).scalar_one()
    row = {"key": last_key + 1, "request_id": request_id or None, **_row(operation)}
    connection.execute(insert(operations), row)


def started_by(connection: Connection, request_id: str) -> Operation | None:
    """Return the operation that a request started; None if there is none, or the request has no id."""
    if not request_id:
        return None
    row = connection.execute(select(operations).where(operations.c.request_id == request_id)).one_or_none()
    return None if row is None else _operation(row)


def find(connection: Connection, operation_id: str, *, locked: bool = False) -> Operation | None:
    """Return an operation; None if there is none. Other transactions can't change a locked one."""
    query = select(operations).where(operations.c.id == operation_id)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    return None if row is None else _operation(row)


def save(connection: Connection, updated: OperationUpdate) -> Operation:
    """Store the next state of a locked operation; return it."""
    row = _row(updated.operation)
    connection.execute(update(operations).where(operations.c.id == row["id"]).values(row))
    if updated.errors:
        of_operation = operation_errors.c.operation_id == row["id"]
        last = connection.execute(select(func.coalesce(func.max(operation_errors.c.number), 0)).where(of_operation))
        first = last.scalar_one() + 1
        rows = [_error_row(row["id"], number, error) for number, error in enumerate(updated.errors, first)]
        connection.execute(insert(operation_errors), rows)
    return updated.operation


def unfinished(connection: Connection) -> list[Operation]:
    """Return the operations that are not final, oldest first."""
    rows = connection.execute(select(operations).where(operations.c.state < FIRST_FINAL).order_by(operations.c.key))
    return [_operation(row) for row in rows]


def _operation(row: Any) -> Operation:
    return Operation(
        id=row.id,
        type=row.type,
        state=OperationState(row.state),
        created=to_datetime(row.created),
        updated=to_datetime(row.updated),
        request=json.loads(row.request),
        result=json.loads(row.result),
        done=row.done,
        failed=row.failed,
        total=row.total,
        step=row.step,
        cursor=row.cursor,
        error=row.error,
        secret=row.secret or "",
        resumes=None if row.resumes is None else to_datetime(row.resumes),
        trace=row.trace or "",
    )


def _row(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "type": operation.type,
        "state": int(operation.state),
        "created": to_microseconds(operation.created),
        "updated": to_microseconds(operation.updated),
        "request": json.dumps(operation.request),
        "result": json.dumps(operation.result),
        "done": operation.done,
        "failed": operation.failed,
        "total": operation.total,
        "step": operation.step,
        "cursor": operation.cursor,
        "error": operation.error,
        "secret": None if operation.state.is_final else operation.secret or None,
        "trace": operation.trace or None,
        "resumes": None if operation.resumes is None else to_microseconds(operation.resumes),
    }


def _error(row: Any) -> OperationError:
    address = None
    if row.partition is not None:
        address = Address(PartitionName(row.partition), row.study, row.series, row.instance)
    return OperationError(to_datetime(row.time), Reason(row.reason), row.message, address, row.item)


def _error_row(operation_id: str, number: int, error: OperationError) -> dict[str, Any]:
    address = error.address
    return {
        "operation_id": operation_id,
        "number": number,
        "time": to_microseconds(error.time),
        "reason": str(error.reason),
        "message": error.message,
        "item": error.item,
        "partition": address.partition if address else None,
        "study": address.study if address else None,
        "series": address.series if address else None,
        "instance": address.instance if address else None,
    }
