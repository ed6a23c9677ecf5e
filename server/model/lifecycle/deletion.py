"""Deletions whose instances have not all been restored or erased."""

from dataclasses import dataclass
from datetime import datetime

from server.model.ids import Address


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion of a study, series or instance.

    key: ascends with time.
    author: id of the principal.
    reason: text of the client, "" for none.
    instances: number of its instances that have not been restored.
    erase_after: from then on they are erased.
    """

    key: int
    resource: Address
    time: datetime
    author: str
    reason: str
    instances: int
    erase_after: datetime


@dataclass(frozen=True, slots=True)
class DeletionQuery:
    """Selects deletions, newest first.

    scope: a partition, or a study, series or instance that they affect.
    start, end: times of the deletions; the end is exclusive.
    """

    scope: Address
    start: datetime | None = None
    end: datetime | None = None
