"""CommitmentService."""

from collections.abc import Iterator

from dicomstore.v1 import commitment_service_pb2 as pb
from dicomstore.v1 import commitment_service_pb2_grpc

from server.domain.lifecycle.commitments import Commitments
from server.model.ids import Address, PartitionName, Uid, parse_address, parse_uid
from server.model.lifecycle.commitment import Commitment, Reference
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class CommitmentServicer(commitment_service_pb2_grpc.CommitmentServiceServicer):
    """Implements CommitmentService with `Commitments`."""

    def __init__(self, commitments: Commitments) -> None:
        self._commitments = commitments

    async def RequestCommitment(
        self, request: pb.RequestCommitmentRequest, context: Context
    ) -> pb.RequestCommitmentResponse:
        """See the contract."""
        references = [_reference(one) for one in request.references]
        commitment = await self._commitments.request(context.call, *_names(request), references)
        return pb.RequestCommitmentResponse(commitment=_message(commitment))

    async def GetCommitment(self, request: pb.GetCommitmentRequest, context: Context) -> pb.GetCommitmentResponse:
        """See the contract."""
        return pb.GetCommitmentResponse(
            commitment=_message(await self._commitments.get(context.call, *_names(request)))
        )


def _names(request: pb.RequestCommitmentRequest | pb.GetCommitmentRequest) -> tuple[PartitionName, Uid]:
    return parse_address(request.partition).partition, parse_uid(request.transaction_uid, "transaction_uid")


def _reference(message: pb.InstanceReference) -> Reference:
    return Reference(
        parse_uid(message.sop_class_uid, "sop_class_uid"),
        parse_uid(message.sop_instance_uid, "sop_instance_uid"),
        parse_uid(message.study_instance_uid, "study_instance_uid") if message.study_instance_uid else None,
        parse_uid(message.series_instance_uid, "series_instance_uid") if message.series_instance_uid else None,
    )


def _message(commitment: Commitment) -> pb.Commitment:
    return pb.Commitment(
        scope=convert.address_message(Address(commitment.partition)),
        transaction_uid=commitment.transaction_uid,
        create_time=convert.timestamp(commitment.created),
        done=commitment.failures is not None,
        results=_results(commitment),
    )


def _results(commitment: Commitment) -> Iterator[pb.CommitmentResult]:
    if commitment.failures is None:
        return
    for position, reference in enumerate(commitment.references):
        yield pb.CommitmentResult(
            reference=pb.InstanceReference(
                sop_class_uid=reference.sop_class_uid,
                sop_instance_uid=reference.instance,
                study_instance_uid=reference.study,
                series_instance_uid=reference.series,
            ),
            failure_reason=commitment.failures.get(position, 0),
        )
