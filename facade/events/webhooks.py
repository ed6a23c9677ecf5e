"""Webhooks and their dead letters (docs/events.md)."""

from datetime import UTC
from typing import Any

import orjson
from dicomstore.v1.webhook_service_pb2 import (
    CreateWebhookRequest,
    CreateWebhookResponse,
    DeadLetter,
    DeleteDeadLettersRequest,
    DeleteDeadLettersResponse,
    DeleteWebhookRequest,
    GetWebhookRequest,
    GetWebhookResponse,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ListWebhooksRequest,
    ListWebhooksResponse,
    RetryDeadLettersRequest,
    RetryDeadLettersResponse,
    TextList,
    UpdateWebhookRequest,
    UpdateWebhookResponse,
    Webhook,
)
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.request.addresses import urls_in
from facade.request.json_body import Fields, is_boolean, is_list_of_texts, is_text, json_body, typed_fields
from facade.request.query import first, integer, parameters_of
from facade.serving.observe import call_metadata

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


_OF_NEW: Fields = {
    "url": (is_text, "a text"),
    "label": (is_text, "a text"),
    "types": (is_list_of_texts, "a list of texts"),
    "partitions": (is_list_of_texts, "a list of texts"),
    "secret": (is_text, "a text"),
}
_OF_CHANGE: Fields = {**_OF_NEW, "enabled": (is_boolean, "a boolean"), "rotateSecret": (is_boolean, "a boolean")}


async def webhooks(request: Request) -> Response:
    """GET /webhooks: all webhooks, in order of creation."""
    core: Core = request.app.state.core
    answer: ListWebhooksResponse = await core.call(
        core.webhooks.ListWebhooks, ListWebhooksRequest(), call_metadata(request)
    )
    return _response(list(map(_fields, answer.webhooks)))


async def create(request: Request) -> Response:
    """POST /webhooks: create a webhook, and return it with its secret."""
    wanted = CreateWebhookRequest(**typed_fields(await json_body(request), _OF_NEW))
    core: Core = request.app.state.core
    answer: CreateWebhookResponse = await core.call(core.webhooks.CreateWebhook, wanted, call_metadata(request))
    location = f"{urls_in(request, '').base}/webhooks/{answer.webhook.id}"
    return _response({**_fields(answer.webhook), "secret": answer.secret}, 201, Location=location)


async def webhook(request: Request) -> Response:
    """GET /webhooks/{webhook}: a webhook and its state."""
    wanted = GetWebhookRequest(id=request.path_params["webhook"])
    core: Core = request.app.state.core
    answer: GetWebhookResponse = await core.call(core.webhooks.GetWebhook, wanted, call_metadata(request))
    return _response(_fields(answer.webhook))


async def update(request: Request) -> Response:
    """PATCH /webhooks/{webhook}: change a webhook."""
    fields = typed_fields(await json_body(request), _OF_CHANGE)
    if "rotateSecret" in fields:
        fields["rotate_secret"] = fields.pop("rotateSecret")
    for name in fields.keys() & {"types", "partitions"}:
        fields[name] = TextList(values=fields[name])
    wanted = UpdateWebhookRequest(id=request.path_params["webhook"], **fields)
    core: Core = request.app.state.core
    answer: UpdateWebhookResponse = await core.call(core.webhooks.UpdateWebhook, wanted, call_metadata(request))
    return _response({**_fields(answer.webhook), **({"secret": answer.secret} if answer.secret else {})})


async def delete(request: Request) -> Response:
    """DELETE /webhooks/{webhook}: remove a webhook with its undelivered events."""
    wanted = DeleteWebhookRequest(id=request.path_params["webhook"])
    core: Core = request.app.state.core
    await core.call(core.webhooks.DeleteWebhook, wanted, call_metadata(request))
    return Response(status_code=204)


async def dead_letters(request: Request) -> Response:
    """GET /webhooks/{webhook}/deadletters: a page of dead letters, in the order of the change feed."""
    parameters = parameters_of(request)
    wanted = ListDeadLettersRequest(
        webhook_id=request.path_params["webhook"],
        after_id=first(parameters, "after") or "",
        page_size=integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
    )
    core: Core = request.app.state.core
    answer: ListDeadLettersResponse = await core.call(core.webhooks.ListDeadLetters, wanted, call_metadata(request))
    return _response(list(map(_dead_letter, answer.dead_letters)))


async def retry(request: Request) -> Response:
    """POST /webhooks/{webhook}/deadletters/$retry: send dead letters again, all or those with the given ids."""
    wanted = RetryDeadLettersRequest(webhook_id=request.path_params["webhook"], ids=_ids(request))
    core: Core = request.app.state.core
    answer: RetryDeadLettersResponse = await core.call(core.webhooks.RetryDeadLetters, wanted, call_metadata(request))
    return _response({"retried": answer.retried})


async def delete_dead_letters(request: Request) -> Response:
    """DELETE /webhooks/{webhook}/deadletters: remove dead letters, all or those with the given ids."""
    wanted = DeleteDeadLettersRequest(webhook_id=request.path_params["webhook"], ids=_ids(request))
    core: Core = request.app.state.core
    answer: DeleteDeadLettersResponse = await core.call(core.webhooks.DeleteDeadLetters, wanted, call_metadata(request))
    return _response({"deleted": answer.deleted})


def _ids(request: Request) -> list[str]:
    return [parameter.value for parameter in parameters_of(request) if parameter.key == "id"]


def _fields(value: Webhook) -> dict[str, Any]:
    return {
        "id": value.id,
        "url": value.url,
        "label": value.label,
        "types": list(value.types),
        "partitions": list(value.partitions),
        "enabled": value.enabled,
        "created": _time(value.create_time),
        "creator": value.creator,
        "failures": value.failures,
        "problem": value.problem or None,
        "lastSuccess": _time(value.last_success_time) if value.HasField("last_success_time") else None,
        "waiting": value.waiting,
        "deadLetters": value.dead_letters,
        "sequence": value.sequence,
    }


def _dead_letter(value: DeadLetter) -> dict[str, Any]:
    fields = {
        "id": value.id,
        "eventId": value.event_id,
        "type": value.type,
        "partitionName": value.resource.partition,
        "studyInstanceUid": value.resource.study_instance_uid,
        "seriesInstanceUid": value.resource.series_instance_uid,
        "sopInstanceUid": value.resource.sop_instance_uid,
        "eventTime": _time(value.event_time),
        "attempts": value.attempts,
        "firstAttempt": _time(value.first_attempt_time),
        "deadTime": _time(value.dead_time),
        "problem": value.problem,
    }
    return {name: content for name, content in fields.items() if content != ""}


def _time(value: Timestamp) -> Any:
    return value.ToDatetime(UTC)


def _response(content: Any, status: int = 200, **headers: str) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, {**_HEADERS, **headers})
