"""Listing and restoring deleted instances (docs/api.md, Deleting)."""

from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import orjson
from dicomstore.v1.lifecycle_service_pb2 import (
    Deletion,
    ListDeletionsRequest,
    ListDeletionsResponse,
    UndeleteInstancesRequest,
    UndeleteInstancesResponse,
)
from dicomstore.v1.resources_pb2 import Address
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import parse_uid, partition_of, resource_of, urls_of
from facade.request.query import first, integer, invalid, parameters_of
from facade.request.times import time_window
from facade.serving.observe import call_metadata

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


async def undelete(request: Request) -> Response:
    """POST …/$undelete: restore the deleted instances of a study, series or instance; 404 if there are none."""
    resource = resource_of(request)
    core: Core = request.app.state.core
    answer: UndeleteInstancesResponse = await core.call(
        core.lifecycle.UndeleteInstances, UndeleteInstancesRequest(resource=resource), call_metadata(request)
    )
    if not answer.restored_instances:
        raise Refusal(404, "There are no deleted instances to restore.")
    return Response(orjson.dumps({"restoredInstances": answer.restored_instances}), 200, _HEADERS)


async def deleted(request: Request) -> Response:
    """GET /deleted: a page of the deletions whose instances can still be restored, newest first."""
    parameters = parameters_of(request)
    limit = integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    given = {name: first(parameters, name.lower()) for name in (*_UIDS, "startTime", "endTime")}
    start, end = time_window(parameters)
    wanted = ListDeletionsRequest(
        scope=_scope(request, *(given[name] for name in _UIDS)),
        start_time=start,
        end_time=end,
        page_size=limit,
        page_token=first(parameters, "pagetoken") or "",
    )
    core: Core = request.app.state.core
    answer: ListDeletionsResponse = await core.call(core.lifecycle.ListDeletions, wanted, call_metadata(request))
    headers = dict(_HEADERS)
    if answer.next_page_token:
        query = {name: value for name, value in given.items() if value is not None}
        query |= {"limit": str(limit), "pagetoken": answer.next_page_token}
        headers["Link"] = f'<{urls_of(request).base}/deleted?{urlencode(query)}>; rel="next"'
    body = orjson.dumps([_fields(deletion) for deletion in answer.deletions], option=orjson.OPT_UTC_Z)
    return Response(body, 200, headers)


def _scope(request: Request, study: str | None, series: str | None, instance: str | None) -> Address:
    """Return the address to which the parameters limit the list. Raises Refusal (400)."""
    uids = [uid and parse_uid(uid, name) for uid, name in zip((study, series, instance), _UIDS, strict=True)]
    for above, below, name in zip(uids, uids[1:], _UIDS[1:], strict=False):
        if below and not above:
            raise invalid(name, "The UIDs of the levels above are required.")
    return Address(
        partition=partition_of(request),
        study_instance_uid=uids[0],
        series_instance_uid=uids[1],
        sop_instance_uid=uids[2],
    )


def _fields(deletion: Deletion) -> dict[str, Any]:
    fields = {
        "partitionName": deletion.resource.partition,
        "studyInstanceUid": deletion.resource.study_instance_uid,
        "seriesInstanceUid": deletion.resource.series_instance_uid,
        "sopInstanceUid": deletion.resource.sop_instance_uid,
        "deletedTime": deletion.delete_time.ToDatetime(UTC),
        "author": deletion.author,
        "reason": deletion.reason,
        "instances": deletion.instances,
        "erasedTime": deletion.erase_time.ToDatetime(UTC),
    }
    return {name: value for name, value in fields.items() if value != ""}
