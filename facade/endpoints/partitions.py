"""The list of data partitions (docs/api.md, Partitions)."""

from datetime import UTC

import orjson
from dicomstore.v1.partition_service_pb2 import ListPartitionsRequest, ListPartitionsResponse
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
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
