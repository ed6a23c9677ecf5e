"""Creating, listing and revoking share links (docs/api.md, Share links)."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.share_service_pb2 import (
    SHARE_PURPOSE_READ,
    SHARE_PURPOSE_UPLOAD,
    CreateShareLinkRequest,
    CreateShareLinkResponse,
    ListShareLinksRequest,
    ListShareLinksResponse,
    RevokeShareLinkRequest,
    ShareLink,
    SharePurpose,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import partition_of, resource_of, service_root, urls_in
from facade.request.json_body import json_body
from facade.request.query import first, integer, parameters_of
from facade.serving.observe import call_metadata

JSON = "application/json; charset=utf-8"
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

_PRIVATE = {"Content-Type": JSON, "Cache-Control": "no-store"}
_LIFETIME, _LABEL = "expiresInSeconds", "label"
_NAMES = {name.lower(): name for name in (_LIFETIME, _LABEL)}
_MAX_LIFETIME_S = 2**31


async def share(request: Request) -> Response:
    """POST …/$share: create a link for reading the study, series or instance."""
    return await _create(request, SHARE_PURPOSE_READ, resource_of(request))


async def share_for_upload(request: Request) -> Response:
    """POST …/$share-upload: create a link for storing instances into the partition."""
    return await _create(request, SHARE_PURPOSE_UPLOAD, Address(partition=partition_of(request)))


async def links(request: Request) -> Response:
    """GET /shares: a page of the valid links, newest first."""
    core: Core = request.app.state.core
    parameters = parameters_of(request)
    limit = integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    wanted = ListShareLinksRequest(page_size=limit, page_token=first(parameters, "pagetoken") or "")
    answer: ListShareLinksResponse = await core.call(core.shares.ListShareLinks, wanted, call_metadata(request))
    headers = dict(_PRIVATE)
    if answer.next_page_token:
        base = urls_in(request, "").base
        headers["Link"] = f'<{base}/shares?limit={limit}&pagetoken={answer.next_page_token}>; rel="next"'
    return Response(_json([_fields(link) for link in answer.links]), 200, headers)


async def revoke(request: Request) -> Response:
    """DELETE /shares/{link}: revoke a link."""
    core: Core = request.app.state.core
    wanted = RevokeShareLinkRequest(id=request.path_params["link"])
    await core.call(core.shares.RevokeShareLink, wanted, call_metadata(request))
    return Response(status_code=204)


async def _create(request: Request, purpose: SharePurpose, scope: Address) -> Response:
    wanted = CreateShareLinkRequest(purpose=purpose, scope=scope)
    if request.headers.get("content-length") != "0" and "content-type" in request.headers:
        _fill(wanted, await json_body(request))
    core: Core = request.app.state.core
    answer: CreateShareLinkResponse = await core.call(core.shares.CreateShareLink, wanted, call_metadata(request))
    url = f"{service_root(request)}/share/{answer.token}"
    base = f"{url}/{request.path_params['version'].name}"
    partition = partition_of(request)
    urls = {"url": url, "dicomwebUrl": f"{base}/partitions/{partition}" if partition else base}
    return Response(_json({**_fields(answer.link), **urls}), 201, _PRIVATE)


def _fill(wanted: CreateShareLinkRequest, body: Any) -> None:
    """Set lifetime and label from the body. Raises Refusal (400)."""
    if not isinstance(body, Mapping):
        raise Refusal(400, "The request body must be an object.")
    fields = {_NAMES.get(name.lower(), ""): value for name, value in body.items()}
    if "" in fields:
        raise Refusal(400, f"The request body is invalid: only {' and '.join(_NAMES.values())} are allowed.")
    lifetime, label = fields.get(_LIFETIME), fields.get(_LABEL)
    if lifetime is not None:
        if not isinstance(lifetime, int) or isinstance(lifetime, bool) or not 0 < lifetime < _MAX_LIFETIME_S:
            raise Refusal(400, f"The field '{_LIFETIME}' in request body is invalid: It must be a number of seconds.")
        wanted.lifetime.FromSeconds(lifetime)
    if label is not None:
        if not isinstance(label, str):
            raise Refusal(400, f"The field '{_LABEL}' in request body is invalid: It must be a string.")
        wanted.label = label


def _fields(link: ShareLink) -> dict[str, Any]:
    fields = {
        "id": link.id,
        "purpose": "upload" if link.purpose == SHARE_PURPOSE_UPLOAD else "read",
        "partitionName": link.scope.partition,
        "studyInstanceUid": link.scope.study_instance_uid,
        "seriesInstanceUid": link.scope.series_instance_uid,
        "sopInstanceUid": link.scope.sop_instance_uid,
        "label": link.label,
        "creator": link.creator,
        "createdTime": link.create_time.ToDatetime(UTC),
        "expiresTime": link.expire_time.ToDatetime(UTC),
    }
    return {name: value for name, value in fields.items() if value != ""}


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)
