"""Transfers between the archive and other systems (docs/api.md, Transfers)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import orjson
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.search_service_pb2 import Term
from dicomstore.v1.transfer_service_pb2 import (
    RETRIEVE_METHOD_GET,
    RETRIEVE_METHOD_MOVE,
    RETRIEVE_METHOD_UNSPECIFIED,
    TRANSFER_STATE_CANCELED,
    TRANSFER_STATE_FAILED,
    TRANSFER_STATE_RUNNING,
    TRANSFER_STATE_SUCCEEDED,
    TRANSFER_STATE_WAITING,
    CancelTransferRequest,
    CreateTransferRequest,
    CreateTransferResponse,
    GetTransferRequest,
    GetTransferResponse,
    ListTransfersRequest,
    ListTransfersResponse,
    Notification,
    Pull,
    RetrieveMethod,
    RetryTransferRequest,
    RetryTransferResponse,
    Send,
    Transfer,
    TransferState,
)
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import parse_uid, partition_of, urls_in, urls_of
from facade.request.json_body import (
    Fields,
    invalid_choice,
    invalid_field,
    is_list_of_texts,
    is_text,
    json_body,
    typed_fields,
)
from facade.request.query import first, integer, parameters_of
from facade.serving.observe import call_metadata

DEFAULT_LIMIT = 100
MAX_LIMIT = 200

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
_STATES: Mapping[str, TransferState] = MappingProxyType(
    {
        "waiting": TRANSFER_STATE_WAITING,
        "running": TRANSFER_STATE_RUNNING,
        "succeeded": TRANSFER_STATE_SUCCEEDED,
        "failed": TRANSFER_STATE_FAILED,
        "canceled": TRANSFER_STATE_CANCELED,
    }
)
_STATE_NAMES = {state: name for name, state in _STATES.items()}
_METHODS: Mapping[str, RetrieveMethod] = MappingProxyType({"move": RETRIEVE_METHOD_MOVE, "get": RETRIEVE_METHOD_GET})
_METHOD_NAMES = {method: name for name, method in _METHODS.items()}
_TYPES = ["pull", "send", "notification"]
_UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
_NAMES = ("Study Instance UID", "Series Instance UID", "SOP Instance UID")


def _is_mapping_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_text, value.values()))


_OF_NEW: Fields = {
    "type": (is_text, "a text"),
    "remote": (is_text, "a text"),
    "resources": (is_list_of_texts, "a list of texts"),
    "keys": (_is_mapping_of_texts, "an object of texts"),
    "method": (is_text, "a text"),
    "requestId": (is_text, "a text"),
}


async def transfers(request: Request) -> Response:
    """GET /transfers: a page of transfers, newest first."""
    parameters = parameters_of(request)
    limit = integer(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    state, remote = first(parameters, "state") or "", first(parameters, "remote") or ""
    if state and state not in _STATES:
        raise Refusal(400, f"state must be one of {', '.join(_STATES)}.")
    wanted = ListTransfersRequest(
        page_size=limit,
        page_token=first(parameters, "pagetoken") or "",
        states=[_STATES[state]] if state else [],
        remote=remote,
        partition=partition_of(request),
    )
    core: Core = request.app.state.core
    answer: ListTransfersResponse = await core.call(core.transfers.ListTransfers, wanted, call_metadata(request))
    headers = {}
    if answer.next_page_token:
        query = {"state": state, "remote": remote, "limit": str(limit), "pagetoken": answer.next_page_token}
        following = urlencode({name: value for name, value in query.items() if value})
        headers["Link"] = f'<{urls_of(request).base}/transfers?{following}>; rel="next"'
    return _response(list(map(_fields, answer.transfers)), 200, headers)


async def create(request: Request) -> Response:
    """POST /transfers: create a transfer; 202 with its state."""
    wanted = _wanted(typed_fields(await json_body(request), _OF_NEW))
    wanted.partition = partition_of(request)
    core: Core = request.app.state.core
    answer: CreateTransferResponse = await core.call(core.transfers.CreateTransfer, wanted, call_metadata(request))
    location = f"{urls_in(request, '').base}/transfers/{answer.transfer.id}"
    return _response(_fields(answer.transfer), 202, {"Location": location})


async def transfer(request: Request) -> Response:
    """GET /transfers/{transfer}: a transfer with its progress."""
    wanted = GetTransferRequest(id=request.path_params["transfer"])
    core: Core = request.app.state.core
    answer: GetTransferResponse = await core.call(core.transfers.GetTransfer, wanted, call_metadata(request))
    return _response(_fields(answer.transfer))


async def cancel(request: Request) -> Response:
    """DELETE /transfers/{transfer}: cancel a transfer; what was transferred remains."""
    wanted = CancelTransferRequest(id=request.path_params["transfer"])
    core: Core = request.app.state.core
    await core.call(core.transfers.CancelTransfer, wanted, call_metadata(request))
    return Response(status_code=202)


async def retry(request: Request) -> Response:
    """POST /transfers/{transfer}/$retry: begin a failed, cancelled or waiting transfer again, now."""
    wanted = RetryTransferRequest(id=request.path_params["transfer"])
    core: Core = request.app.state.core
    answer: RetryTransferResponse = await core.call(core.transfers.RetryTransfer, wanted, call_metadata(request))
    return _response(_fields(answer.transfer), 202)


def _wanted(fields: Mapping[str, Any]) -> CreateTransferRequest:
    """Return the request of a body. Raises: Refusal, 400."""
    for name in ("type", "remote"):
        if name not in fields:
            raise Refusal(400, f"The required field '{name}' is missing.")
    wanted = CreateTransferRequest(remote=fields["remote"], request_id=fields.get("requestId", ""))
    resources = [_address(value) for value in fields.get("resources", ())]
    if fields["type"] != "pull" and not fields.keys().isdisjoint({"keys", "method"}):
        raise invalid_field("type", "Only a pull has keys and method.")
    match fields["type"]:
        case "pull":
            keys = [Term(attribute=name, values=[value]) for name, value in fields.get("keys", {}).items()]
            wanted.pull.CopyFrom(Pull(resources=resources, keys=keys, method=_method(fields.get("method"))))
        case "send":
            wanted.send.CopyFrom(Send(resources=resources))
        case "notification":
            if len(resources) != 1 or resources[0].series_instance_uid:
                raise invalid_field("resources", "A notification is about one study.")
            wanted.notification.CopyFrom(Notification(study=resources[0]))
        case other:
            raise invalid_choice("type", other, _TYPES)
    return wanted


def _method(name: str | None) -> RetrieveMethod:
    if name is None:
        return RETRIEVE_METHOD_UNSPECIFIED
    if name not in _METHODS:
        raise invalid_choice("method", name, list(_METHODS))
    return _METHODS[name]


def _address(value: str) -> Address:
    parts = value.strip("/").split("/")
    if not 1 <= len(parts) <= len(_UIDS):
        raise invalid_field("resources", "A resource is STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE.")
    uids = {field: parse_uid(part, name) for field, name, part in zip(_UIDS, _NAMES, parts, strict=False)}
    return Address(**uids)


def _fields(value: Transfer) -> dict[str, Any]:
    waits = value.HasField("next_attempt_time")
    progress = value.progress
    return {
        "id": value.id,
        "partition": value.partition,
        "remote": value.remote,
        **_work(value),
        "state": _STATE_NAMES.get(value.state, "unknown"),
        "attempts": value.attempts,
        "nextAttempt": _time(value.next_attempt_time) if waits else None,
        "total": progress.total,
        "completed": progress.completed,
        "failed": progress.failed,
        "warnings": progress.warnings,
        "problem": value.problem or None,
        "created": _time(value.create_time),
        "updated": _time(value.update_time),
        "creator": value.creator,
        "rule": value.rule or None,
    }


def _work(value: Transfer) -> dict[str, Any]:
    """Return the type of a transfer, and what it transfers."""
    kind = value.WhichOneof("work") or "unknown"
    match kind:
        case "pull":
            keys = {term.attribute: term.values[0] for term in value.pull.keys}
            method = _METHOD_NAMES.get(value.pull.method)
            return {"type": kind, "resources": _paths(value.pull.resources), "keys": keys, "method": method}
        case "send":
            return {"type": kind, "resources": _paths(value.send.resources)}
        case "notification":
            return {"type": kind, "resources": _paths([value.notification.study])}
        case "commitment_report":
            return {"type": "commitment", "transactionUid": value.commitment_report.transaction_uid}
        case _:
            return {"type": "unknown"}


def _paths(resources: Iterable[Address]) -> Sequence[str]:
    return ["/".join(uid for uid in (getattr(one, name) for name in _UIDS) if uid) for one in resources]


def _time(value: Timestamp) -> Any:
    return value.ToDatetime(UTC)


def _response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, {**_HEADERS, **(headers or {})})
