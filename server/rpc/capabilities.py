"""CapabilitiesService."""

from dicomstore.v1 import capabilities_service_pb2 as pb
from dicomstore.v1 import capabilities_service_pb2_grpc

from common.process.release import release
from server.config import Settings
from server.domain import limits
from server.domain.retrieve.frame_transcoder import DECODABLE, ENCODABLE
from server.rpc.interceptors.authentication import Authenticator
from server.rpc.interceptors.call_context import Context


class CapabilitiesServicer(capabilities_service_pb2_grpc.CapabilitiesServiceServicer):
    """Implements CapabilitiesService."""

    def __init__(self, settings: Settings, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._answer = pb.GetCapabilitiesResponse(
            server_version=release(),
            limits=pb.Limits(
                max_instance_bytes=settings.max_instance_bytes,
                max_header_bytes=settings.max_header_bytes,
                max_message_bytes=limits.MAX_MESSAGE_BYTES,
                max_page_size=limits.MAX_PAGE_SIZE,
                default_page_size=limits.DEFAULT_PAGE_SIZE,
            ),
            features=pb.Features(partitions=settings.partitions),
            encodable_transfer_syntax_uids=ENCODABLE,
            decodable_transfer_syntax_uids=DECODABLE,
        )

    async def GetCapabilities(self, request: pb.GetCapabilitiesRequest, context: Context) -> pb.GetCapabilitiesResponse:
        """See the contract."""
        answer = pb.GetCapabilitiesResponse()
        answer.CopyFrom(self._answer)
        answer.features.authentication_required = not await self._authenticator.is_open()
        return answer
