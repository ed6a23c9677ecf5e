"""WorkitemEventService."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from dicomstore.v1 import workitem_event_service_pb2 as pb
from dicomstore.v1 import workitem_event_service_pb2_grpc
from dicomstore.v1.workitem_service_pb2 import WorkitemTerm

from server.domain.limits import page_size
from server.domain.search.request import Term
from server.domain.worklist.event_streams import DEFAULT_CHECKPOINT_SECONDS, EventStreams
from server.domain.worklist.filters import WorkitemFilter, terms_of
from server.domain.worklist.subscriptions import Subscriptions
from server.model.ids import PartitionName, parse_address, parse_uid
from server.model.worklist.event import LoggedEvent
from server.model.worklist.subscription import Subscriber
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class WorkitemEventServicer(workitem_event_service_pb2_grpc.WorkitemEventServiceServicer):
    """Implements WorkitemEventService with `Subscriptions` and `EventStreams`."""

    def __init__(self, subscriptions: Subscriptions, streams: EventStreams) -> None:
        self._subscriptions = subscriptions
        self._streams = streams

    async def SubscribeToWorkitems(
        self, request: pb.SubscribeToWorkitemsRequest, context: Context
    ) -> pb.SubscribeToWorkitemsResponse:
        """See the contract."""
        ignored = await self._subscriptions.subscribe(
            context.call,
            _partition(request.partition),
            parse_uid(request.workitem_uid, "workitem_uid"),
            request.ae_title,
            has_lock=request.deletion_lock,
            filter_=_filter(request),
        )
        return pb.SubscribeToWorkitemsResponse(ignored_attributes=ignored)

    async def UnsubscribeFromWorkitems(
        self, request: pb.UnsubscribeFromWorkitemsRequest, context: Context
    ) -> pb.UnsubscribeFromWorkitemsResponse:
        """See the contract."""
        uid = parse_uid(request.workitem_uid, "workitem_uid")
        partition = _partition(request.partition)
        changed = await self._subscriptions.unsubscribe(context.call, partition, uid, request.ae_title)
        return pb.UnsubscribeFromWorkitemsResponse(unchanged=not changed)

    async def SuspendWorklistSubscription(
        self, request: pb.SuspendWorklistSubscriptionRequest, context: Context
    ) -> pb.SuspendWorklistSubscriptionResponse:
        """See the contract."""
        partition = _partition(request.partition)
        changed = await self._subscriptions.suspend(context.call, partition, request.ae_title)
        return pb.SuspendWorklistSubscriptionResponse(unchanged=not changed)

    async def ListWorkitemSubscribers(
        self, request: pb.ListWorkitemSubscribersRequest, context: Context
    ) -> pb.ListWorkitemSubscribersResponse:
        """See the contract."""
        found = await self._subscriptions.list(
            context.call, _partition(request.partition), request.after_ae_title, page_size(request.page_size)
        )
        return pb.ListWorkitemSubscribersResponse(subscribers=map(_subscriber, found))

    async def ReceiveWorkitemEvents(
        self, request: pb.ReceiveWorkitemEventsRequest, context: Context
    ) -> AsyncIterator[pb.ReceiveWorkitemEventsResponse]:
        """See the contract."""
        async for received in self._streams.receive(
            context.call, _partition(request.partition), request.ae_title, _interval(request)
        ):
            await context.authenticate_again()
            yield pb.ReceiveWorkitemEventsResponse(
                events=map(_event, received.events), checkpoint=received.checkpoint.text
            )

    async def AcknowledgeWorkitemEvents(
        self, request: pb.AcknowledgeWorkitemEventsRequest, context: Context
    ) -> pb.AcknowledgeWorkitemEventsResponse:
        """See the contract."""
        partition = _partition(request.partition)
        await self._streams.acknowledge(context.call, partition, request.ae_title, request.checkpoint)
        return pb.AcknowledgeWorkitemEventsResponse()

    async def WatchWorkitems(
        self, request: pb.WatchWorkitemsRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkitemsResponse]:
        """See the contract."""
        after = request.after_position if request.HasField("after_position") else None
        async for watched in self._streams.watch(
            context.call, _partition(request.partition), _filter(request), after, _interval(request)
        ):
            await context.authenticate_again()
            yield pb.WatchWorkitemsResponse(
                events=_watched(watched.events, with_workitems=request.include_workitems),
                checkpoint_position=watched.position,
                events_removed=watched.events_removed,
                ignored_attributes=watched.ignored_attributes,
            )


def _partition(name: str) -> PartitionName:
    return parse_address(name).partition


def _filter(request: pb.SubscribeToWorkitemsRequest | pb.WatchWorkitemsRequest) -> WorkitemFilter:
    return WorkitemFilter(
        tuple(Term(term.attribute, tuple(term.values)) for term in request.terms),
        request.fuzzy_matching,
        request.empty_value_matching,
        request.strict,
    )


def _interval(request: Any) -> float:
    if not request.HasField("checkpoint_interval"):
        return DEFAULT_CHECKPOINT_SECONDS
    seconds: float = request.checkpoint_interval.seconds + request.checkpoint_interval.nanos / 1e9
    return seconds


def _event(event: LoggedEvent) -> pb.WorkitemEvent:
    return pb.WorkitemEvent(
        position=event.position,
        workitem_uid=event.workitem,
        type=pb.WorkitemEventType.Name(event.type),
        time=convert.timestamp(event.time),
        dicom_json=event.information.encode(),
    )


def _watched(events: Sequence[LoggedEvent], *, with_workitems: bool) -> list[pb.WatchedWorkitemEvent]:
    return [
        pb.WatchedWorkitemEvent(
            event=_event(event), workitem_dicom_json=(event.data_set or "").encode() if with_workitems else b""
        )
        for event in events
    ]


def _subscriber(value: Subscriber) -> pb.WorkitemSubscriber:
    worklist = None
    if value.worklist is not None:
        terms = terms_of(value.worklist.filter)
        worklist = pb.WorklistSubscription(
            deletion_lock=value.worklist.has_lock,
            terms=[WorkitemTerm(attribute=term.attribute, values=term.values) for term in terms],
        )
    return pb.WorkitemSubscriber(
        ae_title=value.ae_title,
        worklist=worklist,
        has_earlier_worklist=value.has_earlier_worklist,
        workitems=value.workitems,
        locked_workitems=value.locked_workitems,
        pending_events=value.pending_events,
        update_time=convert.timestamp(value.updated),
    )
