"""The record of workitems."""

from collections.abc import Callable
from typing import Protocol

from server.model.ids import PartitionName, Uid
from server.model.worklist.workitem import MatchPage, Workitem, WorkitemQuery

Change = Callable[[Workitem], Workitem]
"""Returns the changed workitem, or the same one if nothing changes, or raises."""


class WorkitemRecord(Protocol):
    """The workitems. Each call is one transaction; changes of the same workitem follow each other.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    """

    async def add(self, partition: PartitionName, workitem: Workitem) -> bool:
        """Add a workitem; return False if the partition has one with this UID."""
        ...

    async def get(self, partition: PartitionName, uid: Uid) -> Workitem | None:
        """Return a workitem, without the values of its search keys; None if it does not exist."""
        ...

    async def change(self, partition: PartitionName, uid: Uid, change: Change) -> Workitem | None:
        """Change a workitem, and return the result; None if it does not exist.

        Args:
            partition: its partition.
            uid: its UID.
            change: called within the transaction, perhaps several times, with the present workitem, which has no values
                of search keys.
        """
        ...

    async def restore(self, partition: PartitionName, uid: Uid, workitem: Workitem | None) -> bool:
        """Put a workitem of an existing partition into a state from the journal, None: remove it; return whether it
        exists then.

        For recoveries: the journal has the change already. A partition that never existed has no workitems to remove.
        """
        ...

    async def search(self, query: WorkitemQuery) -> MatchPage:
        """Return a page of matches, newest first: `limit`, or fewer if their data sets are too large together.

        Raises:
            InvalidRequest: INVALID_QUERY, too many values.
            Exhausted: SEARCH_TOO_LONG.
        """
        ...

    async def count(self, query: WorkitemQuery) -> int:
        """Return the number of matches on all pages. Raises: as `search`."""
        ...
