"""Creating, listing and revoking archive tokens (docs/security.md)."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dicomstore.v1.token_service_pb2 import (
    CreateTokenRequest,
    CreateTokenResponse,
    ListTokensRequest,
    ListTokensResponse,
    RevokeTokenRequest,
    Token,
)
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import Response

from facade.administration.lists import json_response, list_response, page_of
from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import urls_in
from facade.request.json_body import (
    Fields,
    invalid_field,
    is_boolean,
    is_list_of_texts,
    is_text,
    json_body,
    typed_fields,
)
from facade.request.query import boolean, first, parameters_of
from facade.request.times import time_of
from facade.serving.observe import call_metadata

_LIFETIME, _EXPIRES = "expiresInSeconds", "expiresTime"
_MAX_LIFETIME_S = 100 * 366 * 24 * 3600


def _is_lifetime(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_LIFETIME_S


_FIELDS: Fields = {
    "name": (is_text, "a text"),
    "roles": (is_list_of_texts, "a list of texts"),
    "partitions": (is_list_of_texts, "a list of texts"),
    _LIFETIME: (_is_lifetime, "a number of seconds"),
    _EXPIRES: (is_text, "a date and time"),
    "createPartitions": (is_boolean, "a boolean"),
}


async def tokens(request: Request) -> Response:
    """GET /tokens: a page of the valid tokens, newest first; with `includeinvalid=true`, of all tokens."""
    parameters = parameters_of(request)
    page = page_of(parameters)
    wanted = ListTokensRequest(
        page_size=page.limit,
        page_token=page.token,
        include_invalid=boolean(parameters, "includeinvalid", False),
    )
    core: Core = request.app.state.core
    answer: ListTokensResponse = await core.call(core.tokens.ListTokens, wanted, call_metadata(request))
    query = {"includeinvalid": first(parameters, "includeinvalid")}
    return list_response(request, "/tokens", list(map(_fields, answer.tokens)), page, answer.next_page_token, query)


async def create(request: Request) -> Response:
    """POST /tokens: create a token, and return it; it cannot be read again."""
    fields = typed_fields(await json_body(request), _FIELDS)
    wanted = CreateTokenRequest(
        name=fields.get("name"),
        roles=fields.get("roles"),
        partitions=fields.get("partitions"),
        create_partitions=fields.get("createPartitions"),
        expire_time=_expiry(fields),
    )
    core: Core = request.app.state.core
    answer: CreateTokenResponse = await core.call(core.tokens.CreateToken, wanted, call_metadata(request))
    location = f"{urls_in(request, '').base}/tokens/{answer.token.id}"
    return json_response({**_fields(answer.token), "token": answer.secret}, 201, Location=location)


async def revoke(request: Request) -> Response:
    """DELETE /tokens/{token}: revoke a token."""
    core: Core = request.app.state.core
    wanted = RevokeTokenRequest(id=request.path_params["token"])
    await core.call(core.tokens.RevokeToken, wanted, call_metadata(request))
    return Response(status_code=204)


def _expiry(fields: dict[str, Any]) -> Timestamp:
    """Return the time of expiry from a lifetime or a time. Raises: Refusal, 400."""
    lifetime, text = fields.get(_LIFETIME), fields.get(_EXPIRES)
    if (lifetime is None) is (text is None):
        raise Refusal(400, f"The request body is invalid: one of '{_LIFETIME}' and '{_EXPIRES}' is required.")
    if text is None:
        expires = Timestamp()
        expires.FromDatetime(datetime.now(UTC) + timedelta(seconds=lifetime or 0))
        return expires
    given = time_of(text)
    if given is None:
        raise invalid_field(_EXPIRES, "It must be a date and time with a time zone.")
    return given


def _fields(token: Token) -> dict[str, Any]:
    fields = {
        "id": token.id,
        "name": token.name,
        "roles": list(token.roles),
        "partitions": list(token.partitions),
        "creator": token.creator,
        "createdTime": token.create_time.ToDatetime(UTC),
        "expiresTime": token.expire_time.ToDatetime(UTC),
        "revokedTime": token.revoke_time.ToDatetime(UTC) if token.HasField("revoke_time") else None,
        "lastUsedTime": token.last_use_time.ToDatetime(UTC) if token.HasField("last_use_time") else None,
    }
    return {name: value for name, value in fields.items() if value is not None}
