"""Labels of studies, series and instances (docs/api.md, Labels)."""

from collections.abc import Mapping
from typing import Any

import orjson
from dicomstore.v1.label_service_pb2 import (
    ChangeLabelsRequest,
    ChangeLabelsResponse,
    GetLabelsRequest,
    GetLabelsResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import resource_of
from facade.request.json_body import json_body
from facade.serving.observe import call_metadata

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


async def labels(request: Request) -> Response:
    """GET …/labels: the labels of a study, series or instance as a JSON object."""
    core: Core = request.app.state.core
    wanted = GetLabelsRequest(resource=resource_of(request))
    answer: GetLabelsResponse = await core.call(core.labels.GetLabels, wanted, call_metadata(request))
    return _response(answer.labels)


async def replace(request: Request) -> Response:
    """PUT …/labels: replace all labels of a study, series or instance."""
    resource = resource_of(request)
    given = await _body(request)
    if None in given.values():
        raise _invalid()
    return await _changed(request, ChangeLabelsRequest(resource=resource, labels=given, replace=True))


async def change(request: Request) -> Response:
    """PATCH …/labels: set some labels, and remove those that are null (RFC 7396)."""
    resource = resource_of(request)
    given = await _body(request)
    new = {name: value for name, value in given.items() if value is not None}
    removed = given.keys() - new.keys()
    return await _changed(request, ChangeLabelsRequest(resource=resource, labels=new, removed_names=removed))


async def remove(request: Request) -> Response:
    """DELETE …/labels: remove all labels of a study, series or instance."""
    await _changed(request, ChangeLabelsRequest(resource=resource_of(request), replace=True))
    return Response(status_code=204)


async def _changed(request: Request, wanted: ChangeLabelsRequest) -> Response:
    core: Core = request.app.state.core
    answer: ChangeLabelsResponse = await core.call(core.labels.ChangeLabels, wanted, call_metadata(request))
    return _response(answer.labels)


async def _body(request: Request) -> dict[str, Any]:
    """Return the labels in the body of a request. Raises: Refusal."""
    given = await json_body(request)
    if not isinstance(given, dict) or not all(value is None or _is_text(value) for value in given.values()):
        raise _invalid()
    if not all(map(_is_text, given)):
        raise _invalid()
    return given


def _is_text(value: Any) -> bool:
    """Return whether a value is text that a message can carry, which excludes single surrogates."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _invalid() -> Refusal:
    return Refusal(400, "The body must be a JSON object whose members are labels: names and values as strings.")


def _response(labels: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(dict(sorted(labels.items()))), 200, _HEADERS)
