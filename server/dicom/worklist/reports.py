"""Event reports of workitems (PS3.4 section CC.2.4), from their data sets."""

from collections.abc import Collection, Mapping
from typing import Any

from server.dicom.elements.keywords import tags_of
from server.dicom.worklist.data_set import serialise
from server.model.worklist.event import Event, EventType
from server.model.worklist.workitem import WorkitemState

DataSet = Mapping[str, Any]

UNKNOWN_AE = "UNKNOWN"
"""Requesting AE of a cancellation request that states none; the attribute must have a value."""

_STATE, _READINESS, _PROGRESS, _REQUESTING_AE = "00741000", "00404041", "00741002", "00741236"
_STATIONS, _PERFORMERS = "00404025", "00404034"
_PERFORMER_CODES, _ORGANIZATION = "00404009", "00404036"
_OF_CANCELLATION = tags_of("ReasonForCancellation ProcedureStepDiscontinuationReasonCodeSequence")
_OF_REQUEST = _OF_CANCELLATION | tags_of("ContactURI ContactDisplayName")
_OF_PROGRESS = tags_of(
    "ProcedureStepProgress ProcedureStepProgressDescription ProcedureStepProgressParametersSequence "
    "ProcedureStepCommunicationsURISequence"
)


def created(data_set: DataSet) -> tuple[Event, ...]:
    """Return the events of a new workitem."""
    is_assigned = _items(data_set, _STATIONS) or _items(data_set, _PERFORMERS)
    return (state_report(data_set), *([_assigned(data_set)] if is_assigned else []))


def updated(before: DataSet, after: DataSet) -> tuple[Event, ...]:
    """Return the events of a changed data set."""
    events = []
    if any(before.get(tag) != after.get(tag) for tag in (_STATE, _READINESS)):
        events.append(state_report(after))
    if any(before.get(tag) != after.get(tag) for tag in (_STATIONS, _PERFORMERS)):
        events.append(_assigned(after))
    if _with(_progress(before), _OF_PROGRESS) != _with(_progress(after), _OF_PROGRESS):
        events.append(_progress_report(after))
    return tuple(events)


def canceled(before: DataSet, after: DataSet) -> tuple[Event, ...]:
    """Return the reports of a workitem in state SCHEDULED that was canceled by request: it passes IN PROGRESS (PS3.4
    section CC.2.2.3)."""
    between = {**before, _STATE: _element("CS", WorkitemState.IN_PROGRESS)}
    return (state_report(between), state_report(after))


def cancel_requested(requesting_ae: str, reasons: DataSet) -> Event:
    """Return the event of a cancellation request.

    Args:
        requesting_ae: AE title of the requester; empty if it is unknown.
        reasons: the data set of the request.
    """
    information = _with(reasons, _OF_REQUEST)
    information[_REQUESTING_AE] = _element("AE", requesting_ae or UNKNOWN_AE)
    return Event(EventType.CANCEL_REQUESTED, serialise(information))


def state_report(data_set: DataSet) -> Event:
    """Return the event that reports the state of a workitem."""
    information = _with(_progress(data_set), _OF_CANCELLATION)
    information |= {tag: data_set[tag] for tag in (_STATE, _READINESS) if tag in data_set}
    return Event(EventType.STATE_REPORT, serialise(information))


def _assigned(data_set: DataSet) -> Event:
    """Return the event of an assignment.

    Human Performer Code Sequence and Organization are attributes of the event in Table CC.2.4-1, and in the sequence of
    performers in section CC.2.4.3; the event has both.
    """
    performers = _items(data_set, _PERFORMERS)
    codes = [code for performer in performers for code in _items(performer, _PERFORMER_CODES)]
    organizations = [performer[_ORGANIZATION] for performer in performers if _ORGANIZATION in performer]
    information = {tag: data_set[tag] for tag in (_STATIONS, _PERFORMERS) if _items(data_set, tag)}
    if codes:
        information[_PERFORMER_CODES] = {"vr": "SQ", "Value": codes}
    if organizations:
        information[_ORGANIZATION] = organizations[0]
    return Event(EventType.ASSIGNED, serialise(information))


def _progress_report(data_set: DataSet) -> Event:
    item = dict(sorted(_with(_progress(data_set), _OF_PROGRESS).items()))
    return Event(EventType.PROGRESS_REPORT, serialise({_PROGRESS: {"vr": "SQ", "Value": [item]}}))


def _progress(data_set: DataSet) -> DataSet:
    """Return the item of Procedure Step Progress Information Sequence, which has at most one; empty without it."""
    return next(iter(_items(data_set, _PROGRESS)), {})


def _items(data_set: DataSet, tag: str) -> list[Any]:
    items: list[Any] = data_set.get(tag, {}).get("Value", [])
    return items


def _with(data_set: DataSet, tags: Collection[str]) -> dict[str, Any]:
    """Return those attributes that have a value."""
    return {tag: element for tag, element in data_set.items() if tag in tags and len(element) > 1}


def _element(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
