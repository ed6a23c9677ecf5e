"""Operations: long-running work started by another request (docs/api.md, Operations)."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.operation_service_pb2 import (
    CancelOperationRequest,
    CancelOperationResponse,
    GetOperationRequest,
    GetOperationResponse,
    Operation,
    OperationState,
)
from dicomstore.v1.operation_types_pb2 import ExportResult, ImportResult, ReindexRequest, UpdateResult
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import urls_in
from facade.serving.observe import call_metadata
from facade.versions import ApiVersion

JSON = "application/json; charset=utf-8"

_UNFINISHED = {
    OperationState.OPERATION_STATE_NOT_STARTED: "notStarted",
    OperationState.OPERATION_STATE_RUNNING: "running",
    OperationState.OPERATION_STATE_CANCELING: "running",
}
_IMPORT_RESULT = {
    "stored": "stored",
    "identical": "identical",
    "skipped": "skipped",
    "failed": "failed",
    "storedBytes": "stored_bytes",
    "removed": "removed",
    "passes": "passes",
}
STATES: Mapping[OperationState, tuple[str, ...]] = {
    OperationState.OPERATION_STATE_NOT_STARTED: ("notStarted",),
    OperationState.OPERATION_STATE_RUNNING: ("running",),
    OperationState.OPERATION_STATE_CANCELING: ("canceling",),
    OperationState.OPERATION_STATE_SUCCEEDED: ("succeeded", "completed"),
    OperationState.OPERATION_STATE_FAILED: ("failed",),
    OperationState.OPERATION_STATE_CANCELED: ("canceled",),
}
"""The names of states in queries."""

_FINISHED = {OperationState.OPERATION_STATE_FAILED: "failed", OperationState.OPERATION_STATE_CANCELED: "canceled"}


async def operation(request: Request) -> Response:
    """GET /operations/{id}: 202 while it is unfinished, 200 when it is finished, 404 for the archive's own."""
    core: Core = request.app.state.core
    wanted = GetOperationRequest(id=id_of(request))
    answer: GetOperationResponse = await core.call(core.operations.GetOperation, wanted, call_metadata(request))
    return _response(request, answer.operation)


async def cancel(request: Request) -> Response:
    """DELETE /operations/{id}: cancel it; 202 while its effects are undone, 200 when it has ended, also otherwise."""
    core: Core = request.app.state.core
    wanted = CancelOperationRequest(id=id_of(request))
    answer: CancelOperationResponse = await core.call(core.operations.CancelOperation, wanted, call_metadata(request))
    return _response(request, answer.operation)


def id_of(request: Request) -> str:
    """Return the id of the operation in the path; clients of Azure's service write it with hyphens."""
    operation_id: str = request.path_params["operation"]
    return operation_id.replace("-", "")


def _response(request: Request, found: Operation) -> Response:
    if found.internal:
        raise Refusal(404, "The specified operation does not exist.")
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


def summary(request: Request, found: Operation) -> dict[str, Any]:
    """Return an operation in a list: as on its own, with its address and the numbers of its items."""
    counts = {"done": found.done, "failed": found.failed, "total": found.total}
    return {**_fields(request, found), "href": operation_url(request, found.id), "items": counts}


def _body(request: Request, found: Operation) -> bytes:
    return orjson.dumps(_fields(request, found), option=orjson.OPT_UTC_Z)


def _fields(request: Request, found: Operation) -> dict[str, Any]:
    version: ApiVersion = request.path_params["version"]
    base = urls_in(request, "").base
    body: dict[str, Any] = {
        "operationId": found.id,
        "type": found.type,
        "createdTime": found.created.ToDatetime(UTC),
        "lastUpdatedTime": found.updated.ToDatetime(UTC),
        "status": _status(found, version),
        "percentComplete": found.percent_complete,
    }
    reindex = ReindexRequest()
    if found.request.Unpack(reindex):
        body["resources"] = [f"{base}/extendedquerytags/{tag}" for tag in reindex.tags]
    result = UpdateResult()
    if found.result.Unpack(result):
        body["results"] = _update_result(result)
    exported = ExportResult()
    if found.result.Unpack(exported):
        body["results"] = _export_result(exported)
    imported = ImportResult()
    if found.result.Unpack(imported):
        body["results"] = {json_name: getattr(imported, name) for json_name, name in _IMPORT_RESULT.items()}
    if found.error:
        body["errors"] = [found.error]
    return body


def _update_result(result: UpdateResult) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "studyProcessed": result.studies_processed,
        "studyUpdated": result.studies_updated,
        "studyFailed": result.studies_failed,
        "instanceUpdated": result.instances_updated,
    }
    errors = list(result.errors)
    if result.errors_omitted:
        errors.append(f"and {result.errors_omitted} more")
    return counts | {"errors": errors} if errors else counts


def _export_result(result: ExportResult) -> dict[str, Any]:
    more = {"manifestHref": result.manifest_href, "dicomdirHref": result.dicomdir_href}
    return {
        "exported": result.exported,
        "skipped": result.skipped,
        "errorHref": result.error_href,
        "exportedBytes": result.exported_bytes,
        **{name: href for name, href in more.items() if href},
    }


def _status(found: Operation, version: ApiVersion) -> str:
    if found.state == OperationState.OPERATION_STATE_SUCCEEDED:
        return version.status_of_success
    return _UNFINISHED.get(found.state) or _FINISHED.get(found.state) or "unknown"
