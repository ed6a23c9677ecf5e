"""Versions of instances: history, differences, and reverting (docs/api.md, Versions)."""

import re
from collections.abc import AsyncGenerator
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import orjson
from dicomstore.v1.version_service_pb2 import (
    AttributeDifference,
    CompareVersionsRequest,
    DifferenceKind,
    InstanceVersion,
    ListVersionsRequest,
    ListVersionsResponse,
    RevertInstanceRequest,
    RevertInstanceResponse,
    VersionOrigin,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure, Refusal
from facade.request.addresses import resource_of, urls_of
from facade.request.query import first, integer, parameters_of
from facade.request.reason import reason_of
from facade.response.dicom_json import array_chunks
from facade.response.streaming import StreamedResponse
from facade.serving.observe import call_metadata

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
_NUMBER = re.compile("[0-9]{1,18}")


async def versions(request: Request) -> Response:
    """GET …/versions: a page of the versions of a study, series or instance, in order of creation."""
    parameters = parameters_of(request)
    resource = resource_of(request)
    limit = integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    wanted = ListVersionsRequest(resource=resource, page_size=limit, page_token=first(parameters, "pagetoken") or "")
    core: Core = request.app.state.core
    answer: ListVersionsResponse = await core.call(core.versions.ListVersions, wanted, call_metadata(request))
    headers = dict(_HEADERS)
    if answer.next_page_token:
        query = urlencode({"limit": str(limit), "pagetoken": answer.next_page_token})
        headers["Link"] = f'<{urls_of(request).resource(resource)}/versions?{query}>; rel="next"'
    body = orjson.dumps([_fields(version) for version in answer.versions], option=orjson.OPT_UTC_Z)
    return Response(body, 200, headers)


async def difference(request: Request) -> Response:
    """GET …/versions/{number}/difference: the attributes in which a version differs from an earlier one."""
    wanted = CompareVersionsRequest(
        instance=resource_of(request),
        version=_number(request),
        from_version=integer(parameters_of(request), "from", 0, 1),
    )
    core: Core = request.app.state.core
    stream = core.messages(core.versions.CompareVersions(wanted, metadata=call_metadata(request)))
    message = await anext(stream, None)
    if message is None:
        raise CoreFailure("INTERNAL", "", "the stream is empty")

    async def pages() -> AsyncGenerator[list[bytes], None]:
        yield [_difference(one) for one in message.differences]
        async for more in stream:
            yield [_difference(one) for one in more.differences]

    return StreamedResponse(array_chunks(pages()), _HEADERS, source=stream, idle_seconds=core.idle_seconds)


async def revert(request: Request) -> Response:
    """POST …/versions/{number}/$revert: make the content of a version the current one."""
    wanted = RevertInstanceRequest(
        instance=resource_of(request), version=_number(request), reason=reason_of(request, parameters_of(request))
    )
    core: Core = request.app.state.core
    answer: RevertInstanceResponse = await core.call(core.versions.RevertInstance, wanted, call_metadata(request))
    return Response(orjson.dumps({"version": answer.version}), 200, _HEADERS)


def _number(request: Request) -> int:
    """Return the version in the path. Raises Refusal (400)."""
    text = request.path_params["number"]
    if not _NUMBER.fullmatch(text) or not int(text):
        raise Refusal(400, "A version is a number from 1.")
    return int(text)


def _fields(version: InstanceVersion) -> dict[str, Any]:
    fields = {
        "partitionName": version.instance.partition,
        "studyInstanceUid": version.instance.study_instance_uid,
        "seriesInstanceUid": version.instance.series_instance_uid,
        "sopInstanceUid": version.instance.sop_instance_uid,
        "version": version.version,
        "isCurrent": not version.HasField("replace_time"),
        "createdTime": version.create_time.ToDatetime(UTC),
        "replacedTime": version.replace_time.ToDatetime(UTC) if version.HasField("replace_time") else "",
        "origin": VersionOrigin.Name(version.origin).removeprefix("VERSION_ORIGIN_").lower(),
        "author": version.author,
        "reason": version.reason,
        "transferSyntaxUid": version.transfer_syntax_uid,
        "size": version.size_bytes,
    }
    return {name: value for name, value in fields.items() if value != ""}


def _difference(one: AttributeDifference) -> bytes:
    fields: dict[str, Any] = {
        "path": one.path,
        "keyword": one.keyword,
        "vr": one.vr,
        "change": DifferenceKind.Name(one.kind).removeprefix("DIFFERENCE_KIND_").lower(),
    }
    fields |= {name: orjson.Fragment(text) for name, text in (("before", one.before), ("after", one.after)) if text}
    return orjson.dumps({name: value for name, value in fields.items() if value != ""})
