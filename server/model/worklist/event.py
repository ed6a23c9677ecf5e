"""Events of workitems (PS3.4 section CC.2.4)."""

import enum
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import PartitionName, Uid


class EventType(enum.IntEnum):
    """Event Type IDs of PS3.4 Table CC.2.4-1, without SCP Status Change, which is not sent."""

    STATE_REPORT = 1
    CANCEL_REQUESTED = 2
    PROGRESS_REPORT = 3
    ASSIGNED = 5


class EventKind(enum.IntEnum):
    """Kind of an entry of the log. The numbers are those of the database.

    CHANGE: an event of a change.
    INITIAL: the present state of a workitem, for a new subscriber.
    INITIAL_WORKLIST: stands for the present states of all workitems up to a key, for a new subscriber; they are read
        when they are sent.
    """

    CHANGE = 0
    INITIAL = 1
    INITIAL_WORKLIST = 2


@dataclass(frozen=True, slots=True)
class Event:
    """An event. information: the attributes of PS3.4 Table CC.2.4-1 in DICOM JSON."""

    type: EventType
    information: str


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An entry of the log of events.

    position: in the log, ascending.
    workitem_key: row key.
    information: as in `Event`; of an `INITIAL_WORKLIST` the filter of the subscription.
    recipients: keys of the subscribers.
    data_set: of the present workitem in DICOM JSON, if requested and the workitem exists.
    """

    position: int
    partition: PartitionName
    workitem_key: int
    workitem: Uid
    kind: EventKind
    type: EventType
    time: datetime
    information: str
    recipients: tuple[int, ...] = ()
    data_set: str | None = None

    @property
    def size(self) -> int:
        """Approximate number of bytes in memory."""
        return 400 + len(self.information) + 40 * len(self.recipients) + len(self.data_set or "")


@dataclass(frozen=True, slots=True)
class Observers:
    """Who observes a workitem before a change.

    has_subscribers: somebody is subscribed to it.
    filters: of subscriptions to the worklist that may include it.
    """

    has_subscribers: bool = False
    filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What is reported of a change.

    time: of the change.
    events: in order.
    matching: those of `Observers.filters` that the workitem matches before or after the change.
    starting: those of them that the present workitem did not match before the change.
    initial: the state report for those who are subscribed by the change, if `events` has none.
    """

    time: datetime
    events: tuple[Event, ...] = ()
    matching: frozenset[str] = frozenset()
    starting: frozenset[str] = frozenset()
    initial: Event | None = None
