"""Storage commitment requests and their results."""

from datetime import datetime
from typing import Protocol

from server.model.ids import PartitionName, Uid
from server.model.lifecycle.commitment import Commitment, Failures


class CommitmentRecord(Protocol):
    """The record of requests. Each call is one transaction.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached; those that change something
    also Unavailable (ARCHIVE_READ_ONLY) and Exhausted (STORAGE_FULL).
    """

    async def add(self, commitment: Commitment, expired: datetime) -> bool:
        """Add a request, finished or not; False if its transaction UID is in use in the partition.

        Finished requests that were made before `expired` are removed first.
        """
        ...

    async def get(self, partition: PartitionName, transaction_uid: Uid) -> Commitment | None:
        """Return a request; None if there is none."""
        ...

    async def finish(self, partition: PartitionName, transaction_uid: Uid, failures: Failures) -> None:
        """Record the result of a request; no effect if it has one."""
        ...

    async def oldest_unfinished(self) -> Commitment | None:
        """Return the oldest request without a result; None if there is none."""
        ...
