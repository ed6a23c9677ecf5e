"""RetrieveService."""

from collections.abc import AsyncGenerator, AsyncIterator

from dicomstore.v1 import retrieve_service_pb2 as pb
from dicomstore.v1 import retrieve_service_pb2_grpc

from server.domain.flow.response_budget import ResponseBudget
from server.domain.labelled import Additions
from server.domain.render.rendered import RetrieveRendered
from server.domain.retrieve.all_bulk_data import OpenBulkItem, RetrieveAllBulkData
from server.domain.retrieve.bulk_data import RetrieveBulkData
from server.domain.retrieve.frames import OpenFrame, RetrieveFrames
from server.domain.retrieve.instances import OpenInstance, RetrieveInstances
from server.domain.retrieve.metadata import OpenMetadata, RetrieveMetadata
from server.rpc import convert
from server.rpc.interceptors.call_context import Context
from server.rpc.pieces import Piece, Pieces, in_pieces
from server.rpc.rendered import rendered_head, rendered_request


class RetrieveServicer(retrieve_service_pb2_grpc.RetrieveServiceServicer):
    """Implements RetrieveService."""

    def __init__(
        self,
        *,
        instances: RetrieveInstances,
        frames: RetrieveFrames,
        bulk_data: RetrieveBulkData,
        all_bulk_data: RetrieveAllBulkData,
        metadata: RetrieveMetadata,
        rendered: RetrieveRendered,
        budget: ResponseBudget,
    ) -> None:
        self._instances = instances
        self._frames = frames
        self._bulk_data = bulk_data
        self._all_bulk_data = all_bulk_data
        self._metadata = metadata
        self._rendered = rendered
        self._budget = budget

    def RetrieveInstances(self, request: pb.RetrieveInstancesRequest, context: Context) -> AsyncGenerator[Pieces]:
        """See the contract."""
        opened = self._instances.open(
            context.call,
            convert.address(request.resource),
            acceptable=convert.acceptable(request),
            offset=0 if request.head_only else request.range.offset_bytes,
            length=None if request.head_only else request.range.length_bytes or None,
            version=convert.version(request.version),
        )
        return in_pieces(opened, _instance_head, self._budget, context.call.audit, head_only=request.head_only)

    def RetrieveFrames(self, request: pb.RetrieveFramesRequest, context: Context) -> AsyncGenerator[Pieces]:
        """See the contract."""
        opened = self._frames.open(
            context.call,
            convert.address(request.instance),
            request.frames,
            acceptable=convert.acceptable(request),
            offset=0 if request.head_only else request.range.offset_bytes,
            length=None if request.head_only else request.range.length_bytes or None,
            head_only=request.head_only,
            version=convert.version(request.version),
        )
        return in_pieces(opened, _frame_head, self._budget, context.call.audit, head_only=request.head_only)

    async def RetrieveBulkData(self, request: pb.RetrieveBulkDataRequest, context: Context) -> AsyncIterator[Piece]:
        """See the contract."""
        opened = await self._bulk_data.open(
            context.call,
            convert.address(request.instance),
            path=request.path,
            offset=request.range.offset_bytes,
            length=request.range.length_bytes or None,
            version=convert.version(request.version),
        )
        head = pb.BulkDataHead(
            vr=opened.vr,
            size_bytes=opened.size_bytes,
            transfer_syntax_uid=opened.transfer_syntax_uid,
            version=opened.stored.version,
            media_type=opened.media_type,
        )
        if opened.length is not None and opened.length != opened.size_bytes:
            head.range.offset_bytes = opened.offset
            head.range.length_bytes = opened.length
        piece = Piece(head)
        with self._budget.responding():
            context.call.audit.items += 1
            async for chunk in opened.chunks:
                context.call.audit.size_bytes += len(chunk)
                piece.data = chunk
                yield piece
                piece = Piece()
            if piece.head is not None:
                yield piece

    def RetrieveAllBulkData(self, request: pb.RetrieveAllBulkDataRequest, context: Context) -> AsyncGenerator[Pieces]:
        """See the contract."""
        opened = self._all_bulk_data.open(
            context.call,
            convert.address(request.resource),
            pixels_only=request.pixel_data_only,
            acceptable=convert.acceptable(request),
            version=convert.version(request.version),
        )
        return in_pieces(opened, _bulk_data_head, self._budget, context.call.audit)

    async def RetrieveMetadata(
        self, request: pb.RetrieveMetadataRequest, context: Context
    ) -> AsyncIterator[pb.RetrieveMetadataResponse]:
        """See the contract."""
        opened = await self._metadata.open(
            context.call,
            convert.address(request.resource),
            known=convert.known_state(request),
            include_fields=request.include_fields,
            exclude_fields=request.exclude_fields,
            limit=request.limit,
            offset=request.offset,
            version=convert.version(request.version),
            additions=Additions(request.include_labels, request.external_metadata),
        )
        with self._budget.responding():
            async for message in self._metadata_messages(opened):
                context.call.audit.items += len(message.items)
                yield message

    def RetrieveRendered(self, request: pb.RetrieveRenderedRequest, context: Context) -> AsyncGenerator[Pieces]:
        """See the contract."""
        opened = self._rendered.open(context.call, convert.address(request.resource), rendered_request(request))
        return in_pieces(opened, rendered_head, self._budget, context.call.audit, one_by_one=True)

    async def _metadata_messages(self, opened: OpenMetadata) -> AsyncIterator[pb.RetrieveMetadataResponse]:
        message = pb.RetrieveMetadataResponse(state=convert.state(opened.state))
        size = 0
        async for page in opened.pages:
            for item in page:
                if size and size + len(item.dicom_json) > self._budget.piece_bytes():
                    yield message
                    message, size = pb.RetrieveMetadataResponse(), 0
                convert.add_metadata_item(message, item)
                size += len(item.dicom_json)
            if message.HasField("state"):  # the first page is sent immediately
                yield message
                message, size = pb.RetrieveMetadataResponse(), 0
        if size or message.HasField("state"):
            yield message


def _instance_head(item: OpenInstance) -> pb.InstanceHead:
    stored = item.stored
    return pb.InstanceHead(
        id=convert.instance_id(stored.id),
        sop_class_uid=stored.sop_class_uid,
        version=stored.version,
        transfer_syntax_uid=item.transfer_syntax_uid,
        size_bytes=item.size_bytes,
    )


def _frame_head(item: OpenFrame) -> pb.FrameHead:
    return pb.FrameHead(
        frame=item.number,
        transfer_syntax_uid=item.transfer_syntax_uid,
        size_bytes=item.size_bytes,
        version=item.stored.version,
    )


def _bulk_data_head(item: OpenBulkItem) -> pb.BulkDataItemHead:
    return pb.BulkDataItemHead(
        id=convert.instance_id(item.stored.id),
        path=item.path,
        frame=item.frame,
        vr=item.vr,
        transfer_syntax_uid=item.transfer_syntax_uid,
        size_bytes=item.size_bytes,
        version=item.stored.version,
    )
