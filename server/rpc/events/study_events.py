"""StudyEventService."""

from collections.abc import AsyncIterator

from dicomstore.v1 import study_event_service_pb2 as pb
from dicomstore.v1 import study_event_service_pb2_grpc
from dicomstore.v1.resources_pb2 import Address

from server.domain.events.study_events import DEFAULT_CHECKPOINT_SECONDS, StudyEvents
from server.domain.limits import page_size
from server.model.events.study_event import StudyEvent
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class StudyEventServicer(study_event_service_pb2_grpc.StudyEventServiceServicer):
    """Implements StudyEventService with `StudyEvents`."""

    def __init__(self, events: StudyEvents) -> None:
        self._events = events

    async def ListStudyEvents(self, request: pb.ListStudyEventsRequest, context: Context) -> pb.ListStudyEventsResponse:
        """See the contract."""
        found = await self._events.list(context.call, request.after_number, page_size(request.page_size))
        return pb.ListStudyEventsResponse(events=map(_event, found))

    async def WatchStudyEvents(
        self, request: pb.WatchStudyEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchStudyEventsResponse]:
        """See the contract."""
        interval = request.checkpoint_interval
        seconds = (
            interval.seconds + interval.nanos / 1e9
            if request.HasField("checkpoint_interval")
            else DEFAULT_CHECKPOINT_SECONDS
        )
        async for events, checkpoint in self._events.watch(context.call, request.after_number, seconds):
            await context.authenticate_again()
            yield pb.WatchStudyEventsResponse(events=map(_event, events), checkpoint_number=checkpoint)


def _event(value: StudyEvent) -> pb.StudyEvent:
    return pb.StudyEvent(
        number=value.number,
        id=value.id,
        kind=pb.StudyEventKind.Name(value.kind),
        time=convert.timestamp(value.time),
        study=Address(partition=value.partition, study_instance_uid=value.study),
        last_sequence=value.last_sequence,
        instances=value.instances,
        created=value.changes.created,
        updated=value.changes.updated,
        deleted=value.changes.deleted,
        restored=value.changes.restored,
    )
