"""Webhooks, and the events that they get."""

import base64
import binascii
import enum
import secrets
from dataclasses import dataclass
from datetime import datetime

from server.model.change import ChangeAction
from server.model.events.study_event import StudyChanges, StudyEventKind
from server.model.ids import Address, PartitionName, Uid

SECRET_PREFIX = "whsec_"  # noqa: S105 - Standard Webhooks
_SECRET_BYTES = 32
_ID_BYTES = 8


class EventType(enum.StrEnum):
    """CloudEvents type of an event: of instances as in Azure's service, and of studies."""

    IMAGE_CREATED = "Microsoft.HealthcareApis.DicomImageCreated"
    IMAGE_UPDATED = "Microsoft.HealthcareApis.DicomImageUpdated"
    IMAGE_DELETED = "Microsoft.HealthcareApis.DicomImageDeleted"
    STUDY_STABLE = "dicomstore.StudyStable"
    STUDY_UPDATED = "dicomstore.StudyUpdated"
    STUDY_DELETED = "dicomstore.StudyDeleted"
    STUDY_RESTORED = "dicomstore.StudyRestored"


OF_ACTION = {
    ChangeAction.CREATE: EventType.IMAGE_CREATED,
    ChangeAction.UPDATE: EventType.IMAGE_UPDATED,
    ChangeAction.DELETE: EventType.IMAGE_DELETED,
}
OF_KIND = {
    StudyEventKind.STABLE: EventType.STUDY_STABLE,
    StudyEventKind.UPDATED: EventType.STUDY_UPDATED,
    StudyEventKind.DELETED: EventType.STUDY_DELETED,
    StudyEventKind.RESTORED: EventType.STUDY_RESTORED,
}


@dataclass(frozen=True, slots=True, order=True)
class EventPosition:
    """Position of an event among those of the change feed and those of studies, which follow their entries.

    number: of an event of a study; 0 for an entry of the change feed.
    """

    sequence: int
    number: int = 0

    def __str__(self) -> str:
        return f"{self.sequence}.{self.number}"


@dataclass(frozen=True, slots=True)
class Event:
    """An event that is sent to webhooks.

    id: no other event of the archive has it.
    sequence: of the last entry of the change feed that it is about.
    resource: an instance or a study.
    instances, changes: of a study; None for an instance.
    trace: of the change that caused it, as header `traceparent`; empty if it is not recorded.
    """

    position: EventPosition
    id: str
    type: EventType
    time: datetime
    sequence: int
    resource: Address
    instances: int | None = None
    changes: StudyChanges | None = None
    trace: str = ""

    @property
    def study(self) -> tuple[PartitionName, Uid]:
        """The study to which it belongs."""
        assert self.resource.study is not None
        return self.resource.partition, self.resource.study


@dataclass(frozen=True, slots=True)
class WebhookFilter:
    """The events that a webhook gets; empty means all."""

    types: frozenset[EventType] = frozenset()
    partitions: frozenset[PartitionName] = frozenset()


@dataclass(frozen=True, slots=True)
class Handled:
    """What has been sent to a webhook, or could not be sent and is recorded.

    sequence: entries of the change feed up to this one.
    number: events of studies up to this one.
    """

    sequence: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """How a receiver has answered.

    failures: number of failed attempts since the last successful one.
    problem: why the last attempt failed; empty after a success.
    succeeded: time of the last successful attempt.
    """

    failures: int = 0
    problem: str = ""
    succeeded: datetime | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registered URL.

    secrets: with which events are signed: the present one, and the previous one if there is one.
    """

    id: str
    url: str
    secrets: tuple[str, ...]
    label: str
    filter: WebhookFilter
    is_enabled: bool
    creator: str
    created: datetime
    handled: Handled = Handled()
    health: Health = Health()


@dataclass(frozen=True, slots=True)
class Backlog:
    """Numbers of events of a webhook that could not be delivered yet, with those that wait for them, and dead ones."""

    waiting: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An event that could not be delivered.

    dead: when the archive gave up; None if it will be sent again.
    """

    event: Event
    attempts: int = 0
    first_attempt: datetime | None = None
    problem: str = ""
    dead: datetime | None = None


def new_webhook_id() -> str:
    """Return a new, random id."""
    return secrets.token_hex(_ID_BYTES)


def new_secret() -> str:
    """Return a new secret: 256 random bits."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """Return the key in a secret (Standard Webhooks). Raises: ValueError."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not (secret.startswith(SECRET_PREFIX) and 24 <= len(key) <= 64):
        raise ValueError("A secret is whsec_ and 24 to 64 bytes in base64.")
    return key
