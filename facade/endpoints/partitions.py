"""Data partitions (docs/api.md, Partitions)."""

from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.partition_service_pb2 import (
    DeletePartitionRequest,
    ListPartitionsRequest,
    ListPartitionsResponse,
    Partition,
    UpdatePartitionRequest,
    UpdatePartitionResponse,
)
from dicomstore.v1.resources_pb2 import DuplicatePolicy
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure, Refusal
from facade.request.addresses import partition_of
from facade.request.json_body import fields_of, invalid_choice, json_body
from facade.request.query import parameters_of
from facade.request.reason import POLICIES, reason_of
from facade.serving.observe import call_metadata

JSON = "application/json; charset=utf-8"

_DEFAULT = "default"
_NAMES = {policy: name for name, policy in POLICIES.items()}


async def partitions(request: Request) -> Response:
    """GET /partitions."""
    core: Core = request.app.state.core
    answer: ListPartitionsResponse = await core.call(
        core.partitions.ListPartitions, ListPartitionsRequest(), call_metadata(request)
    )
    return _json([_fields(partition) for partition in answer.partitions])


async def update(request: Request) -> Response:
    """PATCH /partitions/{partition}: set the duplicates policy."""
    fields = fields_of(await json_body(request), {"duplicates": "duplicates"}, "")
    text = fields.get("duplicates", "")
    if text != _DEFAULT and text not in POLICIES:
        raise invalid_choice("duplicates", text, [*POLICIES, _DEFAULT])
    policy = POLICIES.get(text, DuplicatePolicy.DUPLICATE_POLICY_UNSPECIFIED)
    wanted = UpdatePartitionRequest(name=partition_of(request), duplicates=policy)
    core: Core = request.app.state.core
    answer: UpdatePartitionResponse = await _call(request, core.partitions.UpdatePartition, wanted)
    return _json(_fields(answer.partition))


async def delete(request: Request) -> Response:
    """DELETE /partitions/{partition}: delete a partition with all its instances."""
    core: Core = request.app.state.core
    wanted = DeletePartitionRequest(name=partition_of(request), reason=reason_of(request, parameters_of(request)))
    await _call(request, core.partitions.DeletePartition, wanted)
    return Response(status_code=204)


async def _call(request: Request, method: Any, wanted: Any) -> Any:
    """Call a method for one partition. Raises: Refusal, 404, it does not exist; CoreFailure."""
    core: Core = request.app.state.core
    try:
        return await core.call(method, wanted, call_metadata(request))
    except CoreFailure as failure:
        if failure.reason == "PARTITION_NOT_FOUND":
            raise Refusal(404, "The specified partition does not exist.") from failure
        raise


def _fields(partition: Partition) -> dict[str, Any]:
    fields = {
        "partitionKey": partition.key,
        "partitionName": partition.name,
        "createdDate": partition.create_time.ToDatetime(UTC),
    }
    return fields | ({"duplicates": _NAMES[partition.duplicates]} if partition.duplicates in _NAMES else {})


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), 200, {"Content-Type": JSON})
