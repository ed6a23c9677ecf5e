"""Storage commitment: requests and results (PS3.4 Annex J)."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import PartitionName, Uid


class FailureReason(enum.IntEnum):
    """Values of Failure Reason (0008,1197), PS3.3 section C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to an instance; study and series are None if they are not given."""

    sop_class_uid: Uid
    instance: Uid
    study: Uid | None = None
    series: Uid | None = None


Failures = Mapping[int, FailureReason]
"""Failure reasons by the position of the reference; the other instances are committed."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request, and its result.

    author: id of the principal that made the request.
    failures: None while the request is not finished.
    """

    partition: PartitionName
    transaction_uid: Uid
    created: datetime
    author: str
    references: Sequence[Reference]
    failures: Failures | None = None
