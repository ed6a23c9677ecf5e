"""Updates of attributes of stored instances, and reverting studies (docs/api.md, Update, Versions)."""

from typing import Any

import orjson
from dicomstore.v1.operation_service_pb2 import StartOperationRequest, StartOperationResponse
from dicomstore.v1.operation_types_pb2 import ChangeableAttributes, EarlierState, UpdateRequest
from dicomstore.v1.resources_pb2 import Address
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.endpoints.operations import reference, running_already
from facade.errors import CoreFailure, Refusal
from facade.request.addresses import parse_uid, partition_of, resource_of
from facade.request.json_body import fields_of, invalid_field, json_body
from facade.request.query import parameters_of
from facade.request.reason import reason_of
from facade.request.times import time_of
from facade.serving.observe import call_metadata
from facade.versions import ApiVersion

JSON = "application/json; charset=utf-8"

_FIELDS = ("studyInstanceUids", "changeDataset", "targets", "attributes")
_LEVELS = {
    "studyinstanceuid": "study_instance_uid",
    "seriesinstanceuid": "series_instance_uid",
    "sopinstanceuid": "sop_instance_uid",
}
_ATTRIBUTES = {
    "patientandstudy": ChangeableAttributes.CHANGEABLE_ATTRIBUTES_PATIENT_AND_STUDY,
    "any": ChangeableAttributes.CHANGEABLE_ATTRIBUTES_UNSPECIFIED,
}


_TARGET = "A target has studyInstanceUid, and may have seriesInstanceUid and sopInstanceUid."


async def bulk_update(request: Request) -> Response:
    """POST /studies/$bulkUpdate: start an operation that changes attributes; 202 with its id and URL."""
    version: ApiVersion = request.path_params["version"]
    if not version.has_updates:
        raise Refusal(404, "The requested resource does not exist.")
    return await _started(request, _wanted(request, await json_body(request)))


async def revert_to(request: Request) -> Response:
    """POST …/$revert of a study or series: start an operation that reverts it to an earlier state; 202."""
    names = {"time": "time", "beforeoperation": "beforeOperation"}
    fields = fields_of(await json_body(request), names, "")
    if len(fields) != 1:
        raise invalid_field("", "It must have either 'time' or 'beforeOperation'.")
    state = EarlierState(before_operation=fields.get("beforeOperation", "").replace("-", "").lower())
    if "time" in fields:
        time = time_of(fields["time"])
        if time is None:
            raise invalid_field("time", "It must be a date and time with a time zone.")
        state = EarlierState(time=time)
    reason = reason_of(request, parameters_of(request))
    return await _started(request, UpdateRequest(targets=[resource_of(request)], revert_to=state, reason=reason))


async def _started(request: Request, wanted: UpdateRequest) -> Response:
    start = StartOperationRequest()
    start.request.Pack(wanted)
    core: Core = request.app.state.core
    try:
        answer: StartOperationResponse = await core.call(core.operations.StartOperation, start, call_metadata(request))
    except CoreFailure as failure:
        if failure.reason == "OPERATION_RUNNING":
            raise running_already(request, failure.metadata.get("operation", "")) from failure
        if faults := failure.metadata.get("attributes"):
            return _refused(faults.splitlines())
        raise
    return Response(orjson.dumps(reference(request, answer.operation.id)), 202, {"Content-Type": JSON})


def _wanted(request: Request, body: Any) -> UpdateRequest:
    fields = _fields(body)
    partition = partition_of(request)
    targets = fields.get("targets")
    if targets is None:
        targets = [{"studyInstanceUid": uid} for uid in _strings(fields.get("studyInstanceUids"))]
    elif "studyInstanceUids" in fields:
        raise invalid_field("targets", "It cannot be combined with 'studyInstanceUids'.")
    if not isinstance(targets, list) or not targets:
        raise Refusal(400, "The required field 'StudyInstanceUids' is missing or empty.")
    if not fields.get("changeDataset"):
        raise Refusal(400, "The required field 'ChangeDataset' is missing or empty.")
    attributes = fields.get("attributes", "patientAndStudy")
    if not isinstance(attributes, str) or attributes.lower() not in _ATTRIBUTES:
        raise invalid_field("attributes", "It must be 'patientAndStudy' or 'any'.")
    return UpdateRequest(
        targets=[_target(partition, target) for target in targets],
        changes=orjson.dumps(fields["changeDataset"]),
        attributes=_ATTRIBUTES[attributes.lower()],
        reason=reason_of(request, parameters_of(request)),
    )


def _fields(body: Any) -> dict[str, Any]:
    """Return the fields of the body; names match in any case, null means absent."""
    if not isinstance(body, dict):
        raise invalid_field("", "It must be an object.")
    names = {name.lower(): name for name in _FIELDS}
    fields = {}
    for written, value in body.items():
        name = names.get(written.lower())
        if name is None:
            raise invalid_field("", f"Only {', '.join(_FIELDS)} are allowed.")
        if value is not None:
            fields[name] = value
    return fields


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise invalid_field("studyInstanceUids", "It must be a list of UIDs.")
    return value


def _target(partition: str, target: Any) -> Address:
    if not isinstance(target, dict) or not {name.lower() for name in target} <= _LEVELS.keys():
        raise invalid_field("targets", _TARGET)
    if not all(isinstance(uid, str) for uid in target.values()):
        raise invalid_field("targets", "UIDs are strings.")
    uids = {_LEVELS[name.lower()]: parse_uid(uid, name) for name, uid in target.items()}
    if "study_instance_uid" not in uids:
        raise invalid_field("targets", _TARGET)
    return Address(partition=partition, **uids)


def _refused(faults: list[str]) -> Response:
    """Return the refusal of attributes, as a data set with a Failed Attributes Sequence."""
    comments = [
        f"DICOM100: ({tag[:4]},{tag[4:]}) - {text}" for tag, _, text in (fault.partition(" ") for fault in faults)
    ]
    items = [{"00000902": {"vr": "LO", "Value": [comment]}} for comment in comments]
    return Response(
        orjson.dumps({"00741048": {"vr": "SQ", "Value": items}}), 400, {"Content-Type": "application/dicom+json"}
    )
