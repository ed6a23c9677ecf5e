"""Lists of operations, and of their failed items (docs/api.md, Operations)."""

from datetime import UTC
from typing import Any

from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.operation_service_pb2 import (
    ListOperationErrorsRequest,
    ListOperationErrorsResponse,
    ListOperationsRequest,
    ListOperationsResponse,
    OperationError,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.administration.lists import list_response, page_of
from facade.channel import Core
from facade.endpoints.operations import STATES, id_of, summary
from facade.request.query import first, invalid, parameters_of
from facade.serving.observe import call_metadata


async def operations(request: Request) -> Response:
    """GET /operations: a page of operations, newest first; without the internal ones of the archive."""
    parameters = parameters_of(request)
    page = page_of(parameters)
    types, states = ([one for one in (first(parameters, name) or "").split(",") if one] for name in ("type", "status"))
    by_name = {name.lower(): state for state, names in STATES.items() for name in names}
    if unknown := [state for state in states if state.lower() not in by_name]:
        possible = ", ".join(name for names in STATES.values() for name in names)
        raise invalid("status", f"{len(unknown)} of the values are none of: {possible}.")
    wanted = ListOperationsRequest(
        page_size=page.limit,
        page_token=page.token,
        types=types,
        states=[by_name[state.lower()] for state in states],
    )
    core: Core = request.app.state.core
    answer: ListOperationsResponse = await core.call(core.operations.ListOperations, wanted, call_metadata(request))
    rows = [summary(request, found) for found in answer.operations if not found.internal]
    query = {name: first(parameters, name) for name in ("type", "status")}
    return list_response(request, "/operations", rows, page, answer.next_page_token, query)


async def errors(request: Request) -> Response:
    """GET /operations/{operation}/errors: a page of the failed items, in the order of detection."""
    page = page_of(parameters_of(request))
    operation_id = id_of(request)
    wanted = ListOperationErrorsRequest(id=operation_id, page_size=page.limit, page_token=page.token)
    core: Core = request.app.state.core
    answer: ListOperationErrorsResponse = await core.call(
        core.operations.ListOperationErrors, wanted, call_metadata(request)
    )
    path = f"/operations/{operation_id}/errors"
    return list_response(request, path, list(map(_error, answer.errors)), page, answer.next_page_token, {})


def _error(error: OperationError) -> dict[str, Any]:
    name = ErrorReason.Name(error.reason) if error.reason in ErrorReason.values() else ""
    fields = {
        "time": error.time.ToDatetime(UTC),
        "reason": name.removeprefix("ERROR_REASON_"),
        "message": error.message,
        "partitionName": error.address.partition,
        "studyInstanceUid": error.address.study_instance_uid,
        "seriesInstanceUid": error.address.series_instance_uid,
        "sopInstanceUid": error.address.sop_instance_uid,
        "item": error.item,
    }
    return {name: value for name, value in fields.items() if value != ""}
