"""Everything the core can refuse or fail at, as one small tree.

    DicomStoreError            reason, message, metadata
    ├── InvalidRequest         the request can't be understood; sending it again will not help
    ├── NotFound               no such thing
    ├── AlreadyExists          such a thing is there already
    ├── WrongState             understood, but not possible as things stand
    ├── OutOfRange             outside the object
    ├── Exhausted              no room, or too much at once
    ├── Unavailable            a dependency is down; try again later
    ├── Aborted                the client gave up
    └── DataLoss               what was acknowledged is not there any more

An error is raised once, where the fact is known, with a `Reason` of the contract (protos/dicomstore/v1/errors.proto).
It becomes a gRPC status in `server/rpc/errors.py`, and a per-item result where items are independent.
Messages are for people and never carry patient data.
"""

from enum import StrEnum


class Reason(StrEnum):
    """`ErrorReason` of the contract, without its prefix. A test keeps the two equal."""

    INTERNAL = "INTERNAL"
    INVALID_UID = "INVALID_UID"
    INVALID_PARTITION_NAME = "INVALID_PARTITION_NAME"
    INVALID_FIELD = "INVALID_FIELD"
    INVALID_QUERY = "INVALID_QUERY"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"  # noqa: S105 - a name, not a secret
    MALFORMED_STREAM = "MALFORMED_STREAM"
    UNSUPPORTED_ATTRIBUTE = "UNSUPPORTED_ATTRIBUTE"
    INVALID_FRAME_NUMBER = "INVALID_FRAME_NUMBER"
    STUDY_NOT_FOUND = "STUDY_NOT_FOUND"
    SERIES_NOT_FOUND = "SERIES_NOT_FOUND"
    INSTANCE_NOT_FOUND = "INSTANCE_NOT_FOUND"
    FRAME_NOT_FOUND = "FRAME_NOT_FOUND"
    NO_PIXEL_DATA = "NO_PIXEL_DATA"
    BULK_DATA_NOT_FOUND = "BULK_DATA_NOT_FOUND"
    PARTITION_NOT_FOUND = "PARTITION_NOT_FOUND"
    NO_CHANGES = "NO_CHANGES"
    INSTANCE_ALREADY_EXISTS = "INSTANCE_ALREADY_EXISTS"
    PARTITION_ALREADY_EXISTS = "PARTITION_ALREADY_EXISTS"
    PARTITIONS_DISABLED = "PARTITIONS_DISABLED"
    PARTITION_REQUIRED = "PARTITION_REQUIRED"
    NOT_ACCEPTABLE_TRANSFER_SYNTAX = "NOT_ACCEPTABLE_TRANSFER_SYNTAX"
    NOT_ACCEPTABLE_MEDIA_TYPE = "NOT_ACCEPTABLE_MEDIA_TYPE"
    NOT_RENDERABLE = "NOT_RENDERABLE"
    PIXEL_DATA_UNREADABLE = "PIXEL_DATA_UNREADABLE"
    INVALID_TAG = "INVALID_TAG"
    INVALID_OPERATION_ID = "INVALID_OPERATION_ID"
    TAG_NOT_FOUND = "TAG_NOT_FOUND"
    OPERATION_NOT_FOUND = "OPERATION_NOT_FOUND"
    TAG_ALREADY_EXISTS = "TAG_ALREADY_EXISTS"
    TAG_QUERY_DISABLED = "TAG_QUERY_DISABLED"
    OPERATION_RUNNING = "OPERATION_RUNNING"
    TOO_MANY_TAGS = "TOO_MANY_TAGS"
    UNREADABLE_INSTANCE = "UNREADABLE_INSTANCE"
    INVALID_INSTANCE = "INVALID_INSTANCE"
    STUDY_MISMATCH = "STUDY_MISMATCH"
    TRANSFER_DAMAGED = "TRANSFER_DAMAGED"
    ITEM_ABORTED = "ITEM_ABORTED"
    INSTANCE_TOO_LARGE = "INSTANCE_TOO_LARGE"
    HEADER_TOO_LARGE = "HEADER_TOO_LARGE"
    STORAGE_FULL = "STORAGE_FULL"
    BUSY = "BUSY"
    SEARCH_TOO_LONG = "SEARCH_TOO_LONG"
    RANGE_NOT_SATISFIABLE = "RANGE_NOT_SATISFIABLE"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    ARCHIVE_READ_ONLY = "ARCHIVE_READ_ONLY"
    OPERATIONS_STUCK = "OPERATIONS_STUCK"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    BLOB_MISSING = "BLOB_MISSING"
    BLOB_DAMAGED = "BLOB_DAMAGED"


class DicomStoreError(Exception):
    """Base of all errors that a caller can act on.

    Args:
        reason: the contract's name for what happened.
        message: for people; no patient data.
        metadata: the keys that the contract lists for the reason.

    Attributes:
        may_have_happened: what failed may have taken effect all the same, as when a connection breaks during a commit.
    """

    may_have_happened = False

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata


class InvalidRequest(DicomStoreError):
    """The request can't be understood."""


class NotFound(DicomStoreError):
    """No such thing."""


class AlreadyExists(DicomStoreError):
    """Such a thing is there already."""


class WrongState(DicomStoreError):
    """Not possible as things stand."""


class OutOfRange(DicomStoreError):
    """Outside the object."""


class Exhausted(DicomStoreError):
    """No room, or too much at once."""


class Unavailable(DicomStoreError):
    """A dependency is down."""


class Aborted(DicomStoreError):
    """The client gave up."""


class DataLoss(DicomStoreError):
    """What was acknowledged is not there any more."""
