"""VersionService."""

from collections.abc import AsyncIterator
from typing import cast

from dicomstore.v1 import version_service_pb2 as pb
from dicomstore.v1 import version_service_pb2_grpc

from server.dicom.updating.differences import Difference
from server.domain.lifecycle.versions import Versions
from server.model.instance import InstanceVersion
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class VersionServicer(version_service_pb2_grpc.VersionServiceServicer):
    """Implements VersionService with `Versions`."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        """See the contract."""
        page, token = await self._versions.list(
            context.call, convert.address(request.resource), page_size=request.page_size, token=request.page_token
        )
        return pb.ListVersionsResponse(versions=map(_version, page), next_page_token=token)

    async def CompareVersions(
        self, request: pb.CompareVersionsRequest, context: Context
    ) -> AsyncIterator[pb.CompareVersionsResponse]:
        """See the contract."""
        compared = await self._versions.compare(
            context.call,
            convert.address(request.instance),
            convert.version(request.from_version),
            convert.version(request.version),
        )
        message = pb.CompareVersionsResponse(from_version=compared.before, version=compared.after)
        async for page in compared.pages:
            message.differences.extend(map(_difference, page))
            context.call.audit.items += len(page)
            if page:
                yield message
                message = pb.CompareVersionsResponse()
        if message.version:
            yield message

    async def RevertInstance(self, request: pb.RevertInstanceRequest, context: Context) -> pb.RevertInstanceResponse:
        """See the contract."""
        version = await self._versions.revert(
            context.call, convert.address(request.instance), convert.version(request.version), request.reason
        )
        return pb.RevertInstanceResponse(version=version)


def _version(one: InstanceVersion) -> pb.InstanceVersion:
    message = pb.InstanceVersion(
        instance=convert.instance_id(one.id),
        version=one.version,
        create_time=convert.timestamp(one.created),
        author=one.provenance.author,
        reason=one.provenance.reason,
        origin=cast(pb.VersionOrigin, int(one.provenance.origin)),
        transfer_syntax_uid=one.transfer_syntax_uid,
        size_bytes=one.size_bytes,
        crc32c=one.crc32c,
    )
    if one.replaced is not None:
        message.replace_time.CopyFrom(convert.timestamp(one.replaced))
    return message


def _difference(one: Difference) -> pb.AttributeDifference:
    return pb.AttributeDifference(
        path=one.path,
        keyword=one.keyword,
        kind=cast(pb.DifferenceKind, int(one.kind)),
        vr=one.vr,
        before=one.before,
        after=one.after,
    )
