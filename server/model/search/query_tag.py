"""Extended query tags: attributes that an administrator makes searchable."""

import enum
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import InstanceId
from server.model.search.query import Level


class TagStatus(enum.IntEnum):
    """State of a tag; the numbers are those of the contract."""

    ADDING = 1
    READY = 2
    DELETING = 3


class QueryStatus(enum.IntEnum):
    """Whether searches can use a tag; the numbers are those of the contract."""

    ENABLED = 1
    DISABLED = 2


@dataclass(frozen=True, slots=True)
class NewTag:
    """A parsed and checked tag, to be added.

    tag: eight upper-case hex digits.
    keyword: of the data dictionary, or "".
    private_creator: of a private tag, or "".
    """

    tag: str
    keyword: str
    vr: str
    private_creator: str
    level: Level


@dataclass(frozen=True, slots=True)
class Tag:
    """A registered tag. `key` identifies it until all its index values are deleted."""

    key: int
    new: NewTag
    status: TagStatus
    query_status: QueryStatus
    error_count: int
    operation_id: str


@dataclass(frozen=True, slots=True)
class TagValue:
    """The value of an instance for a tag, normalised like search values.

    text: for text, dates, times and UIDs; for person names the whole name with its component groups.
    number: for numeric VRs; None for all others.
    """

    text: str
    number: float | None = None


@dataclass(frozen=True, slots=True)
class TagFault:
    """The value of an instance for a tag cannot be indexed; the message does not contain the value."""

    message: str


@dataclass(frozen=True, slots=True)
class TagError:
    """A recorded fault and its instance."""

    key: int
    id: InstanceId
    time: datetime
    message: str
