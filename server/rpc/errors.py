"""The mapping from domain errors to gRPC statuses.

A status carries `google.rpc.ErrorInfo{reason, domain, metadata}`; protos/dicomstore/v1/errors.proto is the catalogue.
"""

import logging
import math

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from server.model.errors import (
    Aborted,
    AlreadyExists,
    DataLoss,
    DicomStoreError,
    Exhausted,
    Forbidden,
    InvalidRequest,
    NotFound,
    OutOfRange,
    Reason,
    Unauthenticated,
    Unavailable,
    WrongState,
)

DOMAIN = "dicomstore"
_RETRY_SECONDS = 1
_RETRIED = (Reason.BUSY, Reason.RATE_LIMITED, Reason.QUOTA_EXCEEDED)

CODES: dict[type[DicomStoreError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Aborted: grpc.StatusCode.CANCELLED,
    DataLoss: grpc.StatusCode.DATA_LOSS,
    DicomStoreError: grpc.StatusCode.INTERNAL,
}

_log = logging.getLogger("dicomstore.rpc")


def to_status(error: DicomStoreError) -> grpc.Status:
    """Return the status of a failed call."""
    code = _code(error)
    status = Status(code=code.value[0], message=error.message)
    _pack(status, ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if isinstance(error, InvalidRequest) and "field" in error.metadata:
        violation = BadRequest.FieldViolation(field=error.metadata["field"], description=error.message)
        _pack(status, BadRequest(field_violations=[violation]))
    is_unavailable = isinstance(error, Unavailable) and error.reason is not Reason.ARCHIVE_READ_ONLY
    if is_unavailable or error.reason in _RETRIED:
        retry = RetryInfo()
        retry.retry_delay.seconds = math.ceil(error.retry_seconds or _RETRY_SECONDS)
        _pack(status, retry)
    return rpc_status.to_status(status)


def outcome(error: BaseException | None) -> tuple[str, str]:
    """Return the gRPC code and the error reason, or "", with which a call ends."""
    if error is None:
        return "OK", ""
    if isinstance(error, DicomStoreError):
        return _code(error).name, error.reason
    return ("INTERNAL", Reason.INTERNAL) if isinstance(error, Exception) else ("CANCELLED", "")


def _code(error: DicomStoreError) -> grpc.StatusCode:
    """Return the code of the error's class; adapters have more specific ones."""
    return next(CODES[each] for each in type(error).__mro__ if each in CODES)


def unexpected(error: Exception, request_id: str) -> DicomStoreError:
    """Log an internal error and return a generic one for the client."""
    _log.error("unexpected fault request_id=%s", request_id, exc_info=error)
    return DicomStoreError(Reason.INTERNAL, "An unexpected error occurred.")


def _pack(status: Status, detail: ErrorInfo | BadRequest | RetryInfo) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)
