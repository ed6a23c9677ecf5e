"""Events of studies, as a list and as a stream (docs/events.md)."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.study_event_service_pb2 import (
    ListStudyEventsRequest,
    ListStudyEventsResponse,
    StudyEvent,
    StudyEventKind,
    WatchStudyEventsRequest,
    WatchStudyEventsResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core, messages
from facade.endpoints.change_feed import JSON, is_partitioned
from facade.endpoints.changes.event_stream import HEARTBEAT, MEDIA_TYPE, EventStream, event
from facade.errors import CoreFailure, Refusal, answer_of
from facade.request.query import Parameter, accepted_media_ranges, first, integer, parameters_of
from facade.serving.observe import call_metadata

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_ACCEPTED = (MEDIA_TYPE, "text/*", "*/*")
_KINDS = {value: name.removeprefix("STUDY_EVENT_KIND_").lower() for name, value in StudyEventKind.items()}


async def events(request: Request) -> Response:
    """GET /studyevents: one page, oldest first."""
    parameters = parameters_of(request)
    wanted = ListStudyEventsRequest(
        after_number=integer(parameters, "after", 0, 0),
        page_size=integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
    )
    core: Core = request.app.state.core
    answer: ListStudyEventsResponse = await core.call(core.study_events.ListStudyEvents, wanted, call_metadata(request))
    partitioned = await is_partitioned(request)
    return Response(_json([_fields(one, partitioned) for one in answer.events]), 200, {"Content-Type": JSON})


async def stream(request: Request) -> Response:
    """GET /studyevents/stream: events as they are created, without end."""
    media_ranges = accepted_media_ranges(request)
    if not any(media_range.name in _ACCEPTED for media_range in media_ranges):
        raise Refusal(406, f"The stream is available as {MEDIA_TYPE} only.")
    settings = request.app.state.settings
    wanted = parse_start(parameters_of(request), request.headers.get("last-event-id"))
    wanted.checkpoint_interval.FromMilliseconds(round(settings.event_heartbeat_seconds * 1000))
    core: Core = request.app.state.core
    received = messages(
        core.study_events.WatchStudyEvents(wanted, metadata=call_metadata(request)),
        first_seconds=settings.call_seconds,
        idle_seconds=settings.event_heartbeat_seconds + settings.call_seconds,
    )
    try:
        # With the first message, the core has accepted the call.
        message = await anext(received, WatchStudyEventsResponse())
        found = _events(message, received, await is_partitioned(request))
    except CoreFailure as failure:
        await received.aclose()
        if not (answer_of(failure.reason, failure.code).retry and media_ranges[0].name == MEDIA_TYPE):
            raise
        # An EventSource that gets another status than 200 never tries again (HTML standard, section 9.2.3).
        found = _nothing()
    return EventStream(found, source=received, stopping=request.app.state.stopping, idle_seconds=settings.idle_seconds)


def parse_start(parameters: Sequence[Parameter], last_event_id: str | None) -> WatchStudyEventsRequest:
    """Return the request for the events after the last one that the client has; the header overrides the parameter.

    Raises:
        Refusal: 400.
    """
    last = [Parameter("lastEventId", last_event_id)] if last_event_id else parameters
    name = "lastEventId" if first(last, "lastEventId") is not None else "after"
    return WatchStudyEventsRequest(after_number=integer(last, name, 0, 0))


async def _events(
    earlier: WatchStudyEventsResponse, received: AsyncIterator[WatchStudyEventsResponse], partitioned: bool
) -> AsyncGenerator[bytes, None]:
    for chunk in _chunks(earlier, partitioned):
        yield chunk
    async for message in received:
        for chunk in _chunks(message, partitioned):
            yield chunk


def _chunks(message: WatchStudyEventsResponse, partitioned: bool) -> Iterator[bytes]:
    for one in message.events:
        yield event(one.number, _kind(one), _json(_fields(one, partitioned)))
    if not message.events:
        yield HEARTBEAT


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield


def _kind(value: StudyEvent) -> str:
    return _KINDS.get(value.kind, "unknown")


def _fields(value: StudyEvent, partitioned: bool) -> dict[str, Any]:
    fields = {
        "number": value.number,
        "id": value.id,
        "kind": _kind(value),
        "time": value.time.ToDatetime(UTC),
        "partitionName": value.study.partition,
        "studyInstanceUid": value.study.study_instance_uid,
        "sequence": value.last_sequence,
        "instances": value.instances,
        "created": value.created,
        "updated": value.updated,
        "deleted": value.deleted,
        "restored": value.restored,
    }
    if not partitioned:
        del fields["partitionName"]
    return fields


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)
