"""The change feed as Server-Sent Events (docs/api.md, Stream of changes)."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

from dicomstore.v1.change_feed_service_pb2 import WatchChangesRequest, WatchChangesResponse
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core, messages
from facade.endpoints.change_feed import action_of, entry_json, is_partitioned
from facade.endpoints.changes.event_stream import HEARTBEAT, MEDIA_TYPE, EventStream, event
from facade.errors import CoreFailure, Refusal, answer_of
from facade.request.query import Parameter, accepted_media_ranges, boolean, first, integer, parameters_of
from facade.serving.observe import call_metadata

_ACCEPTED = (MEDIA_TYPE, "text/*", "*/*")


async def stream(request: Request) -> Response:
    """GET /changefeed/stream: entries as they are committed, each as one event, without end."""
    media_ranges = accepted_media_ranges(request)
    if not any(media_range.name in _ACCEPTED for media_range in media_ranges):
        raise Refusal(406, f"The stream is available as {MEDIA_TYPE} only.")
    settings = request.app.state.settings
    wanted = parse_start(parameters_of(request), request.headers.get("last-event-id"))
    wanted.checkpoint_interval.FromMilliseconds(round(settings.event_heartbeat_seconds * 1000))
    core: Core = request.app.state.core
    received = messages(
        core.changes.WatchChanges(wanted, metadata=call_metadata(request)),
        first_seconds=settings.call_seconds,
        idle_seconds=settings.event_heartbeat_seconds + settings.call_seconds,
    )
    try:
        # With the first message, the core has accepted the call.
        message = await anext(received, WatchChangesResponse())
        events = _events(request, message, received, await is_partitioned(request))
    except CoreFailure as failure:
        await received.aclose()
        if not (answer_of(failure.reason, failure.code).retry and media_ranges[0].name == MEDIA_TYPE):
            raise
        # An EventSource that gets another status than 200 never tries again (HTML standard, section 9.2.3).
        events = _nothing()
    return EventStream(events, source=received, stopping=request.app.state.stopping, idle_seconds=settings.idle_seconds)


def parse_start(parameters: Sequence[Parameter], last_event_id: str | None) -> WatchChangesRequest:
    """Return the request for the entries after the last event that the client has.

    The header overrides the parameters, because an EventSource reconnects with the URL of its first request.

    Raises:
        Refusal: 400.
    """
    last = [Parameter("lastEventId", last_event_id)] if last_event_id else parameters
    is_resumed = first(last, "lastEventId") is not None
    return WatchChangesRequest(
        after_sequence=integer(last, "lastEventId", 0, 0),
        consumer="" if is_resumed else first(parameters, "consumer") or "",
        include_metadata=boolean(parameters, "includeMetadata", True),
    )


async def _events(
    request: Request,
    earlier: WatchChangesResponse,
    received: AsyncIterator[WatchChangesResponse],
    partitioned: bool,
) -> AsyncGenerator[bytes, None]:
    for chunk in _chunks(request, earlier, partitioned):
        yield chunk
    async for message in received:
        for chunk in _chunks(request, message, partitioned):
            yield chunk


def _chunks(request: Request, message: WatchChangesResponse, partitioned: bool) -> Iterator[bytes]:
    for entry in message.entries:
        yield event(entry.sequence, action_of(entry), entry_json(request, entry, partitioned))
    if not message.entries:
        yield HEARTBEAT


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield
