"""Values of the audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

WriterId = str
"""A process that writes to the audit trail: 32 hexadecimal digits."""

Positions = Mapping[WriterId, int]
"""The number of the last processed record of each writer."""

MAX_RECORD_BYTES = 64 << 10
"""Largest record, as JSON."""


@dataclass(frozen=True, slots=True)
class AuditTrailSettings:
    """How a process writes to the audit trail.

    key_file: PEM file with the Ed25519 private key that signs checkpoints; created if it does not exist.
    key_seed: 32 bytes from which the key follows instead, if they are given.
    file_bytes, file_age: a file is ended when it reaches one of these.
    retention: time after which files are removed; None keeps them.
    exports: names of saved positions; what they have not passed is kept.
    """

    key_file: Path
    file_bytes: int = 16 << 20
    file_age: timedelta = timedelta(days=1)
    retention: timedelta | None = None
    exports: tuple[str, ...] = ()
    key_seed: bytes = field(default=b"", repr=False)


class StoredRecord(NamedTuple):
    """A record of the audit trail.

    number: ascending from 1 for each writer, without gaps.
    time: in UTC, as in "2026-01-31T23:59:59.123456Z"; ascending for each writer.
    data: a JSON object that starts with `n` and `time`.
    """

    time: str
    writer: WriterId
    number: int
    data: bytes


class FindingKind(StrEnum):
    """What a verification found. All but the last three are evidence of tampering or damage."""

    RECORD_CHANGED = "record changed"
    RECORDS_MISSING = "records missing"
    FILE_MISSING = "file missing"
    WRITER_MISSING = "writer missing"
    UNKNOWN_FILE = "unknown file"
    CHECKPOINT_CHANGED = "checkpoint changed"
    CHECKPOINTS_MISSING = "checkpoints missing"
    SIGNATURE_INVALID = "signature invalid"
    KEY_REPLACED = "key replaced"
    TORN_TAIL = "torn tail"
    NOT_SEALED = "not sealed"
    RECORDS_LOST = "records lost"

    @property
    def is_tampering(self) -> bool:
        """False for what the crash of a process or a full disk explains."""
        return self not in (FindingKind.TORN_TAIL, FindingKind.NOT_SEALED, FindingKind.RECORDS_LOST)


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of a verification: kind, place and description. It contains no data of records."""

    kind: FindingKind
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification.

    records, writers: their numbers in the files that exist.
    checkpoint: the last checkpoint as "number:digest", for a later verification to compare with; "" if there is none.
    key: fingerprint of the current signing key.
    """

    writers: int
    records: int
    checkpoint: str
    key: str
    findings: tuple[Finding, ...]

    @property
    def is_intact(self) -> bool:
        """True if nothing was changed or removed."""
        return not any(finding.kind.is_tampering for finding in self.findings)
