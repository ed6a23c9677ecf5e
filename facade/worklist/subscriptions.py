"""Subscriptions to workitems (PS3.18 sections 11.10 to 11.12, PS3.4 section CC.2.3)."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any
from urllib.parse import quote

import orjson
from dicomstore.v1.workitem_event_service_pb2 import (
    ListWorkitemSubscribersRequest,
    ListWorkitemSubscribersResponse,
    SubscribeToWorkitemsRequest,
    SubscribeToWorkitemsResponse,
    SuspendWorklistSubscriptionRequest,
    SuspendWorklistSubscriptionResponse,
    UnsubscribeFromWorkitemsRequest,
    UnsubscribeFromWorkitemsResponse,
    WorkitemSubscriber,
)
from dicomstore.v1.workitem_service_pb2 import WorkitemTerm
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import parse_uid, partition_of, urls_of
from facade.request.query import Parameter, boolean, first, integer, parameters_of, prefers_strict
from facade.request.search_query import Search, parse_search, shown_names
from facade.serving.observe import call_metadata

WORKLIST = "1.2.840.10008.5.1.4.34.5"
FILTERED_WORKLIST = "1.2.840.10008.5.1.4.34.5.1"
"""Well-known UIDs of the worklist and of a filtered worklist (PS3.4 Table CC.2.3-1)."""

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_OPTIONS = frozenset({"deletionlock", "filter", "accept", "charset"})
"""Parameters of a subscription that are not attributes of a filter."""


async def subscribe(request: Request) -> Response:
    """POST /workitems/{workitem}/subscribers/{aetitle}: subscribe to a workitem or worklist, 201 with its channel."""
    parameters = parameters_of(request)
    strict = prefers_strict(request)
    uid = _uid(request)
    query = filter_of(parameters, strict=strict)
    if query.terms and uid != FILTERED_WORKLIST:
        names = shown_names(list(query.terms))
        raise Refusal(
            400,
            f"The subscription does not support these parameters: {names}. Its option is deletionlock; "
            f"only a subscription to the filtered worklist {FILTERED_WORKLIST} has a filter.",
        )
    if strict and uid == FILTERED_WORKLIST and not query.terms:
        raise Refusal(400, "The parameter filter is required.")
    wanted = SubscribeToWorkitemsRequest(
        partition=partition_of(request),
        workitem_uid=uid,
        ae_title=request.path_params["aetitle"],
        deletion_lock=boolean(parameters, "deletionlock", False),
        terms=[WorkitemTerm(attribute=name, values=values) for name, values in query.terms.items()],
        fuzzy_matching=query.fuzzy,
        empty_value_matching=query.matches_empty,
        strict=strict,
    )
    core: Core = request.app.state.core
    answer: SubscribeToWorkitemsResponse = await core.call(
        core.workitem_events.SubscribeToWorkitems, wanted, call_metadata(request)
    )
    response = Response(status_code=201, headers={"Content-Location": channel_url(request, wanted.ae_title)})
    if answer.ignored_attributes:
        names = shown_names(answer.ignored_attributes)
        response.headers["Warning"] = f'299 dicomstore "These parameters were ignored: {names}."'
    return response


async def unsubscribe(request: Request) -> Response:
    """DELETE /workitems/{workitem}/subscribers/{aetitle}: end a subscription, or with a worklist all of them."""
    wanted = UnsubscribeFromWorkitemsRequest(
        partition=partition_of(request), workitem_uid=_uid(request), ae_title=request.path_params["aetitle"]
    )
    core: Core = request.app.state.core
    answer: UnsubscribeFromWorkitemsResponse = await core.call(
        core.workitem_events.UnsubscribeFromWorkitems, wanted, call_metadata(request)
    )
    return _changed(answer.unchanged)


async def suspend(request: Request) -> Response:
    """POST /workitems/{worklist}/subscribers/{aetitle}/suspend: subscribe to no more new workitems."""
    if _uid(request) not in (WORKLIST, FILTERED_WORKLIST):
        raise Refusal(404, "Only a subscription to the worklist or to a filtered worklist can be suspended.")
    wanted = SuspendWorklistSubscriptionRequest(
        partition=partition_of(request), ae_title=request.path_params["aetitle"]
    )
    core: Core = request.app.state.core
    answer: SuspendWorklistSubscriptionResponse = await core.call(
        core.workitem_events.SuspendWorklistSubscription, wanted, call_metadata(request)
    )
    return _changed(answer.unchanged)


async def subscribers(request: Request) -> Response:
    """GET /subscribers: a page of subscribers, by AE title."""
    parameters = parameters_of(request)
    wanted = ListWorkitemSubscribersRequest(
        partition=partition_of(request),
        after_ae_title=first(parameters, "after") or "",
        page_size=integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
    )
    core: Core = request.app.state.core
    answer: ListWorkitemSubscribersResponse = await core.call(
        core.workitem_events.ListWorkitemSubscribers, wanted, call_metadata(request)
    )
    content = orjson.dumps(list(map(_fields, answer.subscribers)), option=orjson.OPT_UTC_Z)
    return Response(content, 200, {"Content-Type": "application/json"})


def filter_of(parameters: Sequence[Parameter], *, strict: bool) -> Search:
    """Return the matching keys of a subscription or stream.

    They are the values of `filter`, a list of `attribute=value` with commas (PS3.18 section 11.10.1.2), and all
    parameters that are no options, as earlier editions had them (2019a section 6.9.7). A part of the list without an
    attribute belongs to the value before it, which may be a list of UIDs.

    Raises:
        Refusal: 400.
    """
    keys = [one for one in parameters if one.key not in _OPTIONS]
    for parameter in parameters:
        if parameter.key == "filter":
            keys += _filter_keys(parameter.value)
    query = parse_search(keys, strict=strict)
    if query.labels or query.prior_record_key:
        raise Refusal(400, "Workitems have neither labels nor record keys.")
    return query


def channel_url(request: Request, ae_title: str) -> str:
    """Return the URL of the event channel of a subscriber: ws, or wss if the client uses HTTPS."""
    return f"ws{urls_of(request).base.removeprefix('http')}/subscribers/{quote(ae_title, safe='')}"


def _changed(unchanged: bool) -> Response:
    """Return the response to the end or suspension of a subscription (PS3.18 Tables 11.11.3-1 and 11.12.3-1)."""
    if unchanged:
        raise Refusal(404, "There is no such subscription.")
    return Response(status_code=200)


def _filter_keys(text: str) -> list[Parameter]:
    keys: list[Parameter] = []
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if equals and name.strip():
            keys.append(Parameter(name.strip(), value))
        elif keys and not equals:
            keys[-1] = Parameter(keys[-1].name, f"{keys[-1].value},{part}")
        else:
            raise Refusal(400, "The parameter filter must be a list of attribute=value.")
    return keys


def _uid(request: Request) -> str:
    return parse_uid(request.path_params["workitem"], "workitem")


def _fields(value: WorkitemSubscriber) -> dict[str, Any]:
    worklist = value.worklist
    return {
        "aeTitle": value.ae_title,
        "worklist": {
            "deletionLock": worklist.deletion_lock,
            "filter": {term.attribute: list(term.values) for term in worklist.terms},
        }
        if value.HasField("worklist")
        else None,
        "hasEarlierWorklist": value.has_earlier_worklist,
        "workitems": value.workitems,
        "lockedWorkitems": value.locked_workitems,
        "pendingEvents": value.pending_events,
        "updated": value.update_time.ToDatetime(UTC),
    }
