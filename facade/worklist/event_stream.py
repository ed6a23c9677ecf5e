"""Events of workitems as Server-Sent Events, without a subscription (docs/api.md, Stream of workitem events)."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import UTC

import orjson
from dicomstore.v1.workitem_event_service_pb2 import (
    WatchedWorkitemEvent,
    WatchWorkitemsRequest,
    WatchWorkitemsResponse,
    WorkitemEventType,
)
from dicomstore.v1.workitem_service_pb2 import WorkitemTerm
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core, messages
from facade.endpoints.changes.event_stream import HEARTBEAT, MEDIA_TYPE, EventStream, event
from facade.errors import CoreFailure, Refusal, answer_of
from facade.request.addresses import partition_of
from facade.request.query import (
    Parameter,
    accepted_media_ranges,
    boolean,
    first,
    integer,
    parameters_of,
    prefers_strict,
)
from facade.serving.admission import count_as_event_stream
from facade.serving.observe import call_metadata
from facade.worklist.event_reports import event_report
from facade.worklist.subscriptions import filter_of

EVENTS_REMOVED = b"event: events_removed\ndata: {}\n\n"
"""Tells the client that events after the last one that it has no longer exist."""

_ACCEPTED = (MEDIA_TYPE, "text/*", "*/*")
_OPTIONS = frozenset({"lasteventid", "includeworkitem"})
_NAMES = {value: name.removeprefix("WORKITEM_EVENT_TYPE_").lower() for name, value in WorkitemEventType.items()}


async def stream(request: Request) -> Response:
    """GET /workitems/stream: events of all workitems, or of those that match, without end."""
    media_ranges = accepted_media_ranges(request)
    if not any(media_range.name in _ACCEPTED for media_range in media_ranges):
        raise Refusal(406, f"The stream is available as {MEDIA_TYPE} only.")
    wanted = parse_watch(request)
    count_as_event_stream(request)
    settings = request.app.state.settings
    wanted.checkpoint_interval.FromMilliseconds(round(settings.event_heartbeat_seconds * 1000))
    core: Core = request.app.state.core
    received = messages(
        core.workitem_events.WatchWorkitems(wanted, metadata=call_metadata(request)),
        first_seconds=settings.call_seconds,
        idle_seconds=settings.event_heartbeat_seconds + settings.call_seconds,
    )
    try:
        # With the first message, the core has accepted the call.
        found = _events(await anext(received, WatchWorkitemsResponse()), received)
    except CoreFailure as failure:
        await received.aclose()
        if not (answer_of(failure.reason, failure.code).retry and media_ranges[0].name == MEDIA_TYPE):
            raise
        # An EventSource that gets another status than 200 never tries again (HTML standard, section 9.2.3).
        found = _nothing()
    return EventStream(found, source=received, stopping=request.app.state.stopping, idle_seconds=settings.idle_seconds)


def parse_watch(request: Request) -> WatchWorkitemsRequest:
    """Return the request for the events after the last one that the client has; the header overrides the parameter.

    Raises:
        Refusal: 400.
    """
    parameters = parameters_of(request)
    strict = prefers_strict(request)
    query = filter_of([one for one in parameters if one.key not in _OPTIONS], strict=strict)
    wanted = WatchWorkitemsRequest(
        partition=partition_of(request),
        terms=[WorkitemTerm(attribute=name, values=values) for name, values in query.terms.items()],
        fuzzy_matching=query.fuzzy,
        empty_value_matching=query.matches_empty,
        strict=strict,
        include_workitems=boolean(parameters, "includeworkitem", False),
    )
    header = request.headers.get("last-event-id")
    last = [Parameter("lastEventId", header)] if header else parameters
    if first(last, "lastEventId") is not None:
        wanted.after_position = integer(last, "lastEventId", 0, 0)
    return wanted


async def _events(
    earlier: WatchWorkitemsResponse, received: AsyncIterator[WatchWorkitemsResponse]
) -> AsyncGenerator[bytes, None]:
    if earlier.events_removed:
        yield EVENTS_REMOVED
    for chunk in _chunks(earlier):
        yield chunk
    async for message in received:
        for chunk in _chunks(message):
            yield chunk


def _chunks(message: WatchWorkitemsResponse) -> Iterator[bytes]:
    for one in message.events:
        yield event(one.event.position, _NAMES.get(one.event.type, "unknown"), _json(one))
    if not message.events:
        # An id without data causes no event, but the client continues from there if it reconnects.
        yield b"id: %d\n%b" % (message.checkpoint_position, HEARTBEAT)


def _json(watched: WatchedWorkitemEvent) -> bytes:
    """Return an event as one line of JSON, without parsing its data sets."""
    one = watched.event
    fields = {
        "position": one.position,
        "kind": _NAMES.get(one.type, "unknown"),
        "time": one.time.ToDatetime(UTC),
        "workitemUid": one.workitem_uid,
    }
    parts = [orjson.dumps(fields, option=orjson.OPT_UTC_Z)[:-1], b',"report":', event_report(one)]
    if watched.workitem_dicom_json:
        parts += [b',"workitem":', watched.workitem_dicom_json]
    return b"".join((*parts, b"}"))


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield
