"""DeleteService."""

from dicomstore.v1 import delete_service_pb2 as pb
from dicomstore.v1 import delete_service_pb2_grpc

from server.domain.delete import Delete
from server.rpc.interceptors.call_context import Context


class DeleteServicer(delete_service_pb2_grpc.DeleteServiceServicer):
    """Speaks DeleteService for `Delete`."""

    def __init__(self, delete: Delete) -> None:
        self._delete = delete

    async def DeleteInstances(self, request: pb.DeleteInstancesRequest, context: Context) -> pb.DeleteInstancesResponse:
        """See the contract."""
        resource = request.resource
        deleted = await self._delete.delete(
            partition=resource.partition,
            study=resource.study_instance_uid,
            series=resource.series_instance_uid,
            instance=resource.sop_instance_uid,
        )
        return pb.DeleteInstancesResponse(deleted_instances=deleted)
