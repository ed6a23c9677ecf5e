"""ShareService."""

from datetime import timedelta
from typing import cast

from dicomstore.v1 import share_service_pb2 as pb
from dicomstore.v1 import share_service_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from server.domain.security.share_links import ShareLinks
from server.model.errors import InvalidRequest, Reason
from server.model.security.share_link import ShareLink, SharePurpose
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class ShareServicer(share_service_pb2_grpc.ShareServiceServicer):
    """Implements ShareService with `ShareLinks`."""

    def __init__(self, links: ShareLinks) -> None:
        self._links = links

    async def CreateShareLink(self, request: pb.CreateShareLinkRequest, context: Context) -> pb.CreateShareLinkResponse:
        """See the contract."""
        link, token = await self._links.create(
            context.call,
            _purpose(request.purpose),
            convert.address(request.scope),
            label=request.label,
            lifetime=_lifetime(request.lifetime) if request.HasField("lifetime") else None,
        )
        return pb.CreateShareLinkResponse(link=_message(link), token=token)

    async def ListShareLinks(self, request: pb.ListShareLinksRequest, context: Context) -> pb.ListShareLinksResponse:
        """See the contract."""
        links, token = await self._links.list(context.call, page_size=request.page_size, token=request.page_token)
        return pb.ListShareLinksResponse(links=map(_message, links), next_page_token=token)

    async def RevokeShareLink(self, request: pb.RevokeShareLinkRequest, context: Context) -> pb.RevokeShareLinkResponse:
        """See the contract."""
        await self._links.revoke(context.call, request.id)
        return pb.RevokeShareLinkResponse()

    async def GetOwnShareLink(self, request: pb.GetOwnShareLinkRequest, context: Context) -> pb.GetOwnShareLinkResponse:
        """See the contract."""
        link = _message(await self._links.own(context.call))
        link.ClearField("label")  # for administrators, as the creator
        link.ClearField("creator")
        return pb.GetOwnShareLinkResponse(link=link)


def _purpose(value: pb.SharePurpose) -> SharePurpose:
    try:
        return SharePurpose(value)
    except ValueError:
        message = "The purpose of a share link is required, and must be known to this server."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="purpose") from None


def _lifetime(value: Duration) -> timedelta:
    try:
        return value.ToTimedelta()
    except (OverflowError, ValueError):
        raise InvalidRequest(Reason.INVALID_FIELD, "The lifetime is not a duration.", field="lifetime") from None


def _message(link: ShareLink) -> pb.ShareLink:
    return pb.ShareLink(
        id=link.id,
        purpose=cast(pb.SharePurpose, int(link.purpose)),
        scope=convert.address_message(link.scope),
        label=link.label,
        creator=link.creator,
        create_time=convert.timestamp(link.created),
        expire_time=convert.timestamp(link.expires),
    )
