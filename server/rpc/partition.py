"""PartitionService."""

from dicomstore.v1 import partition_service_pb2 as pb
from dicomstore.v1 import partition_service_pb2_grpc

from server.domain.partitions import Partitions
from server.model.ids import NO_PARTITION, Address, parse_partition_name
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class PartitionServicer(partition_service_pb2_grpc.PartitionServiceServicer):
    """Implements PartitionService with `Partitions`."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions

    async def ListPartitions(self, request: pb.ListPartitionsRequest, context: Context) -> pb.ListPartitionsResponse:
        """See the contract."""
        return pb.ListPartitionsResponse(partitions=map(convert.partition, await self._partitions.list(context.call)))

    async def ListPartitionUsage(
        self, request: pb.ListPartitionUsageRequest, context: Context
    ) -> pb.ListPartitionUsageResponse:
        """See the contract."""
        usage = await self._partitions.usage(context.call)
        return pb.ListPartitionUsageResponse(
            usage=[
                pb.PartitionUsage(
                    partition=one.name,
                    studies=one.studies,
                    series=one.series,
                    instances=one.instances,
                    stored_bytes=one.stored_bytes,
                )
                for one in usage
            ]
        )

    async def GetPartition(self, request: pb.GetPartitionRequest, context: Context) -> pb.GetPartitionResponse:
        """See the contract."""
        partition = await self._partitions.get(context.call, _address(request.name))
        return pb.GetPartitionResponse(partition=convert.partition(partition))

    async def CreatePartition(self, request: pb.CreatePartitionRequest, context: Context) -> pb.CreatePartitionResponse:
        """See the contract."""
        partition = await self._partitions.create(context.call, _address(request.name))
        return pb.CreatePartitionResponse(partition=convert.partition(partition))

    async def DeletePartition(self, request: pb.DeletePartitionRequest, context: Context) -> pb.DeletePartitionResponse:
        """See the contract."""
        await self._partitions.delete(context.call, _address(request.name), reason=request.reason)
        return pb.DeletePartitionResponse()

    async def UpdatePartition(self, request: pb.UpdatePartitionRequest, context: Context) -> pb.UpdatePartitionResponse:
        """See the contract."""
        address = _address(request.name) if request.name else Address(NO_PARTITION)
        policy = convert.duplicate_policy(request.duplicates, "duplicates")
        partition = await self._partitions.update(context.call, address, policy)
        return pb.UpdatePartitionResponse(partition=convert.partition(partition))


def _address(name: str) -> Address:
    """Return the address of a partition. Raises InvalidRequest (INVALID_PARTITION_NAME)."""
    return Address(parse_partition_name(name, "name"))
