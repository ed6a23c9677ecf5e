"""Errors of the core and of identifiers as statuses of responses."""

from typing import Any, NamedTuple, cast

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from dimse.queries.identifiers import InvalidIdentifier
from dimse.services import statuses

_MAX_COMMENT = 64
_RETRY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
    }
)
_DENIED = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})


class Failure(NamedTuple):
    """A final status, and further elements of the response.

    Texts of the core and of this package contain no values of attributes.
    """

    status: int
    elements: dict[str, Any]


def invalid_attribute(error: grpc.RpcError) -> str:
    """Return the dotted path of the attribute that the core names in an error; empty if it names none."""
    return str(_info(error).metadata.get("attribute", ""))


def reason_of(error: grpc.RpcError) -> str:
    """Return the reason of an error of the core (docs/errors.md); empty if it has none."""
    return str(_info(error).reason)


def _info(error: grpc.RpcError) -> ErrorInfo:
    info = ErrorInfo()
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))  # it has all methods that are used
    except ValueError:  # details that contradict the status
        return info
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return info
    return ErrorInfo()


def invalid_identifier(error: InvalidIdentifier) -> Failure:
    """Return the failure for an identifier that does not match the SOP class."""
    elements: dict[str, Any] = {"error_comment": str(error)[:_MAX_COMMENT]}
    if error.tag:
        elements["offending_elements"] = (int(error.tag, 16),)
    return Failure(statuses.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, elements)


def of_core(error: grpc.RpcError, out_of_resources: int, otherwise: int) -> Failure:
    """Return the failure for an error of a call.

    Args:
        out_of_resources: status of failures after which the same request may succeed later.
        otherwise: status of other failures.
    """
    code, details = error.code(), error.details() or ""
    comment = {"error_comment": details[:_MAX_COMMENT]}
    if code in _RETRY:
        return Failure(out_of_resources, comment)
    if code in _DENIED:
        return Failure(statuses.NOT_AUTHORIZED, comment)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return Failure(statuses.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, comment)
    return Failure(otherwise, comment)
