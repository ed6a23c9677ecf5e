"""The record of operations."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from server.model.operation import Operation, OperationError, OperationState, Update

Decide = Callable[[Sequence[Operation]], Operation]
"""From the operations that are not final, oldest first: the operation to start. Raises if none must be started now."""


class Operations(Protocol):
    """The record of operations: storage only. The functions passed to it decide the transitions.

    Each call is one transaction; a function given to it is called inside, perhaps in another thread and several times.
    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    The record of a final operation has no `secret`.
    A call that stores the effect of an operation updates its record in the same transaction (`Tags.add`,
    `Tags.index`), so that a step repeated after a crash continues after its effect.
    """

    async def start(self, request_id: str, decide: Decide) -> Operation:
        """Record a new operation and return it.

        Args:
            request_id: id that the client gave to its request, or empty. If a request with this id has started an
                operation, that operation is returned and none is created.
            decide: see `Decide`.
        """
        ...

    async def get(self, operation_id: str) -> Operation | None:
        """Return an operation; None if there is none."""
        ...

    async def list(
        self,
        *,
        types: Collection[str] = (),
        states: Collection[OperationState] = (),
        before: int | None = None,
        limit: int,
    ) -> Sequence[tuple[int, Operation]]:
        """Return operations with their record keys, newest first.

        Args:
            types, states: filters; empty means all.
            before: only those with smaller record keys.
        """
        ...

    async def unfinished(self) -> Sequence[Operation]:
        """Return the operations that are not final, oldest first."""
        ...

    async def update(self, operation_id: str, update: Update) -> Operation | None:
        """Store the next state of an operation and return the resulting operation; None if there is none."""
        ...

    async def errors(self, operation_id: str, *, after: int, limit: int) -> Sequence[tuple[int, OperationError]]:
        """Return errors of items with numbers greater than `after`, ascending; the first number is 1."""
        ...

    async def delete_final(self, finished_before: datetime, keep_newest_of: Collection[str] = ()) -> int:
        """Delete the records of final operations that were last updated before a time, and return their number.

        Records that a query tag refers to are not deleted: those of cancelled or failed operations, until their query
        tags are deleted. Neither is the newest one of each type in `keep_newest_of`.
        """
        ...
