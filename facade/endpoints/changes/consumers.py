"""Consumers of the change feed (docs/api.md, Consumers)."""

from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.change_feed_service_pb2 import (
    Consumer,
    DeleteConsumerRequest,
    GetConsumerRequest,
    GetConsumerResponse,
    ListConsumersRequest,
    ListConsumersResponse,
    SetConsumerPositionRequest,
    SetConsumerPositionResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.endpoints.change_feed import JSON
from facade.errors import Refusal
from facade.request.json_body import json_body
from facade.request.query import first, integer, parameters_of
from facade.serving.observe import call_metadata

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_FIELDS = {"sequence": "sequence", "expectedsequence": "expected_sequence"}
_MAX_SEQUENCE = 2**63 - 1


async def consumers(request: Request) -> Response:
    """GET /changefeed/consumers: a page of consumers, by name."""
    parameters = parameters_of(request)
    wanted = ListConsumersRequest(
        after_name=first(parameters, "after") or "",
        page_size=integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
    )
    core: Core = request.app.state.core
    answer: ListConsumersResponse = await core.call(core.changes.ListConsumers, wanted, call_metadata(request))
    return _response(list(map(_fields, answer.consumers)))


async def consumer(request: Request) -> Response:
    """GET /changefeed/consumers/{name}: a consumer and its position."""
    wanted = GetConsumerRequest(name=request.path_params["name"])
    core: Core = request.app.state.core
    answer: GetConsumerResponse = await core.call(core.changes.GetConsumer, wanted, call_metadata(request))
    return _response(_fields(answer.consumer))


async def set_position(request: Request) -> Response:
    """PUT /changefeed/consumers/{name}: set the position of a consumer; 409 if it is not the expected one."""
    wanted = position_of(request.path_params["name"], await json_body(request))
    core: Core = request.app.state.core
    answer: SetConsumerPositionResponse = await core.call(
        core.changes.SetConsumerPosition, wanted, call_metadata(request)
    )
    return _response(_fields(answer.consumer))


async def delete(request: Request) -> Response:
    """DELETE /changefeed/consumers/{name}: forget a consumer."""
    wanted = DeleteConsumerRequest(name=request.path_params["name"])
    core: Core = request.app.state.core
    await core.call(core.changes.DeleteConsumer, wanted, call_metadata(request))
    return Response(status_code=204)


def position_of(name: str, body: Any) -> SetConsumerPositionRequest:
    """Return the request of a parsed body.

    Raises:
        Refusal: 400.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "The field '$' in request body is invalid: It must be an object.")
    values: dict[str, int] = {}
    for written, value in body.items():
        field = _FIELDS.get(written.lower())
        if field is None:
            raise Refusal(400, "The field '$' in request body is invalid: Only sequence, expectedSequence are allowed.")
        if type(value) is not int or not 0 <= value <= _MAX_SEQUENCE:
            raise Refusal(400, f"The field '{field}' in request body is invalid: It must be a sequence number.")
        values[field] = value
    if "sequence" not in values:
        raise Refusal(400, "The field 'sequence' in request body is required.")
    return SetConsumerPositionRequest(name=name, **values)


def _fields(value: Consumer) -> dict[str, Any]:
    return {
        "name": value.name,
        "owner": value.owner,
        "sequence": value.sequence,
        "updated": value.update_time.ToDatetime(UTC),
    }


def _response(content: Any) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), 200, {"Content-Type": JSON})
