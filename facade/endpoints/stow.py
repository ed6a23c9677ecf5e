"""STOW-RS: storing of instances (PS3.18 section 10.5).

The body is streamed to the core in messages of bounded size; small instances share a message. No instance is buffered,
and flow control of the core slows down the client. The outcome of each instance is kept until the response: 1 KiB, and
5 KiB while the response is built; `MAX_PARTS` limits their number.

Instances are independent: an instance remains stored whatever happens to others or to the connection.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from typing import Any

import grpc
from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.resources_pb2 import ItemError
from dicomstore.v1.store_service_pb2 import StoreHeader, StoreOutcome, ValidationMode
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from facade.channel import CallStatus, Core
from facade.errors import CoreFailure, Refusal, answer_of, reason_name
from facade.multipart import MalformedMultipart
from facade.request.accept import accepts_json, prefers_xml
from facade.request.addresses import resource_of, urls_of
from facade.request.azure.expiry import expiry_of
from facade.request.azure.external_metadata import external_attributes
from facade.request.body import body_of
from facade.request.catalogue import DICOM_JSON, DICOM_XML
from facade.request.query import accepted_media_ranges, parameters_of, prefers_strict
from facade.request.reason import duplicates_of, reason_of
from facade.request.store_body import MAX_PARTS, StoreBody, store_body_of
from facade.request.upload import UploadMessage
from facade.response.dicom_json import store_response, store_response_json
from facade.response.dicom_xml import native_xml
from facade.response.store_outcomes import OUTCOMES_JSON, store_outcomes_json
from facade.serving.admission import Uploads
from facade.serving.observe import call_metadata
from facade.timeouts import IdleTimeout
from facade.versions import ApiVersion

_TOO_MANY_PARTS = f"Only the first {MAX_PARTS} instances were processed. Send the others in another request."
_SEVERAL_VALUES = "One or more indexed Dicom tag(s) have multiple values, only first value is indexed."


async def store(request: Request) -> Response:
    """POST and PUT /studies[/{study}]. PUT replaces instances that are stored already."""
    media_ranges = accepted_media_ranges(request)
    as_xml = prefers_xml(media_ranges)
    as_outcomes = bool(media_ranges) and media_ranges[0].name == OUTCOMES_JSON
    if not as_xml and not as_outcomes and not accepts_json(media_ranges):
        raise Refusal(406, f"Only {DICOM_JSON} and {DICOM_XML} can be returned.")
    resource = resource_of(request)
    version: ApiVersion = request.path_params["version"]
    header = StoreHeader(
        address=resource,
        create_partition=bool(resource.partition),
        validation=ValidationMode.VALIDATION_MODE_STRICT if prefers_strict(request) else version.validation,
        external_metadata=external_attributes(request),
        expires_after=expiry_of(request.headers),
        duplicates=duplicates_of(request),
        reason=reason_of(request, parameters_of(request)),
    )
    uploads: Uploads = request.app.state.uploads
    try:
        body = store_body_of(request)
        with uploads:
            outcomes = await _exchange(request, header, body)
    except ClientDisconnect:
        raise Refusal(400, "The client closed the connection.") from None
    except MalformedMultipart as error:
        raise Refusal(400, str(error)) from error
    if not outcomes:
        return Response(status_code=204)
    status = 413 if body.has_too_many_parts else status_of(outcomes, version)
    if status >= 400 and status != 409 and not body.has_too_many_parts:
        return _nothing_stored(status, outcomes)
    about = (outcomes, version, urls_of(request), resource.study_instance_uid)
    if as_outcomes:
        content, media_type = store_outcomes_json(outcomes), OUTCOMES_JSON
    elif as_xml:
        content, media_type = native_xml(store_response(*about)), DICOM_XML
    else:
        content, media_type = store_response_json(*about), DICOM_JSON
    # No charset: a widely used client treats "application/dicom+json; charset=utf-8" as an empty response.
    response = Response(content, status, {"Content-Type": media_type})
    warnings = [_TOO_MANY_PARTS] if body.has_too_many_parts else []
    if any(outcome.stored.indexed_first_value_only for outcome in outcomes):
        warnings.append(_SEVERAL_VALUES)
    if warnings:
        host = request.headers.get("host", "dicomstore")
        response.headers["Warning"] = ", ".join(f'299 {host}: "{text}"' for text in warnings)
    return response


def status_of(outcomes: list[StoreOutcome], version: ApiVersion) -> int:
    """Return the status of a response with at least one outcome (PS3.18 Table 10.5.3-1; docs/api.md, Storing).

    If all instances failed for one reason that is not a fault of the instances, the status is that of the reason.
    """
    failures = [outcome.failed for outcome in outcomes if outcome.HasField("failed")]
    if not failures:
        warned = any(outcome.stored.dicom_warning_reason for outcome in outcomes)
        return version.status_with_warnings if warned else 200
    if len(failures) < len(outcomes):
        return 202
    statuses = {_answer_status(failed) for failed in failures}
    return statuses.pop() if len(statuses) == 1 and not statuses & {400, 500} else 409


def _answer_status(failed: ItemError) -> int:
    return answer_of(reason_name(failed.reason)).status


def _nothing_stored(status: int, outcomes: list[StoreOutcome]) -> Response:
    answer = answer_of(reason_name(outcomes[0].failed.reason))
    return PlainTextResponse(answer.text, status, answer.retry_headers)


# ---------------------------------------------------------------------------------------------------------------------
# The call to the core


async def _exchange(request: Request, header: StoreHeader, body: StoreBody) -> list[StoreOutcome]:
    """Send all pieces of a body and return the outcomes in the order of the items.

    The call is always ended before this returns or raises; the core discards incomplete instances.

    Raises:
        CoreFailure: the call failed as a whole.
        and as `body_of` and `StoreBody`.
    """
    core: Core = request.app.state.core
    call = core.store.StoreInstances(metadata=call_metadata(request))
    outcomes: dict[int, StoreOutcome] = {}
    reader = asyncio.get_running_loop().create_task(_read_outcomes(call, CallStatus(call), outcomes))
    idle_timeout = IdleTimeout(core.idle_seconds)
    try:
        async with aclosing(body_of(request, core.idle_seconds)) as chunks:
            items = await _send(chunks, header, body, call, reader, idle_timeout, request.app.state.uploads)
        await _finish(reader, outcomes, idle_timeout)
    finally:
        idle_timeout.close()
        call.cancel()  # no effect on a call that has ended
        if not reader.done():
            await asyncio.gather(reader, return_exceptions=True)
        elif not reader.cancelled():
            reader.exception()  # marks it as retrieved: another one is raised
    return [outcomes.get(item) or _unanswered(item) for item in range(1, items + 1)]


async def _send(
    chunks: AsyncIterator[bytes],
    header: StoreHeader,
    body: StoreBody,
    call: Any,
    reader: "asyncio.Task[None]",
    idle_timeout: IdleTimeout,
    uploads: Uploads,
) -> int:
    """Send the pieces in messages, the first of which has the header; return the number of the last item.

    Ends early if the call has ended.
    """
    message, size = UploadMessage(header), 0
    async for chunk in chunks:
        for data in _fitting(chunk, uploads.message_bytes):
            for piece in body.feed(data):
                length = len(piece.data)
                if size + length > uploads.message_bytes:
                    if reader.done() or not await _write(idle_timeout, call, message):
                        return _last_item(message)
                    message, size = UploadMessage(), 0
                message.pieces.append(piece)
                size += length
        if body.has_too_many_parts:
            break
    else:
        message.pieces += body.close()
    if not reader.done() and await _write(idle_timeout, call, message):
        await call.done_writing()
    return _last_item(message)


def _fitting(chunk: bytes, most_bytes: int) -> Iterable[bytes]:
    """Return a chunk of the body in parts that fit into a message."""
    if len(chunk) <= most_bytes:
        return (chunk,)
    return (chunk[start : start + most_bytes] for start in range(0, len(chunk), most_bytes))


def _last_item(message: UploadMessage) -> int:
    return message.pieces[-1].item if message.pieces else 0


async def _write(idle_timeout: IdleTimeout, call: Any, message: UploadMessage) -> bool:
    """Send a message, subject to flow control; returns false if the call has ended."""
    try:
        with idle_timeout:
            await call.write(message)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False  # the call has ended; the reader gets the reason
    except TimeoutError:
        raise CoreFailure("", "DEADLINE_EXCEEDED", "the core accepts no more data") from None
    return True


async def _read_outcomes(call: Any, status: CallStatus, outcomes: dict[int, StoreOutcome]) -> None:
    try:
        while (response := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            for outcome in response.outcomes:
                outcomes[outcome.item] = outcome
    except grpc.aio.AioRpcError as error:
        if failure := await status.failure():
            raise failure from error


async def _finish(reader: "asyncio.Task[None]", outcomes: dict[int, StoreOutcome], idle_timeout: IdleTimeout) -> None:
    """Wait for the remaining outcomes; raises if none arrives within the idle timeout."""
    known = -1
    while not reader.done():
        if known == len(outcomes):
            raise CoreFailure("", "DEADLINE_EXCEEDED", "the core does not answer")
        known = len(outcomes)
        with suppress(TimeoutError), idle_timeout:
            await _end_of(reader)
    reader.result()


def _end_of(task: "asyncio.Task[None]") -> "asyncio.Future[None]":
    """Return a future that is done when a task is; unlike the task, it can be cancelled."""
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def set_end(_: object) -> None:
        if not end.done():
            end.set_result(None)

    task.add_done_callback(set_end)
    return end


def _unanswered(item: int) -> StoreOutcome:
    """Return the outcome of an item for which the core sent none."""
    return StoreOutcome(item=item, failed=ItemError(reason=ErrorReason.ERROR_REASON_INTERNAL, dicom_failure_reason=272))
