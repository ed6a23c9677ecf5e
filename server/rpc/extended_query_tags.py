"""ExtendedQueryTagService."""

from dicomstore.v1 import extended_query_tag_service_pb2 as pb
from dicomstore.v1 import extended_query_tag_service_pb2_grpc

from server.domain.query_tags import ExtendedQueryTags
from server.rpc import convert
from server.rpc.interceptors.call_context import Context
from server.rpc.operations import OperationMessages


class ExtendedQueryTagServicer(extended_query_tag_service_pb2_grpc.ExtendedQueryTagServiceServicer):
    """Implements ExtendedQueryTagService with `ExtendedQueryTags`."""

    def __init__(self, tags: ExtendedQueryTags, messages: OperationMessages) -> None:
        self._tags = tags
        self._messages = messages

    async def AddExtendedQueryTags(
        self, request: pb.AddExtendedQueryTagsRequest, context: Context
    ) -> pb.AddExtendedQueryTagsResponse:
        """See the contract."""
        operation = await self._tags.add(
            context.call, [convert.requested_tag(tag) for tag in request.tags], request.request_id
        )
        return pb.AddExtendedQueryTagsResponse(operation=self._messages.operation(operation))

    async def ListExtendedQueryTags(
        self, request: pb.ListExtendedQueryTagsRequest, context: Context
    ) -> pb.ListExtendedQueryTagsResponse:
        """See the contract."""
        page, token = await self._tags.list(
            context.call, page_size=request.page_size, page_token=request.page_token, skip=request.skip
        )
        return pb.ListExtendedQueryTagsResponse(tags=map(convert.tag, page), next_page_token=token)

    async def GetExtendedQueryTag(
        self, request: pb.GetExtendedQueryTagRequest, context: Context
    ) -> pb.GetExtendedQueryTagResponse:
        """See the contract."""
        return pb.GetExtendedQueryTagResponse(tag=convert.tag(await self._tags.get(context.call, request.path)))

    async def UpdateExtendedQueryTag(
        self, request: pb.UpdateExtendedQueryTagRequest, context: Context
    ) -> pb.UpdateExtendedQueryTagResponse:
        """See the contract."""
        tag = await self._tags.set_query_status(context.call, request.path, convert.query_status(request.query_status))
        return pb.UpdateExtendedQueryTagResponse(tag=convert.tag(tag))

    async def DeleteExtendedQueryTag(
        self, request: pb.DeleteExtendedQueryTagRequest, context: Context
    ) -> pb.DeleteExtendedQueryTagResponse:
        """See the contract."""
        await self._tags.delete(context.call, request.path)
        return pb.DeleteExtendedQueryTagResponse()

    async def ListExtendedQueryTagErrors(
        self, request: pb.ListExtendedQueryTagErrorsRequest, context: Context
    ) -> pb.ListExtendedQueryTagErrorsResponse:
        """See the contract."""
        page, token = await self._tags.errors(
            context.call, request.path, page_size=request.page_size, page_token=request.page_token, skip=request.skip
        )
        return pb.ListExtendedQueryTagErrorsResponse(errors=map(convert.tag_error, page), next_page_token=token)
