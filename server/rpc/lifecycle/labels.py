"""LabelService."""

from dicomstore.v1 import label_service_pb2 as pb
from dicomstore.v1 import label_service_pb2_grpc

from server.domain.lifecycle.labels import LabelService
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class LabelServicer(label_service_pb2_grpc.LabelServiceServicer):
    """Implements LabelService with `server.domain.lifecycle.labels.LabelService`."""

    def __init__(self, labels: LabelService) -> None:
        self._labels = labels

    async def GetLabels(self, request: pb.GetLabelsRequest, context: Context) -> pb.GetLabelsResponse:
        """See the contract."""
        return pb.GetLabelsResponse(labels=await self._labels.get(context.call, convert.address(request.resource)))

    async def ChangeLabels(self, request: pb.ChangeLabelsRequest, context: Context) -> pb.ChangeLabelsResponse:
        """See the contract."""
        labels = await self._labels.change(
            context.call,
            convert.address(request.resource),
            dict(request.labels),
            request.removed_names,
            replace=request.replace,
        )
        return pb.ChangeLabelsResponse(labels=labels)
