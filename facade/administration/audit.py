"""Search in the audit trail (docs/audit.md)."""

from contextlib import aclosing

import orjson
from dicomstore.v1.audit_service_pb2 import AuditFilter, SearchAuditEventsRequest
from starlette.requests import Request
from starlette.responses import Response

from facade.administration.lists import list_response, page_of
from facade.channel import Core
from facade.request.addresses import parse_uid
from facade.request.query import first, invalid, parameters_of
from facade.request.times import time_window
from facade.serving.observe import call_metadata

_TEXTS = {
    "principal": "principal",
    "partition": "partition",
    "action": "action",
    "outcome": "outcome",
    "requestId": "request_id",
    "client": "client",
}
_UIDS = {
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "SOPInstanceUID": "sop_instance_uid",
}
_NEWEST, _OLDEST = "newest", "oldest"


async def events(request: Request) -> Response:
    """GET /audit: a page of the records that match, newest first by default."""
    parameters = parameters_of(request)
    page = page_of(parameters)
    start, end = time_window(parameters)
    order = first(parameters, "order") or _NEWEST
    if order not in (_NEWEST, _OLDEST):
        raise invalid("order", f"The value must be {_NEWEST} or {_OLDEST}.")
    texts = {name: first(parameters, name) for name in _TEXTS}
    uids = {name: first(parameters, name) for name in _UIDS}
    wanted = AuditFilter(
        start_time=start,
        end_time=end,
        **{field: texts[name] for name, field in _TEXTS.items()},
        **{field: uids[name] and parse_uid(uids[name] or "", name) for name, field in _UIDS.items()},
    )
    core_request = SearchAuditEventsRequest(
        filter=wanted, limit=page.limit, page_token=page.token, newest_first=order == _NEWEST
    )
    core: Core = request.app.state.core
    records: list[orjson.Fragment] = []
    token = ""
    async with aclosing(
        core.messages(core.audit.SearchAuditEvents(core_request, metadata=call_metadata(request)))
    ) as messages:
        async for message in messages:
            records += [orjson.Fragment(event.data) for event in message.events]
            token = message.next_page_token
    window = {name: first(parameters, name) for name in ("startTime", "endTime", "order")}
    is_full = len(records) == page.limit
    return list_response(request, "/audit", records, page, token if is_full else "", {**window, **texts, **uids})
