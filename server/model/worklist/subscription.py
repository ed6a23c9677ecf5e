"""Subscriptions to workitems (PS3.4 section CC.2.3)."""

import enum
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from server.model.errors import InvalidRequest, Reason
from server.model.ids import Uid
from server.model.search.query import Condition

WORKLIST = Uid("1.2.840.10008.5.1.4.34.5")
"""UPS Global Subscription SOP Instance: stands for all workitems."""

FILTERED_WORKLIST = Uid("1.2.840.10008.5.1.4.34.5.1")
"""UPS Filtered Global Subscription SOP Instance: stands for all workitems that match a filter."""

MAX_SUBSCRIBERS = 10_000
"""Maximum number of subscribers of a partition."""

MAX_SINGLE = 100_000
"""Maximum number of subscriptions to single workitems of a subscriber."""

MAX_OF_WORKLIST = 20
"""Maximum number of present and earlier subscriptions to the worklist of a subscriber."""

MAX_FILTERS_LENGTH = 4 << 20
"""Maximum number of characters of all filters of a partition together."""

_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")


class SubscriptionState(enum.IntEnum):
    """UPS Subscription State. The numbers are those of the database."""

    NOT_SUBSCRIBED = 0
    WITHOUT_LOCK = 1
    WITH_LOCK = 2


def state_of(has_lock: bool) -> SubscriptionState:
    """Return the state of a subscription with or without a deletion lock."""
    return SubscriptionState.WITH_LOCK if has_lock else SubscriptionState.WITHOUT_LOCK


@dataclass(frozen=True, slots=True)
class WorklistSubscription:
    """A subscription to the worklist.

    filter: see `server.domain.worklist.filters`; empty: all workitems.
    conditions: those of the filter.
    """

    has_lock: bool
    filter: str = ""
    conditions: tuple[Condition, ...] = ()


class Checkpoint(NamedTuple):
    """How far a subscriber has received its events.

    position: all events up to this one.
    initial: of the next event, an `INITIAL_WORKLIST`: the workitems with this key and greater ones, which are sent
        first; None: none.
    """

    position: int
    initial: int | None = None

    @property
    def text(self) -> str:
        """The form in the contract; empty at the beginning."""
        if self.initial is not None:
            return f"{self.position}.{self.initial}"
        return str(self.position) if self.position else ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the checkpoint. Raises: InvalidRequest, INVALID_FIELD."""
        position, _, initial = text.partition(".")
        if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", text):
            raise unknown_checkpoint()
        return cls(int(position), int(initial) if initial else None)

    def is_after(self, other: "Checkpoint") -> bool:
        """Return whether more was received than at another checkpoint."""
        if self.position != other.position:
            return self.position > other.position
        return self.initial is not None and (other.initial is None or self.initial < other.initial)


def unknown_checkpoint() -> InvalidRequest:
    """Return the error for a checkpoint that was not sent to a subscriber."""
    message = "The checkpoint is not one that the server has sent."
    return InvalidRequest(Reason.INVALID_FIELD, message, field="checkpoint")


class SubscriberState(NamedTuple):
    """A subscriber: its row key, and what it has acknowledged."""

    key: int
    acknowledged: Checkpoint


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscriber in a list; fields as in `WorkitemSubscriber` of workitem_event_service.proto."""

    ae_title: str
    worklist: WorklistSubscription | None
    has_earlier_worklist: bool
    workitems: int
    locked_workitems: int
    pending_events: int
    updated: datetime


def parse_ae_title(text: str, field: str = "ae_title") -> str:
    """Return an AE title without leading and trailing spaces, which are not significant (PS3.5 section 6.2).

    Raises:
        InvalidRequest: INVALID_FIELD.
    """
    title = text.strip(" ")
    if not _AE_TITLE.fullmatch(title):
        message = "An AE title has 1 to 16 characters of ASCII, without a backslash."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field=field)
    return title
