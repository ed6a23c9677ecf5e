"""OperationService."""

from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import operation_service_pb2_grpc

from server.domain.operations import Operations
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class OperationServicer(operation_service_pb2_grpc.OperationServiceServicer):
    """Speaks OperationService for `Operations`."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.GetOperationResponse:
        """See the contract."""
        return pb.GetOperationResponse(operation=convert.operation(await self._operations.get(request.id)))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        """See the contract."""
        page, token = await self._operations.list(page_size=request.page_size, token=request.page_token)
        return pb.ListOperationsResponse(operations=map(convert.operation, page), next_page_token=token)

    async def WaitOperation(self, request: pb.WaitOperationRequest, context: Context) -> pb.WaitOperationResponse:
        """See the contract."""
        operation = await self._operations.wait(request.id, request.timeout_seconds)
        return pb.WaitOperationResponse(operation=convert.operation(operation))

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Context) -> pb.CancelOperationResponse:
        """See the contract."""
        return pb.CancelOperationResponse(operation=convert.operation(await self._operations.cancel(request.id)))
