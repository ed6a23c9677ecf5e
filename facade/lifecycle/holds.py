"""Holds on studies, series and instances (docs/api.md, Holds)."""

from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import orjson
from dicomstore.v1.lifecycle_service_pb2 import (
    Hold,
    ListHoldsRequest,
    ListHoldsResponse,
    ReleaseHoldRequest,
    SetHoldRequest,
    SetHoldResponse,
)
from dicomstore.v1.resources_pb2 import Address
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.request.addresses import partition_of, resource_of, urls_of
from facade.request.json_body import fields_of, json_body
from facade.request.query import first, integer, parameters_of
from facade.request.reason import reason_of
from facade.serving.observe import call_metadata

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
_NAMES = {"name": "name", "reason": "reason"}


async def set_hold(request: Request) -> Response:
    """PUT …/hold: set a hold on a study, series or instance, and return it."""
    fields = fields_of(await json_body(request), _NAMES, "")
    wanted = SetHoldRequest(resource=resource_of(request), **fields)
    core: Core = request.app.state.core
    answer: SetHoldResponse = await core.call(core.lifecycle.SetHold, wanted, call_metadata(request))
    return Response(_json(_fields(answer.hold)), 200, _HEADERS)


async def release(request: Request) -> Response:
    """DELETE …/hold: release the hold with the name in the query."""
    parameters = parameters_of(request)
    wanted = ReleaseHoldRequest(
        resource=resource_of(request), name=first(parameters, "name") or "", reason=reason_of(request, parameters)
    )
    core: Core = request.app.state.core
    await core.call(core.lifecycle.ReleaseHold, wanted, call_metadata(request))
    return Response(status_code=204)


async def holds_of_resource(request: Request) -> Response:
    """GET …/hold: a page of the holds that protect a study, series or instance or a part of it, newest first."""
    return await _list(request, resource_of(request))


async def holds(request: Request) -> Response:
    """GET /holds: a page of the holds in the partition, newest first."""
    return await _list(request, Address(partition=partition_of(request)))


async def _list(request: Request, scope: Address) -> Response:
    parameters = parameters_of(request)
    limit = integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    wanted = ListHoldsRequest(scope=scope, page_size=limit, page_token=first(parameters, "pagetoken") or "")
    core: Core = request.app.state.core
    answer: ListHoldsResponse = await core.call(core.lifecycle.ListHolds, wanted, call_metadata(request))
    headers = dict(_HEADERS)
    if answer.next_page_token:
        query = urlencode({"limit": str(limit), "pagetoken": answer.next_page_token})
        headers["Link"] = f'<{_url(request, scope)}?{query}>; rel="next"'
    return Response(_json([_fields(hold) for hold in answer.holds]), 200, headers)


def _url(request: Request, scope: Address) -> str:
    return f"{urls_of(request).resource(scope)}/{'hold' if scope.study_instance_uid else 'holds'}"


def _fields(hold: Hold) -> dict[str, Any]:
    fields = {
        "partitionName": hold.resource.partition,
        "studyInstanceUid": hold.resource.study_instance_uid,
        "seriesInstanceUid": hold.resource.series_instance_uid,
        "sopInstanceUid": hold.resource.sop_instance_uid,
        "name": hold.name,
        "reason": hold.reason,
        "author": hold.author,
        "time": hold.time.ToDatetime(UTC),
    }
    return {name: value for name, value in fields.items() if value != ""}


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)
