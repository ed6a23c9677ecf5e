"""Rules that create workitems for stable studies (docs/worklist.md)."""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from server.model.events.study_event import StudyEvent
from server.model.ids import PartitionName, Uid

_ID_BYTES = 8
_NAMESPACE = uuid.UUID("0f3c8a52-7c1d-5f0e-9d0b-5b6a4c2e8d17")
"""Of the UIDs of workitems that rules create; must not change."""


@dataclass(frozen=True, slots=True)
class StudyQuery:
    """A search for studies.

    terms: search keys with their values, as in a search request; all of them must match.
    """

    terms: Mapping[str, tuple[str, ...]]
    fuzzy_matching: bool = False
    empty_value_matching: bool = False


@dataclass(frozen=True, slots=True)
class RuleDefinition:
    """Which studies get a workitem, and what it has.

    label: for people.
    partitions: of the studies; empty: all.
    template: data set in DICOM JSON, see `server.dicom.worklist.templates`.
    """

    label: str
    query: StudyQuery
    partitions: frozenset[PartitionName]
    template: str


@dataclass(frozen=True, slots=True)
class RuleState:
    """What a rule has done.

    workitems: number of workitems that it has created.
    waiting: number of events that will be tried again.
    problem: why it last failed; empty if no events wait.
    failed: time of the last failure.
    """

    workitems: int = 0
    waiting: int = 0
    problem: str = ""
    failed: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorkitemRule:
    """A rule."""

    id: str
    definition: RuleDefinition
    is_enabled: bool
    creator: str
    created: datetime
    state: RuleState = RuleState()

    def workitem_uid(self, event: StudyEvent) -> Uid:
        """Return the UID of the workitem for an event (PS3.5 section B.2), always the same."""
        name = f"{self.id}/{event.partition}/{event.study}/{event.id}"
        return Uid(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


class RuleEvent(NamedTuple):
    """An event to which a rule is to be applied. attempts: number of failures until now."""

    event: StudyEvent
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class RuleEvents:
    """Events to which a rule is to be applied.

    again: those that failed and are due.
    new: later than all others, in order.
    until: number of the last event that is one of `new`, or does not concern the rule.
    """

    again: tuple[RuleEvent, ...]
    new: tuple[RuleEvent, ...]
    until: int


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """Why a rule could not be applied to an event, at what time, and when to try again."""

    problem: str
    at: datetime
    next: datetime


def new_rule_id() -> str:
    """Return a new, random id."""
    return secrets.token_hex(_ID_BYTES)
