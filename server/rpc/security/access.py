"""AccessService."""

from dicomstore.v1 import access_service_pb2 as pb
from dicomstore.v1 import access_service_pb2_grpc

from server.domain.access import Access
from server.model.errors import InvalidRequest, Reason
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.declared_actions import ACTIONS


class AccessServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Implements AccessService with `Access`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def CheckAccess(self, request: pb.CheckAccessRequest, context: Context) -> pb.CheckAccessResponse:
        """See the contract."""
        action = ACTIONS.get(request.action)
        if action is None:
            raise InvalidRequest(Reason.INVALID_FIELD, "action must be one with a name.", field="action")
        self._access.permit_anywhere(context.call, action)
        return pb.CheckAccessResponse()
