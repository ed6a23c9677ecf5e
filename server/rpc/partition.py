"""PartitionService."""

from dicomstore.v1 import partition_service_pb2 as pb
from dicomstore.v1 import partition_service_pb2_grpc

from server.domain.partitions import PartitionGate
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class PartitionServicer(partition_service_pb2_grpc.PartitionServiceServicer):
    """Speaks PartitionService for `PartitionGate`."""

    def __init__(self, gate: PartitionGate) -> None:
        self._gate = gate

    async def ListPartitions(self, request: pb.ListPartitionsRequest, context: Context) -> pb.ListPartitionsResponse:
        """See the contract."""
        return pb.ListPartitionsResponse(partitions=map(convert.partition, await self._gate.list()))

    async def GetPartition(self, request: pb.GetPartitionRequest, context: Context) -> pb.GetPartitionResponse:
        """See the contract."""
        return pb.GetPartitionResponse(partition=convert.partition(await self._gate.get(request.name)))

    async def CreatePartition(self, request: pb.CreatePartitionRequest, context: Context) -> pb.CreatePartitionResponse:
        """See the contract."""
        return pb.CreatePartitionResponse(partition=convert.partition(await self._gate.create(request.name)))
