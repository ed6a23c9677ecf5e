"""The errors of the core, as one small hierarchy.

    DicomStoreError            reason, message, metadata
    ├── InvalidRequest         the request is invalid; retrying does not help
    ├── Unauthenticated        no credentials, or invalid ones
    ├── Forbidden              the principal may not do this
    ├── NotFound               the resource does not exist
    ├── AlreadyExists          the resource exists already
    ├── WrongState             valid, but not possible in the current state of the resource
    ├── OutOfRange             outside the object
    ├── Exhausted              a limit of space or concurrency is reached
    ├── Unavailable            a dependency is down; retry later
    ├── Aborted                the client aborted
    └── DataLoss               acknowledged data is lost

An error is raised once, where the cause is known, with a `Reason` of the contract (protos/dicomstore/v1/errors.proto).
`server/rpc/errors.py` maps it to a gRPC status, or to an item error where items are independent. Messages are for
people and never contain patient data.
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
    INVALID_LABEL = "INVALID_LABEL"
    INVALID_WORKITEM = "INVALID_WORKITEM"
    TAG_NOT_FOUND = "TAG_NOT_FOUND"
    OPERATION_NOT_FOUND = "OPERATION_NOT_FOUND"
    TOKEN_NOT_FOUND = "TOKEN_NOT_FOUND"  # noqa: S105 - a name, not a secret
    SHARE_LINK_NOT_FOUND = "SHARE_LINK_NOT_FOUND"
    LOGIN_LINK_NOT_FOUND = "LOGIN_LINK_NOT_FOUND"
    CONSUMER_NOT_FOUND = "CONSUMER_NOT_FOUND"
    WEBHOOK_NOT_FOUND = "WEBHOOK_NOT_FOUND"
    WORKITEM_RULE_NOT_FOUND = "WORKITEM_RULE_NOT_FOUND"
    TRANSFER_NOT_FOUND = "TRANSFER_NOT_FOUND"
    EXPORT_DISABLED = "EXPORT_DISABLED"
    COMMITMENT_NOT_FOUND = "COMMITMENT_NOT_FOUND"
    WORKITEM_NOT_FOUND = "WORKITEM_NOT_FOUND"
    HOLD_NOT_FOUND = "HOLD_NOT_FOUND"
    VERSION_NOT_FOUND = "VERSION_NOT_FOUND"
    TAG_ALREADY_EXISTS = "TAG_ALREADY_EXISTS"
    COMMITMENT_ALREADY_EXISTS = "COMMITMENT_ALREADY_EXISTS"
    WORKITEM_ALREADY_EXISTS = "WORKITEM_ALREADY_EXISTS"
    TAG_QUERY_DISABLED = "TAG_QUERY_DISABLED"
    OPERATION_RUNNING = "OPERATION_RUNNING"
    AUTHENTICATION_OFF = "AUTHENTICATION_OFF"
    CONSUMER_MOVED = "CONSUMER_MOVED"
    ON_HOLD = "ON_HOLD"
    PARTITION_BEING_DELETED = "PARTITION_BEING_DELETED"
    DEFAULT_PARTITION = "DEFAULT_PARTITION"
    WORKITEM_STATE_CONFLICT = "WORKITEM_STATE_CONFLICT"
    WORKITEM_NOT_CANCELABLE = "WORKITEM_NOT_CANCELABLE"
    TRANSFER_NOT_FAILED = "TRANSFER_NOT_FAILED"
    TOO_MANY_TAGS = "TOO_MANY_TAGS"
    TOO_MANY_CONSUMERS = "TOO_MANY_CONSUMERS"
    TOO_MANY_WEBHOOKS = "TOO_MANY_WEBHOOKS"
    TOO_MANY_SUBSCRIPTIONS = "TOO_MANY_SUBSCRIPTIONS"
    TOO_MANY_WORKITEM_RULES = "TOO_MANY_WORKITEM_RULES"
    TOO_MANY_TRANSFERS = "TOO_MANY_TRANSFERS"
    TOO_MANY_LABELS = "TOO_MANY_LABELS"
    UNREADABLE_INSTANCE = "UNREADABLE_INSTANCE"
    INVALID_INSTANCE = "INVALID_INSTANCE"
    STUDY_MISMATCH = "STUDY_MISMATCH"
    TRANSFER_DAMAGED = "TRANSFER_DAMAGED"
    ITEM_ABORTED = "ITEM_ABORTED"
    SOURCE_UNREADABLE = "SOURCE_UNREADABLE"
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
    IDENTITY_PROVIDER_UNAVAILABLE = "IDENTITY_PROVIDER_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    PARTITION_NOT_PERMITTED = "PARTITION_NOT_PERMITTED"
    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    BLOB_MISSING = "BLOB_MISSING"
    BLOB_DAMAGED = "BLOB_DAMAGED"


class DicomStoreError(Exception):
    """Base class of all errors that a caller can handle.

    Args:
        reason: the reason of the contract.
        message: for people; no patient data.
        metadata: the keys that the contract lists for the reason.

    Attributes:
        may_have_happened: the failed operation may have taken effect, as when a connection breaks during a commit.
        retry_seconds: when the client should try again, if that is known.
    """

    may_have_happened = False
    retry_seconds: float | None = None

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata


class InvalidRequest(DicomStoreError):
    """The request is invalid."""


class Unauthenticated(DicomStoreError):
    """The call has no credentials, or invalid ones."""


class Forbidden(DicomStoreError):
    """The principal may not do this."""


class NotFound(DicomStoreError):
    """The resource does not exist."""


class AlreadyExists(DicomStoreError):
    """The resource exists already."""


class WrongState(DicomStoreError):
    """Not possible in the current state of the resource."""


class OutOfRange(DicomStoreError):
    """Outside the object."""


class Exhausted(DicomStoreError):
    """A limit of space or concurrency is reached."""


class Unavailable(DicomStoreError):
    """A dependency is down."""


class Aborted(DicomStoreError):
    """The client aborted."""


class DataLoss(DicomStoreError):
    """Acknowledged data is lost."""
