"""When a study expires (docs/api.md, Expiry)."""

from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.lifecycle_service_pb2 import Expiry, GetExpiryRequest, SetExpiryRequest
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import resource_of
from facade.request.json_body import fields_of, json_body
from facade.request.times import time_of
from facade.serving.observe import call_metadata

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


async def expiry(request: Request) -> Response:
    """GET …/expiry: when a study expires."""
    core: Core = request.app.state.core
    wanted = GetExpiryRequest(study=resource_of(request))
    answer = await core.call(core.lifecycle.GetExpiry, wanted, call_metadata(request))
    return _response(answer.expiry if answer.HasField("expiry") else None)


async def set_expiry(request: Request) -> Response:
    """PUT …/expiry: set the time at which a study is deleted."""
    fields = fields_of(await json_body(request), {"expires": "expires"}, "")
    expires = time_of(fields.get("expires", ""))
    if expires is None:
        raise Refusal(400, "The field 'expires' in request body must be a date and time with a time zone.")
    answer = await _set(request, expires)
    return _response(answer.expiry)


async def remove_expiry(request: Request) -> Response:
    """DELETE …/expiry: a study does not expire."""
    await _set(request, None)
    return Response(status_code=204)


async def _set(request: Request, expires: Timestamp | None) -> Any:
    core: Core = request.app.state.core
    wanted = SetExpiryRequest(study=resource_of(request), expire_time=expires)
    return await core.call(core.lifecycle.SetExpiry, wanted, call_metadata(request))


def _response(expiry: Expiry | None) -> Response:
    fields: dict[str, Any] = {"expires": None}
    if expiry is not None:
        fields = {
            "expires": expiry.expire_time.ToDatetime(UTC),
            "author": expiry.author,
            "time": expiry.set_time.ToDatetime(UTC),
        }
    return Response(orjson.dumps(fields, option=orjson.OPT_UTC_Z), 200, _HEADERS)
