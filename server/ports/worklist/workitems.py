"""The record of workitems."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from server.model.ids import PartitionName, Uid
from server.model.worklist.event import Observers, Report
from server.model.worklist.workitem import MatchPage, Workitem, WorkitemQuery

Change = Callable[[Workitem], Workitem]
"""Returns the changed workitem, or the same one if nothing changes, or raises."""

Reporter = Callable[[Workitem | None, Workitem, Observers], Report]
"""Returns what is reported of a change, given the workitem before (None: it is new) and after it; or raises."""


FilterMatches = Callable[[str, str], bool]
"""Whether a stored filter, the first argument, includes a workitem with a data set in DICOM JSON, the second."""


class Unlocked(NamedTuple):
    """A workitem without a deletion lock, with its row key."""

    partition: PartitionName
    key: int
    uid: Uid


class UnlockedPage(NamedTuple):
    """Workitems that may be removed, by partition.

    next: where the search for further ones continues; None: there are none.
    """

    workitems: Sequence[Unlocked]
    next: tuple[datetime, int] | None


def unreported(before: Workitem | None, after: Workitem, observers: Observers) -> Report:
    """Report nothing."""
    return Report(after.modified)


class WorkitemRecord(Protocol):
    """The workitems. Each call is one transaction; changes of the same workitem follow each other.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    """

    async def add(self, partition: PartitionName, workitem: Workitem, report: Reporter = unreported) -> bool:
        """Add a workitem, with its events; return False if the partition has one with this UID."""
        ...

    async def get(self, partition: PartitionName, uid: Uid) -> Workitem | None:
        """Return a workitem, without the values of its search keys; None if it does not exist."""
        ...

    async def change(
        self, partition: PartitionName, uid: Uid, change: Change, report: Reporter = unreported
    ) -> Workitem | None:
        """Change a workitem, and write the events; return the result, None if it does not exist.

        Args:
            partition: its partition.
            uid: its UID.
            change: called within the transaction, perhaps several times, with the present workitem, which has no values
                of search keys.
            report: called within the transaction after `change`, also if nothing changed.
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

    async def unlocked(
        self, before: datetime, after: tuple[datetime, int] | None, limit: int, matches: FilterMatches
    ) -> UnlockedPage:
        """Return workitems in a final state on which nobody has a deletion lock.

        Args:
            before: they were not modified since.
            after: where the search continues; None: at the beginning.
            limit: the number of workitems that are examined.
            matches: compares a workitem with the filter of a subscription.
        """
        ...

    async def remove(self, keys: Sequence[int], matches: FilterMatches) -> Sequence[Unlocked]:
        """Remove those of some workitems that are still without a deletion lock, and return them."""
        ...
