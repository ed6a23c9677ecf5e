"""DeleteService."""

from dicomstore.v1 import delete_service_pb2 as pb
from dicomstore.v1 import delete_service_pb2_grpc

from server.domain.lifecycle.delete import Delete
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class DeleteServicer(delete_service_pb2_grpc.DeleteServiceServicer):
    """Implements DeleteService with `Delete`."""

    def __init__(self, delete: Delete) -> None:
        self._delete = delete

    async def DeleteInstances(self, request: pb.DeleteInstancesRequest, context: Context) -> pb.DeleteInstancesResponse:
        """See the contract."""
        resource = convert.address(request.resource)
        if request.erase_now:
            deleted, erased = await self._delete.erase(context.call, resource, reason=request.reason)
            return pb.DeleteInstancesResponse(deleted_instances=deleted, erased_instances=erased)
        deleted = await self._delete.delete(context.call, resource, reason=request.reason)
        return pb.DeleteInstancesResponse(deleted_instances=deleted)
