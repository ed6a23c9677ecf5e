"""Storage use of the partitions."""

from dicomstore.v1.partition_service_pb2 import ListPartitionUsageRequest, ListPartitionUsageResponse
from starlette.requests import Request
from starlette.responses import Response

from facade.administration.lists import json_response
from facade.channel import Core
from facade.serving.observe import call_metadata


async def usage(request: Request) -> Response:
    """GET /usage: the numbers of studies, series and instances, and the stored bytes, of each partition."""
    core: Core = request.app.state.core
    answer: ListPartitionUsageResponse = await core.call(
        core.partitions.ListPartitionUsage, ListPartitionUsageRequest(), call_metadata(request)
    )
    return json_response(
        [
            {
                "partitionName": one.partition,
                "studies": one.studies,
                "series": one.series,
                "instances": one.instances,
                "storedBytes": one.stored_bytes,
            }
            for one in answer.usage
        ]
    )
