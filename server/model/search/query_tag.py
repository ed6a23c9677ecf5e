"""Attributes that an administrator makes searchable (spec/extended-query-tags.md)."""

import enum
import re
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import InstanceId
from server.model.search.query import Level


class TagStatus(enum.IntEnum):
    """How far a tag has come; numbers are those of the contract."""

    ADDING = 1
    READY = 2
    DELETING = 3


class QueryStatus(enum.IntEnum):
    """Whether searches may use a tag; numbers are those of the contract."""

    ENABLED = 1
    DISABLED = 2


@dataclass(frozen=True, slots=True)
class NewTag:
    """A tag as it is to be added, understood and checked.

    tag: eight upper-case hex digits.
    keyword: of the dictionary, or "".
    private_creator: or "".
    """

    tag: str
    keyword: str
    vr: str
    private_creator: str
    level: Level


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that is there. `key` identifies it as long as anything of it is there."""

    key: int
    new: NewTag
    status: TagStatus
    query_status: QueryStatus
    error_count: int
    operation_id: str


@dataclass(frozen=True, slots=True)
class TagValue:
    """What an instance has for a tag, normalised as search terms are.

    text: of text, dates, times and UIDs; of person names the whole name, with its groups.
    number: of numbers; None of everything else.
    """

    text: str
    number: float | None = None


@dataclass(frozen=True, slots=True)
class TagFault:
    """An instance has something for a tag that can't be indexed; the message has no value in it."""

    message: str


@dataclass(frozen=True, slots=True)
class TagError:
    """A fault that was found, and whose."""

    key: int
    id: InstanceId
    time: datetime
    message: str


_KEY = re.compile(r"extended query tag (\d+) of level (\d)")


def index_key(tag: Tag) -> str:
    """Return what conditions on a tag are about."""
    return f"extended query tag {tag.key} of level {tag.new.level}"


def tag_in_index_key(key: str) -> tuple[int, Level] | None:
    """Return the key of the tag that a condition is about, and its level; None if it is about no tag."""
    match = _KEY.fullmatch(key)
    return (int(match[1]), Level(int(match[2]))) if match else None
