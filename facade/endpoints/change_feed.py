"""The change feed: creations and deletions of instances in all partitions, in order (docs/api.md, Change feed)."""

from collections.abc import Sequence
from datetime import UTC

import orjson
from dicomstore.v1.change_feed_service_pb2 import (
    ChangeAction,
    ChangeEntry,
    ChangeState,
    GetLatestChangeRequest,
    GetLatestChangeResponse,
    ListChangesRequest,
    ListChangesResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.request.addresses import urls_in
from facade.request.query import Parameter, boolean, integer, parameters_of
from facade.request.times import time_window
from facade.response.dicom_json import array, with_bulk_data_urls
from facade.serving.observe import call_metadata
from facade.versions import ApiVersion

JSON = "application/json; charset=utf-8"

# A newer core may send other values; these are shown as "Unknown".
_ACTIONS = {value: name.removeprefix("CHANGE_ACTION_").capitalize() for name, value in ChangeAction.items()}
_STATES = {value: name.removeprefix("CHANGE_STATE_").capitalize() for name, value in ChangeState.items()}


async def changes(request: Request) -> Response:
    """GET /changefeed: one page, oldest first."""
    wanted = parse_window(parameters_of(request), request.path_params["version"])
    core: Core = request.app.state.core
    answer: ListChangesResponse = await core.call(core.changes.ListChanges, wanted, call_metadata(request))
    partitioned = await is_partitioned(request)
    body = array(entry_json(request, entry, partitioned) for entry in answer.entries)
    return Response(body, 200, {"Content-Type": JSON})


async def latest_change(request: Request) -> Response:
    """GET /changefeed/latest: the newest entry, or 204 if the feed is empty."""
    metadata = boolean(parameters_of(request), "includeMetadata", True)
    core: Core = request.app.state.core
    answer: GetLatestChangeResponse = await core.call(
        core.changes.GetLatestChange, GetLatestChangeRequest(include_metadata=metadata), call_metadata(request)
    )
    return Response(entry_json(request, answer.entry, await is_partitioned(request)), 200, {"Content-Type": JSON})


def parse_window(parameters: Sequence[Parameter], version: ApiVersion) -> ListChangesRequest:
    """Return the request for the entries that the parameters select.

    Raises:
        Refusal: 400.
    """
    offset = integer(parameters, "offset", 0, 0)
    limit = integer(parameters, "limit", version.feed_limit_default, 1, version.feed_limit_maximum)
    metadata = boolean(parameters, "includeMetadata", True)
    if not version.feed_is_paged_by_rows:
        return ListChangesRequest(
            after_sequence=offset, through_sequence=offset + limit, page_size=limit, include_metadata=metadata
        )
    start, end = time_window(parameters)
    return ListChangesRequest(
        start_time=start,
        end_time=end,
        skip=offset,
        page_size=limit,
        include_metadata=metadata,
    )


def action_of(entry: ChangeEntry) -> str:
    """Return the action of an entry as in its JSON."""
    return _ACTIONS.get(entry.action, "Unknown")


def entry_json(request: Request, entry: ChangeEntry, partitioned: bool) -> bytes:
    """Return an entry as one line of JSON, without parsing its metadata."""
    uids = entry.instance
    fields = orjson.dumps(
        {
            "sequence": entry.sequence,
            "partitionName": uids.partition,
            "studyInstanceUid": uids.study_instance_uid,
            "seriesInstanceUid": uids.series_instance_uid,
            "sopInstanceUid": uids.sop_instance_uid,
            "action": action_of(entry),
            "timestamp": entry.time.ToDatetime(UTC),
            "state": _STATES.get(entry.state, "Unknown"),
        },
        option=orjson.OPT_UTC_Z,
    )
    if not entry.dicom_json:
        return fields
    urls = urls_in(request, uids.partition if partitioned else "")
    url = urls.instance(uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
    return fields[:-1] + b',"metadata":' + with_bulk_data_urls(entry.dicom_json, url) + b"}"


async def is_partitioned(request: Request) -> bool:
    """Return whether URLs contain a partition. URLs of the feed have none, so this calls the core."""
    core: Core = request.app.state.core
    capabilities = await core.get_capabilities(call_metadata(request))
    return bool(capabilities.features.partitions)
