"""The event channel of a subscriber: a WebSocket with event reports (PS3.18 sections 8.10.4, 8.10.5 and 11.13)."""

from collections.abc import AsyncGenerator, AsyncIterator

from dicomstore.v1.workitem_event_service_pb2 import (
    AcknowledgeWorkitemEventsRequest,
    ReceiveWorkitemEventsRequest,
    ReceiveWorkitemEventsResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core, messages
from facade.request.addresses import partition_of
from facade.serving.admission import count_as_event_stream
from facade.serving.observe import call_metadata
from facade.serving.websocket import Batch, WebSocketResponse, accept_headers
from facade.worklist.event_reports import event_report


async def channel(request: Request) -> Response:
    """GET /subscribers/{aetitle}: open the event channel of a subscriber."""
    headers = accept_headers(request)
    count_as_event_stream(request)
    settings = request.app.state.settings
    wanted = ReceiveWorkitemEventsRequest(partition=partition_of(request), ae_title=request.path_params["aetitle"])
    wanted.checkpoint_interval.FromMilliseconds(round(settings.event_heartbeat_seconds * 1000))
    core: Core = request.app.state.core
    metadata = call_metadata(request)
    received = messages(
        core.workitem_events.ReceiveWorkitemEvents(wanted, metadata=metadata),
        first_seconds=settings.call_seconds,
        idle_seconds=settings.event_heartbeat_seconds + settings.call_seconds,
    )

    async def acknowledge(checkpoint: str) -> None:
        acknowledged = AcknowledgeWorkitemEventsRequest(
            partition=wanted.partition, ae_title=wanted.ae_title, checkpoint=checkpoint
        )
        await core.call(core.workitem_events.AcknowledgeWorkitemEvents, acknowledged, metadata)

    try:
        # With the first message, the core has accepted the call.
        earlier = await anext(received, ReceiveWorkitemEventsResponse())
    except BaseException:
        await received.aclose()
        raise
    return WebSocketResponse(
        headers,
        _batches(earlier, received),
        source=received,
        acknowledge=acknowledge,
        stopping=request.app.state.stopping,
        idle_seconds=settings.idle_seconds,
    )


async def _batches(
    earlier: ReceiveWorkitemEventsResponse, received: AsyncIterator[ReceiveWorkitemEventsResponse]
) -> AsyncGenerator[Batch, None]:
    yield _batch(earlier)
    async for message in received:
        yield _batch(message)


def _batch(message: ReceiveWorkitemEventsResponse) -> Batch:
    return Batch([event_report(one) for one in message.events], message.checkpoint)
