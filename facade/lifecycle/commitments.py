"""Storage commitment (PS3.18 chapter 13): instances are confirmed that the archive keeps safely."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from dicomstore.v1.commitment_service_pb2 import (
    Commitment,
    CommitmentResult,
    GetCommitmentRequest,
    GetCommitmentResponse,
    InstanceReference,
    RequestCommitmentRequest,
    RequestCommitmentResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.lifecycle.commitment_body import data_set_of, items_of, uid_of
from facade.request.accept import accepts_json, prefers_xml
from facade.request.addresses import parse_uid, partition_of
from facade.request.catalogue import DICOM_JSON, DICOM_XML
from facade.request.dicom_xml import DataSet
from facade.request.query import accepted_media_ranges
from facade.response.dicom_xml import native_xml
from facade.serving.observe import call_metadata

MAX_BYTES = 8 << 20
"""Size limit of a request."""

RETRY_SECONDS = 10

_REFERENCED_SOP, _FAILED_SOP = "00081199", "00081198"
_REFERENCED_STUDY, _FAILED_STUDY = "00081110", "0008119B"
_SERIES, _BY_CLASS, _INSTANCES = "00081115", "00081112", "0008114A"
_CLASS, _INSTANCE, _REASON = "00081150", "00081155", "00081197"
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"


async def request_commitment(request: Request) -> Response:
    """POST /commitment-requests/{transaction}: verify instances: 200 with the result, or 202."""
    as_xml = _prefers_xml(request)
    transaction = parse_uid(request.path_params["transaction"], "TransactionUID")
    references = [*_references(await data_set_of(request, MAX_BYTES))]
    if not references:
        raise Refusal(400, "The body has neither a Referenced SOP Sequence nor a Referenced Study Sequence with items.")
    wanted = RequestCommitmentRequest(
        partition=partition_of(request), transaction_uid=transaction, references=references
    )
    core: Core = request.app.state.core
    answer: RequestCommitmentResponse = await core.call(
        core.commitments.RequestCommitment, wanted, call_metadata(request)
    )
    return _response(answer.commitment, as_xml=as_xml)


async def result(request: Request) -> Response:
    """GET /commitment-requests/{transaction}: 200 with the result, or 202 while there is none."""
    as_xml = _prefers_xml(request)
    transaction = parse_uid(request.path_params["transaction"], "TransactionUID")
    wanted = GetCommitmentRequest(partition=partition_of(request), transaction_uid=transaction)
    core: Core = request.app.state.core
    answer: GetCommitmentResponse = await core.call(core.commitments.GetCommitment, wanted, call_metadata(request))
    return _response(answer.commitment, as_xml=as_xml)


def _prefers_xml(request: Request) -> bool:
    media_ranges = accepted_media_ranges(request)
    as_xml = prefers_xml(media_ranges)
    if not as_xml and not accepts_json(media_ranges):
        raise Refusal(406, f"Only {DICOM_JSON} and {DICOM_XML} can be returned.")
    return as_xml


def _references(data_set: DataSet) -> Iterator[InstanceReference]:
    """Yield the references of a Storage Commitment Request Module (PS3.18 section J.1). Raises: Refusal (400)."""
    for item in items_of(data_set, _REFERENCED_SOP) or ():
        yield InstanceReference(sop_class_uid=uid_of(item, _CLASS), sop_instance_uid=uid_of(item, _INSTANCE))
    for study in items_of(data_set, _REFERENCED_STUDY) or ():
        for series in _required_items(study, _SERIES):
            for of_class in _required_items(series, _BY_CLASS):
                for instance in _required_items(of_class, _INSTANCES):
                    yield InstanceReference(
                        sop_class_uid=uid_of(of_class, _CLASS),
                        sop_instance_uid=uid_of(instance, _INSTANCE),
                        study_instance_uid=uid_of(study, _STUDY_UID),
                        series_instance_uid=uid_of(series, _SERIES_UID),
                    )


def _required_items(data_set: Any, tag: str) -> list[Any]:
    items = items_of(data_set, tag)
    if not items:
        raise Refusal(400, f"The sequence ({tag[:4]},{tag[4:]}) must have items.")
    return items


def _response(commitment: Commitment, *, as_xml: bool) -> Response:
    headers = {"Cache-Control": "no-store"}
    if not commitment.done:
        return Response(status_code=202, headers=headers | {"Retry-After": str(RETRY_SECONDS)})
    module = dict(_module(commitment.results))
    if as_xml:
        return Response(native_xml(module), 200, headers | {"Content-Type": DICOM_XML})
    return Response(orjson.dumps(module), 200, headers | {"Content-Type": DICOM_JSON})


def _module(results: Iterable[CommitmentResult]) -> Iterator[tuple[str, Any]]:
    """Yield the non-empty sequences of a Storage Commitment Response Module (PS3.18 section J.2), tags ascending."""
    committed = [one for one in results if not one.failure_reason]
    failed = [one for one in results if one.failure_reason]
    sequences: Mapping[str, Any] = {
        _REFERENCED_STUDY: _studies(filter(_is_of_study, committed)),
        _FAILED_SOP: [_item(one) for one in failed if not _is_of_study(one)],
        _REFERENCED_SOP: [_item(one) for one in committed if not _is_of_study(one)],
        _FAILED_STUDY: _studies(filter(_is_of_study, failed)),
    }
    for tag in sorted(sequences):
        if sequences[tag]:
            yield tag, _sequence(sequences[tag])


def _is_of_study(one: CommitmentResult) -> bool:
    return bool(one.reference.study_instance_uid)


def _item(one: CommitmentResult) -> DataSet:
    reference = one.reference
    return {_CLASS: _uid(reference.sop_class_uid), _INSTANCE: _uid(reference.sop_instance_uid), **_reason(one)}


def _reason(one: CommitmentResult) -> DataSet:
    return {_REASON: {"vr": "US", "Value": [one.failure_reason]}} if one.failure_reason else {}


def _studies(results: Iterable[CommitmentResult]) -> list[DataSet]:
    """Return the items of a sequence of studies, with their series and their instances by SOP class."""
    tree: dict[str, dict[str, dict[str, list[DataSet]]]] = {}
    for one in results:
        uids = one.reference
        of_series = tree.setdefault(uids.study_instance_uid, {}).setdefault(uids.series_instance_uid, {})
        item = {_INSTANCE: _uid(uids.sop_instance_uid), **_reason(one)}
        of_series.setdefault(uids.sop_class_uid, []).append(item)
    return [
        {_SERIES: _sequence([*map(_series_item, of_study.items())]), _STUDY_UID: _uid(study)}
        for study, of_study in tree.items()
    ]


def _series_item(series: tuple[str, Mapping[str, list[DataSet]]]) -> DataSet:
    uid, classes = series
    of_classes = [{_INSTANCES: _sequence(items), _CLASS: _uid(of_class)} for of_class, items in classes.items()]
    return {_BY_CLASS: _sequence(of_classes), _SERIES_UID: _uid(uid)}


def _sequence(items: list[DataSet]) -> DataSet:
    return {"vr": "SQ", "Value": items}


def _uid(uid: str) -> DataSet:
    return {"vr": "UI", "Value": [uid]}
