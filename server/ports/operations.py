"""What is known of operations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from server.model.operation import Operation, OperationType


class Operations(Protocol):
    """The record of operations. Each call is one transaction.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    Whoever adds the subject of an operation adds its record in the same transaction, so that neither is ever there
    alone: see `Tags.add`. Work that has an effect records its progress in the transaction of the effect, so that a
    step that is done again after a crash begins behind it: see `Tags.index`.
    """

    async def get(self, operation_id: str) -> Operation | None:
        """Return an operation; None if there is none."""
        ...

    async def list(self, before: int | None, limit: int) -> Sequence[tuple[int, Operation]]:
        """Return operations with the key that pages are counted by, newest first, from below `before`."""
        ...

    async def unfinished(self, kind: OperationType) -> Sequence[Operation]:
        """Return the operations of a kind that are not final, oldest first."""
        ...

    async def cancel(self, operation_id: str, now: datetime) -> Operation | None:
        """Make an operation that is not final CANCELED; return it as it is then, None if there is none."""
        ...

    async def fail(self, operation_id: str, message: str, now: datetime) -> None:
        """Make an operation that is not final FAILED; the message is for people and has no patient data."""
        ...

    async def forget(self, finished_before: datetime) -> int:
        """Delete the records of final operations that were last updated before, and return how many.

        Those that a tag still refers to stay: of an operation that was cancelled or failed, until its tags are deleted.
        """
        ...
