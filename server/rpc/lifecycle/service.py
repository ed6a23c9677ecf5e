"""LifecycleService."""

from dicomstore.v1 import lifecycle_service_pb2 as pb
from dicomstore.v1 import lifecycle_service_pb2_grpc

from server.domain.lifecycle.expiry import Expiry
from server.domain.lifecycle.holds import Holds
from server.domain.lifecycle.trash import Trash
from server.model.lifecycle.deletion import Deletion, DeletionQuery
from server.model.lifecycle.expiry import Expiry as StudyExpiry
from server.model.lifecycle.hold import Hold
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class LifecycleServicer(lifecycle_service_pb2_grpc.LifecycleServiceServicer):
    """Implements LifecycleService with `Trash`, `Holds` and `Expiry`."""

    def __init__(self, trash: Trash, holds: Holds, expiry: Expiry) -> None:
        self._expiry = expiry
        self._trash = trash
        self._holds = holds

    async def UndeleteInstances(
        self, request: pb.UndeleteInstancesRequest, context: Context
    ) -> pb.UndeleteInstancesResponse:
        """See the contract."""
        restored = await self._trash.undelete(context.call, convert.address(request.resource))
        return pb.UndeleteInstancesResponse(restored_instances=restored)

    async def ListDeletions(self, request: pb.ListDeletionsRequest, context: Context) -> pb.ListDeletionsResponse:
        """See the contract."""
        query = DeletionQuery(
            convert.address(request.scope),
            start=convert.moment(request.start_time, "start_time") if request.HasField("start_time") else None,
            end=convert.moment(request.end_time, "end_time") if request.HasField("end_time") else None,
        )
        page, token = await self._trash.deletions(
            context.call, query, page_size=request.page_size, token=request.page_token
        )
        return pb.ListDeletionsResponse(deletions=map(_deletion, page), next_page_token=token)

    async def SetHold(self, request: pb.SetHoldRequest, context: Context) -> pb.SetHoldResponse:
        """See the contract."""
        resource = convert.address(request.resource)
        hold = await self._holds.set(context.call, resource, name=request.name, reason=request.reason)
        return pb.SetHoldResponse(hold=_hold(hold))

    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, context: Context) -> pb.ReleaseHoldResponse:
        """See the contract."""
        resource = convert.address(request.resource)
        hold = await self._holds.release(context.call, resource, name=request.name, reason=request.reason)
        return pb.ReleaseHoldResponse(hold=_hold(hold))

    async def ListHolds(self, request: pb.ListHoldsRequest, context: Context) -> pb.ListHoldsResponse:
        """See the contract."""
        page, token = await self._holds.list(
            context.call,
            convert.address(request.scope),
            page_size=request.page_size,
            token=request.page_token,
        )
        return pb.ListHoldsResponse(holds=map(_hold, page), next_page_token=token)

    async def SetExpiry(self, request: pb.SetExpiryRequest, context: Context) -> pb.SetExpiryResponse:
        """See the contract."""
        expires = convert.moment(request.expire_time, "expire_time") if request.HasField("expire_time") else None
        expiry = await self._expiry.set(context.call, convert.address(request.study), expires)
        return pb.SetExpiryResponse(expiry=_expiry(expiry))

    async def GetExpiry(self, request: pb.GetExpiryRequest, context: Context) -> pb.GetExpiryResponse:
        """See the contract."""
        expiry = await self._expiry.get(context.call, convert.address(request.study))
        return pb.GetExpiryResponse(expiry=_expiry(expiry))


def _expiry(expiry: StudyExpiry | None) -> pb.Expiry | None:
    if expiry is None:
        return None
    return pb.Expiry(
        expire_time=convert.timestamp(expiry.expires), author=expiry.author, set_time=convert.timestamp(expiry.time)
    )


def _hold(hold: Hold) -> pb.Hold:
    return pb.Hold(
        resource=convert.address_message(hold.resource),
        name=hold.name,
        reason=hold.reason,
        author=hold.author,
        time=convert.timestamp(hold.time),
    )


def _deletion(deletion: Deletion) -> pb.Deletion:
    return pb.Deletion(
        resource=convert.address_message(deletion.resource),
        delete_time=convert.timestamp(deletion.time),
        author=deletion.author,
        reason=deletion.reason,
        instances=deletion.instances,
        erase_time=convert.timestamp(deletion.erase_after),
    )
