"""Events of studies."""

import enum
from dataclasses import dataclass
from datetime import datetime

from server.model.change import ChangeAction
from server.model.ids import PartitionName, Uid


class StudyEventKind(enum.IntEnum):
    """Kind of event. The numbers are those of the contract and of the database."""

    STABLE = 1
    UPDATED = 2
    DELETED = 3
    RESTORED = 4


@dataclass(frozen=True, slots=True)
class StudyChanges:
    """Numbers of instances that changed since the study was last quiet."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    restored: int = 0


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """One event of a study.

    number: position among the events, from 1, ascending without gaps.
    time: at which the study had been quiet for the configured time; of a deletion, when the last instance was deleted.
    sequence: the event follows the entry of the change feed with this sequence, and precedes later ones.
    last_sequence: of the last entry of the study before the event.
    instances: number of instances of the study.
    changes: since the study was last quiet.
    trace: of the last change before it, as header `traceparent`; empty if it is not recorded.
    """

    number: int
    kind: StudyEventKind
    time: datetime
    sequence: int
    last_sequence: int
    partition: PartitionName
    study: Uid
    instances: int
    changes: StudyChanges
    trace: str = ""

    @property
    def id(self) -> str:
        """The id of the event, which no other event of the archive has, even if its index is rebuilt."""
        return f"{self.last_sequence}-{self.kind.name.lower()}"


@dataclass(frozen=True, slots=True)
class StudyState:
    """A study as of an entry of the change feed.

    sequence: of the last entry of the study.
    time: of that entry; None if the study has been quiet since, and its events exist.
    """

    partition: PartitionName
    study: Uid
    instances: int = 0
    changes: StudyChanges = StudyChanges()
    sequence: int = 0
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """What the events of studies need of an entry of the change feed.

    is_restored: the entry is of a restored instance; `action` is then `CREATE`.
    """

    sequence: int
    time: datetime
    action: ChangeAction
    is_restored: bool
    partition: PartitionName
    study: Uid


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the change feed has been processed.

    sequence: of the last processed entry.
    silent_sequence: entries up to this one are counted, but cause no events.
    number: of the last event.
    """

    sequence: int = 0
    silent_sequence: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Unprocessed:
    """What is to be processed next, from one snapshot of the database.

    entries: the next ones, ascending.
    states: of their studies, and of studies that have been quiet for the configured time; without those that have none.
    is_complete: these are all entries, and no earlier ones can become visible.
    """

    progress: Progress
    entries: tuple[StudyEntry, ...]
    states: tuple[StudyState, ...]
    is_complete: bool
