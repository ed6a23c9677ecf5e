"""LoginService."""

from dicomstore.v1 import login_service_pb2 as pb
from dicomstore.v1 import login_service_pb2_grpc

from server.domain.security.logins import Logins
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class LoginServicer(login_service_pb2_grpc.LoginServiceServicer):
    """Implements LoginService with `Logins`."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    async def CreateLoginLink(self, request: pb.CreateLoginLinkRequest, context: Context) -> pb.CreateLoginLinkResponse:
        """See the contract."""
        code, expires = await self._logins.create(context.call, request.roles)
        return pb.CreateLoginLinkResponse(code=code, expire_time=convert.timestamp(expires))

    async def RedeemLoginLink(self, request: pb.RedeemLoginLinkRequest, context: Context) -> pb.RedeemLoginLinkResponse:
        """See the contract."""
        token, expires = await self._logins.redeem(context.call, request.code)
        return pb.RedeemLoginLinkResponse(token=token, expire_time=convert.timestamp(expires))

    async def EndLogin(self, request: pb.EndLoginRequest, context: Context) -> pb.EndLoginResponse:
        """See the contract."""
        await self._logins.end(context.call)
        return pb.EndLoginResponse()
