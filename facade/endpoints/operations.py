"""Operations: long-running work started by another request (docs/api.md, Operations)."""

from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.operation_service_pb2 import (
    GetOperationRequest,
    GetOperationResponse,
    Operation,
    OperationState,
    OperationType,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import urls_in
from facade.serving.observe import call_metadata
from facade.versions import ApiVersion

JSON = "application/json; charset=utf-8"

_UNFINISHED = {OperationState.OPERATION_STATE_NOT_STARTED, OperationState.OPERATION_STATE_RUNNING}


async def operation(request: Request) -> Response:
    """GET /operations/{id}: 202 while the operation runs, 200 when it is finished."""
    core: Core = request.app.state.core
    wanted = GetOperationRequest(id=request.path_params["operation"].replace("-", ""))
    answer: GetOperationResponse = await core.ask(core.operations.GetOperation, wanted, call_metadata(request))
    found = answer.operation
    headers = {"Content-Type": JSON, "Cache-Control": "no-store"}
    if found.state not in _UNFINISHED:
        return Response(_body(request, found), 200, headers)
    return Response(_body(request, found), 202, {**headers, "Location": operation_url(request, found.id)})


def started(request: Request, operation_id: str) -> Response:
    """Return the response to a request that has started an operation."""
    url = operation_url(request, operation_id)
    return Response(orjson.dumps(reference(request, operation_id)), 202, {"Content-Type": JSON, "Location": url})


def reference(request: Request, operation_id: str) -> dict[str, str]:
    """Return the reference to an operation in other responses."""
    return {"id": operation_id, "href": operation_url(request, operation_id)}


def operation_url(request: Request, operation_id: str) -> str:
    """Return the absolute URL of an operation."""
    return f"{urls_in(request, '').base}/operations/{operation_id}"


def running_already(request: Request, operation_id: str) -> Refusal:
    """Return the refusal to start an operation while another one of its kind is unfinished."""
    text = f"There is already an active operation of this kind with ID '{operation_id}'."
    return Refusal(409, text, {"Location": operation_url(request, operation_id)})


def _body(request: Request, found: Operation) -> bytes:
    version: ApiVersion = request.path_params["version"]
    base = urls_in(request, "").base
    body: dict[str, Any] = {
        "operationId": found.id,
        "type": _camel(OperationType.Name(found.type).removeprefix("OPERATION_TYPE_")),
        "createdTime": found.created.ToDatetime(UTC),
        "lastUpdatedTime": found.updated.ToDatetime(UTC),
        "status": _status(found, version),
        "percentComplete": found.percent_complete,
    }
    if found.tags:
        body["resources"] = [f"{base}/extendedquerytags/{tag}" for tag in found.tags]
    if found.errors:
        body["errors"] = list(found.errors)
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def _status(found: Operation, version: ApiVersion) -> str:
    if found.state == OperationState.OPERATION_STATE_SUCCEEDED:
        return version.status_of_success
    return _camel(OperationState.Name(found.state).removeprefix("OPERATION_STATE_"))


def _camel(name: str) -> str:
    """Return NOT_STARTED as notStarted."""
    first, *others = name.lower().split("_")
    return first + "".join(part.capitalize() for part in others)
