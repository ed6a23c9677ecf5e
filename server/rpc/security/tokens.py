"""TokenService."""

from dicomstore.v1 import token_service_pb2 as pb
from dicomstore.v1 import token_service_pb2_grpc

from server.domain.security.tokens import Tokens
from server.model.security.archive_token import ArchiveToken
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """Implements TokenService with `Tokens`."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Context) -> pb.CreateTokenResponse:
        """See the contract."""
        token, secret = await self._tokens.create(
            context.call,
            name=request.name,
            roles=request.roles,
            partitions=request.partitions,
            create_partitions=request.create_partitions,
            expires=convert.moment(request.expire_time, "expire_time"),
        )
        return pb.CreateTokenResponse(token=_token(token), secret=secret)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Context) -> pb.ListTokensResponse:
        """See the contract."""
        page, following = await self._tokens.list(
            context.call,
            size=request.page_size,
            token=request.page_token,
            include_invalid=request.include_invalid,
        )
        return pb.ListTokensResponse(tokens=map(_token, page), next_page_token=following)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        """See the contract."""
        return pb.RevokeTokenResponse(token=_token(await self._tokens.revoke(context.call, request.id)))


def _token(value: ArchiveToken) -> pb.Token:
    return pb.Token(
        id=value.id,
        name=value.name,
        roles=value.roles,
        partitions=value.partitions,
        create_time=convert.timestamp(value.created),
        creator=value.creator,
        expire_time=convert.timestamp(value.expires),
        revoke_time=convert.timestamp(value.revoked) if value.revoked else None,
        last_use_time=convert.timestamp(value.last_used) if value.last_used else None,
    )
