"""ChangeFeedService."""

from collections.abc import AsyncIterator

from dicomstore.v1 import change_feed_service_pb2 as pb
from dicomstore.v1 import change_feed_service_pb2_grpc

from server.domain.change_feed import DEFAULT_CHECKPOINT_SECONDS, ChangeFeed
from server.domain.consumers import Consumers
from server.domain.limits import page_size
from server.model.change import ChangeWindow, Consumer
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class ChangeFeedServicer(change_feed_service_pb2_grpc.ChangeFeedServiceServicer):
    """Implements ChangeFeedService with `ChangeFeed` and `Consumers`."""

    def __init__(self, feed: ChangeFeed, consumers: Consumers) -> None:
        self._feed = feed
        self._consumers = consumers

    async def ListChanges(self, request: pb.ListChangesRequest, context: Context) -> pb.ListChangesResponse:
        """See the contract."""
        entries = await self._feed.list(
            context.call,
            ChangeWindow(
                limit=page_size(request.page_size),
                after_sequence=request.after_sequence,
                through_sequence=request.through_sequence if request.HasField("through_sequence") else None,
                start=convert.moment(request.start_time, "start_time") if request.HasField("start_time") else None,
                end=convert.moment(request.end_time, "end_time") if request.HasField("end_time") else None,
                skip=request.skip,
                metadata=request.include_metadata,
            ),
        )
        return pb.ListChangesResponse(entries=map(convert.change_entry, entries))

    async def GetLatestChange(self, request: pb.GetLatestChangeRequest, context: Context) -> pb.GetLatestChangeResponse:
        """See the contract."""
        entry = await self._feed.latest(context.call, request.include_metadata)
        return pb.GetLatestChangeResponse(entry=convert.change_entry(entry))

    async def WatchChanges(
        self, request: pb.WatchChangesRequest, context: Context
    ) -> AsyncIterator[pb.WatchChangesResponse]:
        """See the contract."""
        interval = request.checkpoint_interval
        seconds = (
            interval.seconds + interval.nanos / 1e9
            if request.HasField("checkpoint_interval")
            else DEFAULT_CHECKPOINT_SECONDS
        )
        async for entries, checkpoint in self._feed.watch(
            context.call,
            request.after_sequence,
            metadata=request.include_metadata,
            checkpoint_seconds=seconds,
            consumer=request.consumer,
        ):
            await context.authenticate_again()
            yield pb.WatchChangesResponse(entries=map(convert.change_entry, entries), checkpoint_sequence=checkpoint)

    async def GetConsumer(self, request: pb.GetConsumerRequest, context: Context) -> pb.GetConsumerResponse:
        """See the contract."""
        return pb.GetConsumerResponse(consumer=_consumer(await self._consumers.get(context.call, request.name)))

    async def ListConsumers(self, request: pb.ListConsumersRequest, context: Context) -> pb.ListConsumersResponse:
        """See the contract."""
        found = await self._consumers.list(context.call, request.after_name, page_size(request.page_size))
        return pb.ListConsumersResponse(consumers=map(_consumer, found))

    async def SetConsumerPosition(
        self, request: pb.SetConsumerPositionRequest, context: Context
    ) -> pb.SetConsumerPositionResponse:
        """See the contract."""
        expected = request.expected_sequence if request.HasField("expected_sequence") else None
        consumer = await self._consumers.set_position(context.call, request.name, request.sequence, expected)
        return pb.SetConsumerPositionResponse(consumer=_consumer(consumer))

    async def DeleteConsumer(self, request: pb.DeleteConsumerRequest, context: Context) -> pb.DeleteConsumerResponse:
        """See the contract."""
        await self._consumers.delete(context.call, request.name)
        return pb.DeleteConsumerResponse()


def _consumer(value: Consumer) -> pb.Consumer:
    return pb.Consumer(
        name=value.name, owner=value.owner, sequence=value.sequence, update_time=convert.timestamp(value.time)
    )
