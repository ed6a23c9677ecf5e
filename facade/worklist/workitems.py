"""Workitems: create, retrieve, update, change state and request cancellation (PS3.18 sections 11.4 to 11.8).

Editions of the standard and clients state UIDs of requests in different ways; all of them are accepted:
`?1.2.3` (without a name, as Azure's service), `?workitem=1.2.3`, `?transaction=`, `?transaction-uid=` and
`?Transaction-uid=`; and a Transaction UID in the data set of an update. Paths may end with the AE title
of the requester.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from dicomstore.v1.workitem_service_pb2 import (
    WORKITEM_STATE_CANCELED,
    WORKITEM_STATE_COMPLETED,
    WORKITEM_STATE_IN_PROGRESS,
    ChangeWorkitemStateRequest,
    ChangeWorkitemStateResponse,
    CreateWorkitemRequest,
    CreateWorkitemResponse,
    GetWorkitemRequest,
    GetWorkitemResponse,
    RequestWorkitemCancellationRequest,
    UpdateWorkitemRequest,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure, Refusal, answer_of
from facade.request.addresses import parse_uid, partition_of, urls_of
from facade.request.dicom_xml import DataSet
from facade.request.query import accepted_media_ranges, parameters_of, prefers_strict
from facade.serving.observe import call_metadata
from facade.worklist.bodies import data_set_of, form_of, response_of, text_of, value_of

_TRANSACTION, _STATE, _SOP_INSTANCE = "00081195", "00741000", "00080018"
_STANDARD_UID = re.compile(r"(?=.{1,64}$)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
"""UIDs without empty components and leading zeros (PS3.5 section 9.1). A lenient client may use others."""

_WORKITEM_NAMES = frozenset({"workitem", "workitem-uid", "workitemuid", "affectedsopinstanceuid", "uid"})
_TRANSACTION_NAMES = frozenset({"transaction", "transaction-uid", "transactionuid", "00081195"})
_STATES: Mapping[str, Any] = {
    "IN PROGRESS": WORKITEM_STATE_IN_PROGRESS,
    "COMPLETED": WORKITEM_STATE_COMPLETED,
    "CANCELED": WORKITEM_STATE_CANCELED,
}
_FINAL_WARNINGS = {"COMPLETED": "B306", "CANCELED": "B304"}
_CONFLICTS = frozenset({"WORKITEM_STATE_CONFLICT", "WORKITEM_NOT_CANCELABLE"})


async def create(request: Request) -> Response:
    """POST /workitems: create a workitem, 201 with its URL."""
    form_of(accepted_media_ranges(request))
    uid = _parameter(request, _WORKITEM_NAMES)
    if uid:
        parse_uid(uid, "workitem")
    data_set = await data_set_of(request)
    if prefers_strict(request):
        stated = uid or value_of(data_set, _SOP_INSTANCE, "SOPInstanceUID")
        if stated and not _STANDARD_UID.fullmatch(stated):
            raise Refusal(400, "The UID of the workitem does not conform to PS3.5 section 9.1.")
    return await _created(request, uid, data_set)


async def retrieve(request: Request) -> Response:
    """GET /workitems/{workitem}: retrieve a workitem, without its Transaction UID."""
    shape = form_of(accepted_media_ranges(request))
    wanted = GetWorkitemRequest(partition=partition_of(request), workitem_uid=_uid(request))
    answer: GetWorkitemResponse = await _call(request, "GetWorkitem", wanted)
    return await response_of(answer.dicom_json, shape)


async def update(request: Request) -> Response:
    """POST or PUT /workitems/{workitem}: update a workitem; create it if the data set has an empty Transaction UID."""
    uid = _uid(request)
    transaction = _parameter(request, _TRANSACTION_NAMES)
    data_set = await data_set_of(request)
    if _TRANSACTION in data_set or "TransactionUID" in data_set:
        stated = value_of(data_set, _TRANSACTION, "TransactionUID")
        if stated is None:
            if prefers_strict(request):
                raise Refusal(400, "An update must not contain the attribute TransactionUID without a value.")
            return await _created(request, uid, data_set)  # only a new workitem has it (PS3.4 Table CC.2.5-3)
        if transaction and stated != transaction:
            raise Refusal(400, "The Transaction UIDs of the query and of the data set differ.")
        transaction = stated
        data_set.pop(_TRANSACTION, None)
        data_set.pop("TransactionUID", None)
    if transaction:
        parse_uid(transaction, "TransactionUID")
    wanted = UpdateWorkitemRequest(
        partition=partition_of(request), workitem_uid=uid, transaction_uid=transaction, dicom_json=text_of(data_set)
    )
    await _call(request, "UpdateWorkitem", wanted)
    return Response(status_code=200, headers={"Content-Location": _url(request, uid)})


async def change_state(request: Request) -> Response:
    """PUT /workitems/{workitem}/state: claim, complete or cancel a workitem."""
    uid = _uid(request)
    data_set = await data_set_of(request)
    transaction = value_of(data_set, _TRANSACTION, "TransactionUID") or _parameter(request, _TRANSACTION_NAMES)
    if not transaction:
        raise Refusal(400, "The attribute TransactionUID is required.")
    name = value_of(data_set, _STATE, "ProcedureStepState") or ""
    state = _STATES.get(name)
    if state is None:
        raise Refusal(400, f"The attribute ProcedureStepState must be one of {', '.join(_STATES)}.")
    wanted = ChangeWorkitemStateRequest(
        partition=partition_of(request),
        workitem_uid=uid,
        transaction_uid=parse_uid(transaction, "TransactionUID"),
        state=state,
    )
    answer: ChangeWorkitemStateResponse = await _call(request, "ChangeWorkitemState", wanted)
    headers = {"Content-Location": _url(request, uid)}
    if answer.unchanged:
        text = f"The workitem instance is already in the final state '{name}'. {_FINAL_WARNINGS[name]}."
        headers["Warning"] = _warning(request, text)
    return Response(status_code=200, headers=headers)


async def request_cancellation(request: Request) -> Response:
    """POST /workitems/{workitem}/cancelrequest: cancel a workitem that is scheduled, or ask its performer to, 202."""
    uid = _uid(request)
    reasons = await data_set_of(request, may_be_empty=True)
    wanted = RequestWorkitemCancellationRequest(
        partition=partition_of(request),
        workitem_uid=uid,
        dicom_json=text_of(reasons),
        requesting_ae=request.path_params.get("requester", ""),
    )
    await _call(request, "RequestWorkitemCancellation", wanted)
    return Response(status_code=202, headers={"Content-Location": _url(request, uid)})


async def _created(request: Request, uid: str, data_set: DataSet) -> Response:
    partition = partition_of(request)
    wanted = CreateWorkitemRequest(
        partition=partition,
        workitem_uid=uid,
        dicom_json=text_of(data_set),
        create_partition=bool(partition),
    )
    answer: CreateWorkitemResponse = await _call(request, "CreateWorkitem", wanted)
    url = _url(request, answer.workitem_uid)
    return Response(status_code=201, headers={"Location": url, "Content-Location": url})


async def _call(request: Request, rpc: str, message: Any) -> Any:
    """Call the core. A conflict with the state of a workitem has a Warning header (PS3.18 section 11.8.3)."""
    core: Core = request.app.state.core
    try:
        return await core.call(getattr(core.workitems, rpc), message, call_metadata(request))
    except CoreFailure as failure:
        if failure.reason not in _CONFLICTS:
            raise
        status = answer_of(failure.reason).status
        raise Refusal(status, failure.message, {"Warning": _warning(request, failure.message)}) from None


def _uid(request: Request) -> str:
    return parse_uid(request.path_params["workitem"], "workitem")


def _parameter(request: Request, names: frozenset[str]) -> str:
    """Return the UID in the query string, as the value of a name or as the name itself; empty without one."""
    for parameter in parameters_of(request):
        if parameter.key in names:
            return parameter.value.strip()
        if not parameter.value:
            return parameter.name
    return ""


def _url(request: Request, uid: str) -> str:
    return f"{urls_of(request).base}/workitems/{uid}"


def _warning(request: Request, text: str) -> str:
    return f'299 {urlsplit(urls_of(request).base).netloc}: "{text}"'
