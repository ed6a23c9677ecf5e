"""RetrieveService: packs pieces into messages. Small items share a message, large ones take several."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from dicomstore.v1 import retrieve_service_pb2 as pb
from dicomstore.v1 import retrieve_service_pb2_grpc

from server.domain.flow.response_budget import Pace
from server.domain.render.rendered import RetrieveRendered
from server.domain.retrieve.all_bulk_data import BulkItem, FailedBulkItem, RetrieveAllBulkData
from server.domain.retrieve.bulk_data import RetrieveBulkData
from server.domain.retrieve.frames import FailedFrame, OpenFrame, RetrieveFrames
from server.domain.retrieve.instances import FailedInstance, OpenInstance, RetrieveInstances
from server.domain.retrieve.metadata import OpenMetadata, RetrieveMetadata
from server.domain.retrieve.omission import Omission
from server.model.errors import DicomStoreError
from server.rpc import convert
from server.rpc.interceptors.call_context import Context
from server.rpc.rendered import omission_message, rendered_messages, rendered_request

_PIECE_BYTES = 200  # about what a piece needs besides its data

_Fields = dict[str, Any]


class RetrieveServicer(retrieve_service_pb2_grpc.RetrieveServiceServicer):
    """Speaks RetrieveService."""

    def __init__(
        self,
        *,
        instances: RetrieveInstances,
        frames: RetrieveFrames,
        bulk_data: RetrieveBulkData,
        all_bulk_data: RetrieveAllBulkData,
        metadata: RetrieveMetadata,
        rendered: RetrieveRendered,
        pace: Pace,
    ) -> None:
        self._instances = instances
        self._frames = frames
        self._bulk_data = bulk_data
        self._all_bulk_data = all_bulk_data
        self._metadata = metadata
        self._rendered = rendered
        self._pace = pace

    async def RetrieveInstances(
        self, request: pb.RetrieveInstancesRequest, context: Context
    ) -> AsyncIterator[pb.RetrieveInstancesResponse]:
        """See the contract."""
        resource = request.resource
        opened = self._instances.open(
            partition=resource.partition,
            study=resource.study_instance_uid,
            series=resource.series_instance_uid,
            instance=resource.sop_instance_uid,
            acceptable=request.acceptable_transfer_syntax_uids,
            qualities=request.acceptable_qualities,
            offset=request.range.offset_bytes,
            length=request.range.length_bytes or None,
        )
        with self._pace.answering():
            async with aclosing(opened):
                async for message in self._packed(opened, _instance_pieces, pb.RetrieveInstancesResponse):
                    yield message

    async def RetrieveFrames(
        self, request: pb.RetrieveFramesRequest, context: Context
    ) -> AsyncIterator[pb.RetrieveFramesResponse]:
        """See the contract."""
        instance = request.instance
        opened = self._frames.open(
            partition=instance.partition,
            study=instance.study_instance_uid,
            series=instance.series_instance_uid,
            instance=instance.sop_instance_uid,
            frames=request.frames,
            acceptable=request.acceptable_transfer_syntax_uids,
            qualities=request.acceptable_qualities,
            offset=request.range.offset_bytes,
            length=request.range.length_bytes or None,
        )
        with self._pace.answering():
            async with aclosing(opened):
                async for message in self._packed(opened, _frame_pieces, pb.RetrieveFramesResponse):
                    yield message

    async def RetrieveBulkData(
        self, request: pb.RetrieveBulkDataRequest, context: Context
    ) -> AsyncIterator[pb.RetrieveBulkDataResponse]:
        """See the contract."""
        instance = request.instance
        opened = await self._bulk_data.open(
            partition=instance.partition,
            study=instance.study_instance_uid,
            series=instance.series_instance_uid,
            instance=instance.sop_instance_uid,
            path=request.path,
            offset=request.range.offset_bytes,
            length=request.range.length_bytes or None,
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
        message = pb.RetrieveBulkDataResponse(head=head)
        with self._pace.answering():
            async for chunk in opened.chunks:
                message.data = chunk
                yield message
                message = pb.RetrieveBulkDataResponse()
            if message.HasField("head"):
                yield message

    async def RetrieveAllBulkData(
        self, request: pb.RetrieveAllBulkDataRequest, context: Context
    ) -> AsyncIterator[pb.RetrieveAllBulkDataResponse]:
        """See the contract."""
        resource = request.resource
        opened = self._all_bulk_data.open(
            partition=resource.partition,
            study=resource.study_instance_uid,
            series=resource.series_instance_uid,
            instance=resource.sop_instance_uid,
            pixels_only=request.pixel_data_only,
            acceptable=request.acceptable_transfer_syntax_uids,
            qualities=request.acceptable_qualities,
        )
        with self._pace.answering():
            async with aclosing(opened):
                async for message in self._packed(opened, _bulk_pieces, pb.RetrieveAllBulkDataResponse):
                    yield message

    async def RetrieveMetadata(
        self, request: pb.RetrieveMetadataRequest, context: Context
    ) -> AsyncIterator[pb.RetrieveMetadataResponse]:
        """See the contract."""
        resource = request.resource
        opened = await self._metadata.open(
            partition=resource.partition,
            study=resource.study_instance_uid,
            series=resource.series_instance_uid,
            instance=resource.sop_instance_uid,
            known=convert.known_state(request),
            include_fields=request.include_fields,
            exclude_fields=request.exclude_fields,
            limit=request.limit,
            offset=request.offset,
        )
        with self._pace.answering():
            async for message in self._metadata_messages(opened):
                yield message

    async def RetrieveRendered(
        self, request: pb.RetrieveRenderedRequest, context: Context
    ) -> AsyncIterator[pb.RetrieveRenderedResponse]:
        """See the contract."""
        opened = self._rendered.open(rendered_request(request))
        with self._pace.answering():
            async for message in rendered_messages(opened):
                yield message

    async def _metadata_messages(self, opened: OpenMetadata) -> AsyncIterator[pb.RetrieveMetadataResponse]:
        message = pb.RetrieveMetadataResponse(state=convert.state(opened.state))
        size = 0
        async for page in opened.pages:
            for item in page:
                if size and size + len(item.dicom_json) > self._pace.piece_bytes():
                    yield message
                    message, size = pb.RetrieveMetadataResponse(), 0
                convert.add_metadata_item(message, item)
                size += len(item.dicom_json)
            if message.HasField("state"):  # the first page does not wait for others
                yield message
                message, size = pb.RetrieveMetadataResponse(), 0
        if size or message.HasField("state"):
            yield message

    async def _packed(
        self,
        items: AsyncIterator[Any],
        pieces_of: Callable[[Any], AsyncIterator[_Fields]],
        new_message: Callable[[], Any],
    ) -> AsyncIterator[Any]:
        """Yield messages with the pieces of all items, as many in one as fit."""
        message, size = new_message(), 0
        async for item in items:
            if isinstance(item, Omission):  # it comes first
                message.omission.CopyFrom(omission_message(item))
                continue
            async for fields in pieces_of(item):
                data = fields.get("data", b"")
                if size and size + len(data) > self._pace.piece_bytes():
                    yield message
                    message, size = new_message(), 0
                message.pieces.add(**fields)
                size += len(data) + _PIECE_BYTES
        if size:
            yield message


async def _instance_pieces(item: OpenInstance | FailedInstance) -> AsyncIterator[_Fields]:
    """Yield the fields of an instance's pieces; one with `head` first, one with `last` or `failed` at the end.

    Fields instead of messages: bytes are copied whenever a message is put into another.
    """
    if isinstance(item, FailedInstance):
        yield {"failed": convert.retrieval_error(item.stored, item.error)}
        return
    stored = item.stored
    fields: _Fields = {
        "head": pb.InstanceHead(
            id=convert.instance_id(stored.id),
            sop_class_uid=stored.sop_class_uid,
            version=stored.version,
            transfer_syntax_uid=item.transfer_syntax_uid,
            size_bytes=item.size_bytes,
        )
    }
    try:
        async for chunk in item.chunks:
            if "data" in fields:
                yield fields
                fields = {}
            fields["data"] = chunk
    except DicomStoreError as error:
        fields.pop("data", None)
        fields["failed"] = convert.retrieval_error(stored, error)
    else:
        fields["last"] = True
    yield fields


async def _frame_pieces(frame: OpenFrame | FailedFrame) -> AsyncIterator[_Fields]:
    """Yield the fields of a frame's pieces; one with `head` first, one with `last` or `failed` at the end."""
    if isinstance(frame, FailedFrame):
        yield {"failed": convert.retrieval_error(frame.stored, frame.error)}
        return
    fields: _Fields = {
        "head": pb.FrameHead(
            frame=frame.number,
            transfer_syntax_uid=frame.transfer_syntax_uid,
            size_bytes=frame.size_bytes,
            version=frame.stored.version,
        )
    }
    try:
        async for chunk in frame.chunks:
            if "data" in fields:
                yield fields
                fields = {}
            fields["data"] = chunk
    except DicomStoreError as error:
        fields.pop("data", None)
        fields["failed"] = convert.retrieval_error(frame.stored, error)
    else:
        fields["last"] = True
    yield fields


async def _bulk_pieces(item: BulkItem) -> AsyncIterator[_Fields]:
    """Yield the fields of a value's pieces; one with `head` first, one with `last` or `failed` at the end."""
    if isinstance(item, FailedBulkItem):
        yield {"failed": convert.retrieval_error(item.stored, item.error)}
        return
    fields: _Fields = {
        "head": pb.BulkDataItemHead(
            id=convert.instance_id(item.stored.id),
            path=item.path,
            frame=item.frame,
            vr=item.vr,
            transfer_syntax_uid=item.transfer_syntax_uid,
            size_bytes=item.size_bytes,
            version=item.stored.version,
        )
    }
    try:
        async for chunk in item.chunks:
            if "data" in fields:
                yield fields
                fields = {}
            fields["data"] = chunk
    except DicomStoreError as error:
        fields.pop("data", None)
        fields["failed"] = convert.retrieval_error(item.stored, error)
    else:
        fields["last"] = True
    yield fields
