"""The record of study events, and of how far the change feed has been processed for them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from server.model.events.study_event import Progress, StudyEvent, StudyState, Unprocessed
from server.model.ids import PartitionName


class StudyEvents(Protocol):
    """The record of study events.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database cannot be reached.
    """

    async def unprocessed(self, limit: int, quiet_since: datetime) -> Unprocessed:
        """Return at most `limit` entries that have not been processed, and as many states of studies without an entry
        after `quiet_since`."""
        ...

    async def processed(
        self, before: Progress, to: Progress, states: Collection[StudyState], events: Sequence[StudyEvent]
    ) -> bool:
        """Record in one transaction that entries have been processed; return whether the progress was still `before`.

        Otherwise another process has processed them, and nothing is recorded.

        Args:
            states: the changed ones; those without instances are removed.
            events: the new ones.
        """
        ...

    async def progress(self) -> Progress:
        """Return how far the change feed has been processed."""
        ...

    async def list(
        self, after_number: int, limit: int, partitions: frozenset[PartitionName] | None = None
    ) -> Sequence[StudyEvent]:
        """Return the events after a number, ascending, of some partitions or all."""
        ...
