"""Entries of the change feed."""

import enum
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import InstanceId, PartitionName, Version


class ChangeAction(enum.IntEnum):
    """Kind of change. The numbers are those of the contract and of the database."""

    CREATE = 1
    UPDATE = 2
    DELETE = 3


class ChangeState(enum.IntEnum):
    """Relation of the entry's version to the current state of the instance."""

    CURRENT = 1
    REPLACED = 2
    DELETED = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change feed."""

    sequence: int
    instance: InstanceId
    action: ChangeAction
    state: ChangeState
    time: datetime
    version: Version
    dicom_json: bytes | None = None


@dataclass(frozen=True, slots=True)
class ChangeWindow:
    """Selects entries: all conditions hold, in ascending order of sequence, after skipping `skip` entries.

    partitions: of the instances; None means all.
    """

    limit: int
    after_sequence: int = 0
    through_sequence: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    skip: int = 0
    metadata: bool = False
    partitions: frozenset[PartitionName] | None = None


@dataclass(frozen=True, slots=True)
class Consumer:
    """A name under which the archive keeps how far a program has processed the change feed.

    owner: id of the principal to which it belongs.
    sequence: of the last entry that was processed; 0 at the beginning.
    time: when the position was last set.
    """

    name: str
    owner: str
    sequence: int
    time: datetime
