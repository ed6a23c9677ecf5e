"""The record of subscriptions to workitems, and the log of events."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from server.model.ids import PartitionName, Uid
from server.model.worklist.event import Event, LoggedEvent
from server.model.worklist.subscription import Checkpoint, Subscriber, SubscriberState, WorklistSubscription
from server.ports.worklist.workitems import FilterMatches


class LogState(NamedTuple):
    """Position of the last event, and the position up to which events were removed."""

    last: int
    removed: int


class SubscriptionRecord(Protocol):
    """Subscriptions of application entities. Each call is one transaction; none overlaps with a change of the same
    workitem.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    """

    async def subscribe(
        self,
        partition: PartitionName,
        uid: Uid,
        ae_title: str,
        now: datetime,
        *,
        has_lock: bool,
        report: Callable[[str], Event],
    ) -> bool:
        """Subscribe to a workitem, and write an event for the subscriber; return False if it does not exist.

        Args:
            partition: of the workitem and the subscriber.
            uid: of the workitem.
            ae_title: of the subscriber.
            now: the time of the event.
            has_lock: with a deletion lock.
            report: returns the event for the present data set of the workitem.

        Raises:
            Exhausted: TOO_MANY_SUBSCRIPTIONS.
        """
        ...

    async def subscribe_to_worklist(
        self, partition: PartitionName, ae_title: str, now: datetime, worklist: WorklistSubscription
    ) -> None:
        """Subscribe to the worklist; with a deletion lock, write an event `INITIAL_WORKLIST` for the subscriber.

        Raises:
            InvalidRequest: INVALID_QUERY, the filter has too many values.
            Exhausted: TOO_MANY_SUBSCRIPTIONS.
        """
        ...

    async def unsubscribe(
        self, partition: PartitionName, uid: Uid, ae_title: str, matches: FilterMatches
    ) -> bool | None:
        """End the subscription to a workitem; return False if there was none, None if the workitem does not exist.

        A filtered worklist that does not include the workitem yet is no subscription to it.
        """
        ...

    async def unsubscribe_from_all(self, partition: PartitionName, ae_title: str) -> bool:
        """End all subscriptions of a subscriber, in several transactions; return False if there was none.

        After a failure, some of them may have ended.
        """
        ...

    async def suspend(self, partition: PartitionName, ae_title: str) -> bool:
        """End the subscription to future workitems; return False if there was none."""
        ...

    async def list(self, partition: PartitionName, after_ae_title: str, limit: int) -> Sequence[Subscriber]:
        """Return a page of subscribers by AE title. The conditions of their filters are missing."""
        ...

    async def acknowledge(self, checkpoints: Mapping[tuple[PartitionName, str], Checkpoint], now: datetime) -> None:
        """Record what subscribers, given by partition and AE title, have received; lower checkpoints have no effect."""
        ...

    async def find(self, partition: PartitionName, ae_title: str) -> SubscriberState | None:
        """Return a subscriber; None for an AE title without one."""
        ...


class EventLog(Protocol):
    """The log of events. Raises as `SubscriptionRecord`.

    is_numbered_later: the sequencer numbers events after their commit.
    """

    is_numbered_later: bool

    async def state(self) -> LogState:
        """Return the state of the log."""
        ...

    async def after(self, position: int, limit: int, max_bytes: int, *, with_data_sets: bool) -> Sequence[LoggedEvent]:
        """Return events of all partitions after a position, ascending: `limit`, or fewer if they are large."""
        ...

    async def in_partition(
        self, partition: PartitionName, position: int, limit: int, max_bytes: int, *, with_data_sets: bool
    ) -> Sequence[LoggedEvent]:
        """Return the events of changes in a partition after a position, without their recipients; see `after`."""
        ...

    async def of_subscriber(
        self, subscriber_key: int, position: int, limit: int, max_bytes: int
    ) -> Sequence[LoggedEvent]:
        """Return the events of a subscriber after a position, without their recipients; see `after`."""
        ...

    async def remove(self, before: datetime, limit: int) -> int:
        """Remove events before a time, at most a number of them, and subscribers that have neither subscriptions nor
        events since; return the number of events."""
        ...

    async def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed` when there may be events of other processes, until cancelled."""
        ...
