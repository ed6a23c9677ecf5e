"""The list of data partitions, and their deletion (docs/api.md, Partitions)."""

from datetime import UTC

import orjson
from dicomstore.v1.partition_service_pb2 import DeletePartitionRequest, ListPartitionsRequest, ListPartitionsResponse
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure, Refusal
from facade.request.addresses import partition_of
from facade.request.query import parameters_of
from facade.request.reason import reason_of
from facade.serving.observe import call_metadata

JSON = "application/json; charset=utf-8"


async def partitions(request: Request) -> Response:
    """GET /partitions."""
    core: Core = request.app.state.core
    answer: ListPartitionsResponse = await core.call(
        core.partitions.ListPartitions, ListPartitionsRequest(), call_metadata(request)
    )
    rows = [
        {
            "partitionKey": partition.key,
            "partitionName": partition.name,
            "createdDate": partition.create_time.ToDatetime(UTC),
        }
        for partition in answer.partitions
    ]
    return Response(orjson.dumps(rows, option=orjson.OPT_UTC_Z), 200, {"Content-Type": JSON})


async def delete(request: Request) -> Response:
    """DELETE /partitions/{partition}: delete a partition with all its instances."""
    core: Core = request.app.state.core
    name = partition_of(request)
    wanted = DeletePartitionRequest(name=name, reason=reason_of(request, parameters_of(request)))
    try:
        await core.call(core.partitions.DeletePartition, wanted, call_metadata(request))
    except CoreFailure as failure:
        if failure.reason == "PARTITION_NOT_FOUND":
            raise Refusal(404, "The specified partition does not exist.") from failure
        raise
    return Response(status_code=204)
