"""Errors as HTTP responses: the only map from the contract's reasons to status codes and texts.

    Refusal        an error response of the facade itself: status, text, headers
    CoreFailure    a failed call to the core: reason of the contract (or a gRPC code), message, metadata

Endpoints raise one of the two; any other exception is a fault of this program and becomes a 500 without details.
Bodies are plain text without patient data; the request id identifies the entry in the log.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from dicomstore.v1.errors_pb2 import ErrorReason
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facade.challenges import challenge

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2
"""Value of `Retry-After` when the core is unavailable or overloaded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and text of a reason. An empty text means that the core's message is used.

    retry: the response has `Retry-After`, with `retry_s` unless the core states more.
    """

    status: int
    text: str = ""
    retry: bool = False
    retry_s: int = RETRY_AFTER_S

    @property
    def retry_headers(self) -> dict[str, str]:
        """Return the header, if there is one."""
        return {"Retry-After": str(self.retry_s)} if self.retry else {}


ANSWERS: Mapping[str, Answer] = MappingProxyType(
    {
        "INTERNAL": Answer(500, "An unexpected error occurred."),
        "INVALID_UID": Answer(400),
        "INVALID_PARTITION_NAME": Answer(400),
        "INVALID_FIELD": Answer(400),
        "INVALID_QUERY": Answer(400),
        "INVALID_PAGE_TOKEN": Answer(400),
        "UNSUPPORTED_ATTRIBUTE": Answer(400),
        "INVALID_FRAME_NUMBER": Answer(400),
        "MALFORMED_STREAM": Answer(
            500, "An unexpected error occurred."
        ),  # the facade writes the stream, so the fault is here
        "STUDY_NOT_FOUND": Answer(404, "The specified study does not exist."),
        "SERIES_NOT_FOUND": Answer(404, "The specified series does not exist."),
        "INSTANCE_NOT_FOUND": Answer(404, "The specified instance does not exist."),
        "FRAME_NOT_FOUND": Answer(404, "The specified frame does not exist."),
        "NO_PIXEL_DATA": Answer(404, "The specified instance has no pixel data."),
        "BULK_DATA_NOT_FOUND": Answer(404, "The specified bulk data does not exist."),
        "PARTITION_NOT_FOUND": Answer(400, "Specified PartitionName does not exist."),
        "NO_CHANGES": Answer(204),
        "INSTANCE_ALREADY_EXISTS": Answer(409),
        "PARTITION_ALREADY_EXISTS": Answer(409),
        "PARTITIONS_DISABLED": Answer(400, "Data partitions feature is disabled."),
        "PARTITION_REQUIRED": Answer(400, "PartitionName value is missing in the route segment."),
        "NOT_ACCEPTABLE_TRANSFER_SYNTAX": Answer(
            406,
            "None of the requested media types and transfer syntaxes is available. The stored form is available with "
            "transfer-syntax=* and application/dicom, for frames application/octet-stream.",
        ),
        "NOT_ACCEPTABLE_MEDIA_TYPE": Answer(406),
        "NOT_RENDERABLE": Answer(406),
        "PIXEL_DATA_UNREADABLE": Answer(406, "The pixel data of the instance cannot be decoded."),
        "INVALID_TAG": Answer(400),
        "INVALID_OPERATION_ID": Answer(400),
        "INVALID_LABEL": Answer(400),
        "INVALID_WORKITEM": Answer(400),
        "TAG_NOT_FOUND": Answer(404, "The specified extended query tag does not exist."),
        "OPERATION_NOT_FOUND": Answer(404, "The specified operation does not exist."),
        "TOKEN_NOT_FOUND": Answer(404, "The specified token does not exist."),
        "SHARE_LINK_NOT_FOUND": Answer(404, "The specified share link does not exist."),
        "LOGIN_LINK_NOT_FOUND": Answer(404, "The login link has been used or has expired."),
        "CONSUMER_NOT_FOUND": Answer(404, "The specified consumer does not exist."),
        "WEBHOOK_NOT_FOUND": Answer(404, "The specified webhook does not exist."),
        "WORKITEM_RULE_NOT_FOUND": Answer(404, "The specified rule does not exist."),
        "TRANSFER_NOT_FOUND": Answer(404, "The specified transfer does not exist."),
        "EXPORT_DISABLED": Answer(404, "The requested resource does not exist."),
        "COMMITMENT_NOT_FOUND": Answer(404, "The specified storage commitment request does not exist."),
        "WORKITEM_NOT_FOUND": Answer(404),
        "HOLD_NOT_FOUND": Answer(404, "The specified hold does not exist."),
        "VERSION_NOT_FOUND": Answer(404, "The instance does not have the specified version."),
        "TAG_ALREADY_EXISTS": Answer(409),
        "COMMITMENT_ALREADY_EXISTS": Answer(409),
        "WORKITEM_ALREADY_EXISTS": Answer(409),
        "TAG_QUERY_DISABLED": Answer(400, "Query is disabled on specified attribute."),
        "OPERATION_RUNNING": Answer(409),
        "AUTHENTICATION_OFF": Answer(409),
        "CONSUMER_MOVED": Answer(409),
        "ON_HOLD": Answer(409),
        "PARTITION_BEING_DELETED": Answer(409, "The partition is being deleted."),
        "DEFAULT_PARTITION": Answer(409, "The default partition cannot be deleted."),
        "WORKITEM_STATE_CONFLICT": Answer(400),
        "WORKITEM_NOT_CANCELABLE": Answer(409),
        "TRANSFER_NOT_FAILED": Answer(409),
        "TOO_MANY_TAGS": Answer(400),
        "TOO_MANY_CONSUMERS": Answer(400),
        "TOO_MANY_WEBHOOKS": Answer(400),
        "TOO_MANY_SUBSCRIPTIONS": Answer(403),
        "TOO_MANY_WORKITEM_RULES": Answer(400),
        "TOO_MANY_TRANSFERS": Answer(503, retry=True),
        "TOO_MANY_LABELS": Answer(400),
        "UNREADABLE_INSTANCE": Answer(409),
        "INVALID_INSTANCE": Answer(409),
        "STUDY_MISMATCH": Answer(409),
        "TRANSFER_DAMAGED": Answer(409),
        "ITEM_ABORTED": Answer(409),
        "SOURCE_UNREADABLE": Answer(409),
        "INSTANCE_TOO_LARGE": Answer(413, "The instance exceeds the size limit of this service."),
        "HEADER_TOO_LARGE": Answer(413, "The attributes of the instance exceed the size limit."),
        "STORAGE_FULL": Answer(507, "The storage of the service is full."),
        "BUSY": Answer(503, "The service is busy. Please try again later.", retry=True),
        "SEARCH_TOO_LONG": Answer(503, "The search took too long. Please use more specific search conditions."),
        "RANGE_NOT_SATISFIABLE": Answer(416, "The requested range is outside the resource."),
        "DATABASE_UNAVAILABLE": Answer(503, "The service is unavailable. Please try again later.", retry=True),
        "STORAGE_UNAVAILABLE": Answer(503, "The service is unavailable. Please try again later.", retry=True),
        "ARCHIVE_READ_ONLY": Answer(503, "The service is read-only at the moment."),
        "OPERATIONS_STUCK": Answer(503, "Operations make no progress."),
        "IDENTITY_PROVIDER_UNAVAILABLE": Answer(
            503, "The access token cannot be verified at the moment. Please try again later.", retry=True
        ),
        "SHUTTING_DOWN": Answer(503, "The service is restarting. Please try again later.", retry=True),
        "UNAUTHENTICATED": Answer(401),
        "PERMISSION_DENIED": Answer(403),
        "PARTITION_NOT_PERMITTED": Answer(404),
        "RATE_LIMITED": Answer(429, "There are too many requests. Please try again later.", retry=True),
        "QUOTA_EXCEEDED": Answer(429, "The partition has reached its limit of stored bytes.", retry=True, retry_s=3600),
        "BLOB_MISSING": Answer(500, "The stored object cannot be read."),
        "BLOB_DAMAGED": Answer(500, "The stored object cannot be read."),
    }
)
"""By name of the `ErrorReason` without prefix. A test checks that every reason has an entry."""

CODES: Mapping[str, Answer] = MappingProxyType(
    {
        "UNAVAILABLE": Answer(503, "The service is unavailable. Please try again later.", retry=True),
        "DEADLINE_EXCEEDED": Answer(503, "The service did not answer in time. Please try again later.", retry=True),
        "RESOURCE_EXHAUSTED": Answer(503, "The service is busy. Please try again later.", retry=True),
        "UNAUTHENTICATED": Answer(401, "Authentication is required."),
        "PERMISSION_DENIED": Answer(403, "This is not permitted."),
        "UNIMPLEMENTED": Answer(501, "This service does not support the request."),
    }
)
"""For failures without a reason of the contract: connection errors, or a core older than the facade."""

_UNEXPECTED = ANSWERS["INTERNAL"]


_MAX_SHOWN = 32


def shown(value: str) -> str:
    """Return an invalid parameter value for an error text: quoted, printable, truncated.

    Only for protocol parameters. Error texts never contain values of attributes.
    """
    text = "".join(character if character.isprintable() else "\ufffd" for character in value[:_MAX_SHOWN])
    return f"'{text}…'" if len(value) > _MAX_SHOWN else f"'{text}'"


class Refusal(Exception):
    """The facade refuses the request with `status` and `text`."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


class CoreFailure(Exception):
    """A call to the core failed.

    Args:
        reason: name of the `ErrorReason` without prefix; empty if the core did not send one.
        code: name of the gRPC status code.
        message: text for people.
        metadata: details that the contract defines for the reason.
        retry_after_s: when to try again; None if the core did not say so.
    """

    def __init__(
        self,
        reason: str,
        code: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{reason or code}: {message}")
        self.reason = reason
        self.code = code
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s


def answer_of(reason: str, code: str = "") -> Answer:
    """Return the HTTP answer for a reason, or for a gRPC code if the reason is unknown."""
    return ANSWERS.get(reason) or CODES.get(code) or _UNEXPECTED


def reason_name(reason: int) -> str:
    """Return the name of a reason without prefix; "INTERNAL" for a reason that is newer than this program."""
    if reason not in ErrorReason.values():
        return "INTERNAL"
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def plain_response(reason: str) -> Response:
    """Return the response for a reason with a fixed text."""
    answer = ANSWERS[reason]
    return PlainTextResponse(answer.text, answer.status, answer.retry_headers)


async def refused(request: Request, error: Exception) -> Response:
    """Answer a `Refusal`."""
    assert isinstance(error, Refusal)
    return PlainTextResponse(error.text, error.status, error.headers)


async def core_failed(request: Request, error: Exception) -> Response:
    """Answer a `CoreFailure`."""
    assert isinstance(error, CoreFailure)
    answer = answer_of(error.reason, error.code)
    if answer.status == 204:
        return Response(status_code=204)
    if error.retry_after_s:
        answer = replace(answer, retry_s=max(error.retry_after_s, answer.retry_s))
    headers = answer.retry_headers
    headers |= challenge(answer.status, error.metadata, answer.text or error.message)
    if answer.status == 416 and "size_bytes" in error.metadata:
        headers["Content-Range"] = f"bytes */{error.metadata['size_bytes']}"
    text = answer.text or error.message
    if possible := error.metadata.get("possible"):
        text += f" Possible are {', '.join(possible.split(','))}."
    return PlainTextResponse(text, answer.status, headers)


async def http_failed(request: Request, error: Exception) -> Response:
    """Answer errors of the router: 404 for an unknown path, 405 with `Allow` for an unsupported method."""
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


class UnexpectedErrors:
    """ASGI middleware: an unexpected exception becomes a 500 without details, and a traceback in the log.

    A request that the server cancels while stopping becomes a 503 with Retry-After, and one line in the log. In both
    cases a response that has already started is aborted, so that the client sees that it is incomplete.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            # The cancellation ends here: only the HTTP server cancels requests, and it does not wait for them.
            log.info("request cut off reason=SHUTTING_DOWN request_id=%s", scope["state"]["request_id"])
            if not begun:
                await plain_response("SHUTTING_DOWN")(scope, receive, send)
        except Exception:
            if scope["type"] != "http":
                raise
            log.exception("unexpected error request_id=%s", scope["state"]["request_id"])
            if not begun:
                await plain_response("INTERNAL")(scope, receive, send)
