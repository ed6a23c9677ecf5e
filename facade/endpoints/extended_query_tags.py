"""Extended query tags: additional searchable attributes (docs/api.md, Extended query tags)."""

from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.extended_query_tag_service_pb2 import (
    AddExtendedQueryTagsRequest,
    AddExtendedQueryTagsResponse,
    DeleteExtendedQueryTagRequest,
    ExtendedQueryTag,
    ExtendedQueryTagError,
    GetExtendedQueryTagRequest,
    GetExtendedQueryTagResponse,
    ListExtendedQueryTagErrorsRequest,
    ListExtendedQueryTagErrorsResponse,
    ListExtendedQueryTagsRequest,
    ListExtendedQueryTagsResponse,
    NewExtendedQueryTag,
    QueryStatus,
    TagLevel,
    TagStatus,
    UpdateExtendedQueryTagRequest,
    UpdateExtendedQueryTagResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.endpoints.operations import reference, running_already, started
from facade.errors import CoreFailure, Refusal
from facade.request.addresses import urls_in
from facade.request.json_body import fields_of, invalid_choice, json_body
from facade.request.query import integer, parameters_of
from facade.response.keywords import keyword_of
from facade.serving.observe import call_metadata

JSON = "application/json; charset=utf-8"
DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_FIELDS = {name.lower(): name for name in ("path", "vr", "privateCreator", "level")}
_CHANGES = {"querystatus": "queryStatus"}
_LEVELS = {
    "instance": TagLevel.TAG_LEVEL_INSTANCE,
    "series": TagLevel.TAG_LEVEL_SERIES,
    "study": TagLevel.TAG_LEVEL_STUDY,
}
_LEVEL_NAMES = {value: name for name, value in _LEVELS.items()}
_QUERY_STATUSES = {
    "enabled": QueryStatus.QUERY_STATUS_ENABLED,
    "disabled": QueryStatus.QUERY_STATUS_DISABLED,
}
_QUERY_STATUS_NAMES = {value: name for name, value in _QUERY_STATUSES.items()}


async def add(request: Request) -> Response:
    """POST /extendedquerytags: add query tags, all or none, and start to index stored instances."""
    body = await json_body(request)
    if not isinstance(body, list) or not body:
        raise Refusal(400, "The field '$' in request body is invalid: It must be a non-empty list of tags.")
    wanted = AddExtendedQueryTagsRequest(tags=[_new_tag(one, number) for number, one in enumerate(body)])
    core: Core = request.app.state.core
    try:
        answer: AddExtendedQueryTagsResponse = await core.call(
            core.tags.AddExtendedQueryTags, wanted, call_metadata(request)
        )
    except CoreFailure as failure:
        if failure.reason == "OPERATION_RUNNING":
            raise running_already(request, failure.metadata.get("operation", "")) from failure
        raise
    return started(request, answer.operation.id)


async def tags(request: Request) -> Response:
    """GET /extendedquerytags: a page of query tags, in the order in which they were added."""
    limit, offset = _window(request)
    core: Core = request.app.state.core
    answer: ListExtendedQueryTagsResponse = await core.call(
        core.tags.ListExtendedQueryTags,
        ListExtendedQueryTagsRequest(page_size=limit, skip=offset),
        call_metadata(request),
    )
    return _json([_tag(request, tag) for tag in answer.tags])


async def tag(request: Request) -> Response:
    """GET /extendedquerytags/{tag}."""
    core: Core = request.app.state.core
    wanted = GetExtendedQueryTagRequest(path=request.path_params["tag"])
    answer: GetExtendedQueryTagResponse = await core.call(core.tags.GetExtendedQueryTag, wanted, call_metadata(request))
    return _json(_tag(request, answer.tag))


async def update(request: Request) -> Response:
    """PATCH /extendedquerytags/{tag}: enable or disable a query tag for searches."""
    fields = fields_of(await json_body(request), _CHANGES, "")
    written = fields.get("queryStatus", "")
    status = _QUERY_STATUSES.get(written.lower())
    if status is None:
        raise invalid_choice("$.QueryStatus", written, ["Enabled", "Disabled"])
    core: Core = request.app.state.core
    wanted = UpdateExtendedQueryTagRequest(path=request.path_params["tag"], query_status=status)
    answer: UpdateExtendedQueryTagResponse = await core.call(
        core.tags.UpdateExtendedQueryTag, wanted, call_metadata(request)
    )
    return _json(_tag(request, answer.tag))


async def delete(request: Request) -> Response:
    """DELETE /extendedquerytags/{tag}: delete a query tag and its index entries."""
    core: Core = request.app.state.core
    wanted = DeleteExtendedQueryTagRequest(path=request.path_params["tag"])
    await core.call(core.tags.DeleteExtendedQueryTag, wanted, call_metadata(request))
    return Response(status_code=204)


async def errors(request: Request) -> Response:
    """GET /extendedquerytags/{tag}/errors: a page of indexing errors, oldest first."""
    limit, offset = _window(request)
    core: Core = request.app.state.core
    answer: ListExtendedQueryTagErrorsResponse = await core.call(
        core.tags.ListExtendedQueryTagErrors,
        ListExtendedQueryTagErrorsRequest(path=request.path_params["tag"], page_size=limit, skip=offset),
        call_metadata(request),
    )
    return _json([_error(error) for error in answer.errors])


def _new_tag(one: object, number: int) -> NewExtendedQueryTag:
    fields = fields_of(one, _FIELDS, f"$[{number}]")
    written = fields.get("level", "")
    level = _LEVELS.get(written.lower(), TagLevel.TAG_LEVEL_UNSPECIFIED)
    if written.strip() and not level:
        raise invalid_choice(f"$[{number}].Level", written, ["Instance", "Series", "Study"])
    return NewExtendedQueryTag(
        path=fields.get("path", ""),
        vr=fields.get("vr", "").strip().upper(),
        private_creator=fields.get("privateCreator", ""),
        level=level,
    )


def _window(request: Request) -> tuple[int, int]:
    parameters = parameters_of(request)
    return integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT), integer(parameters, "offset", 0, 0)


def _tag(request: Request, tag: ExtendedQueryTag) -> dict[str, Any]:
    url = f"{urls_in(request, '').base}/extendedquerytags/{tag.tag}"
    fields: dict[str, Any] = {
        "path": tag.tag,
        "keyword": None if tag.private_creator else keyword_of(tag.tag) or None,
        "vr": tag.vr,
        "privateCreator": tag.private_creator or None,
        "level": _LEVEL_NAMES.get(tag.level),
        "status": TagStatus.Name(tag.status).removeprefix("TAG_STATUS_").lower(),
        "queryStatus": _QUERY_STATUS_NAMES.get(tag.query_status),
        "errors": {"count": tag.error_count, "href": f"{url}/errors"} if tag.error_count else None,
        "operation": reference(request, tag.operation_id) if tag.operation_id else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _error(error: ExtendedQueryTagError) -> dict[str, Any]:
    return {
        "studyInstanceUid": error.instance.study_instance_uid,
        "seriesInstanceUid": error.instance.series_instance_uid,
        "sopInstanceUid": error.instance.sop_instance_uid,
        "createdTime": error.time.ToDatetime(UTC),
        "errorMessage": error.message,
        "partitionName": error.instance.partition,
    }


def _json(value: object) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_UTC_Z), 200, {"Content-Type": JSON})
