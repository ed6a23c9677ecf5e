"""Workitems as items of a Modality Worklist (PS3.4 section K.6.1).

The scheduled procedure step of a workitem is described by the first item of Scheduled Procedure Step Sequence
(0040,0100), if the workitem has one, otherwise by attributes of workitems (PS3.3 section C.30). docs/dimse.md has the
mapping.
"""

import base64
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dimse.data_sets.reading import DataSet, Element
from dimse.worklist.elements import element, has_value, items, tag, value

SEQUENCE = tag("ScheduledProcedureStepSequence")

STATUSES: Mapping[str, str] = MappingProxyType(
    {"SCHEDULED": "SCHEDULED", "IN PROGRESS": "STARTED", "COMPLETED": "COMPLETED", "CANCELED": "DISCONTINUED"}
)
"""Scheduled Procedure Step Status (0040,0020) by Procedure Step State (0074,1000)."""

_SOURCES: Mapping[str, tuple[str, ...]] = {
    "ScheduledStationAETitle": ("ScheduledStationNameCodeSequence", "CodeValue"),
    "ScheduledStationName": ("ScheduledStationNameCodeSequence", "CodeMeaning"),
    "Modality": ("ScheduledStationClassCodeSequence", "CodeValue"),
    "ScheduledProcedureStepLocation": ("ScheduledStationGeographicLocationCodeSequence", "CodeMeaning"),
    "ScheduledPerformingPhysicianName": ("ScheduledHumanPerformersSequence", "HumanPerformerName"),
    "ScheduledProcedureStepDescription": ("ProcedureStepLabel",),
    "CommentsOnTheScheduledProcedureStep": ("CommentsOnTheScheduledProcedureStep",),
}
"""Attributes of the step that its item may lack, and the path of their values in the workitem."""

_OF_REQUEST = tag("ReferencedRequestSequence")
_NOT_OF_THE_ITEM = frozenset(
    tag(keyword)
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "AccessionNumber",  # of the request only, so that the core can search for it
        "RequestedProcedureID",
    )
)
_NOT_OF_THE_STEP = frozenset(map(tag, ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")))
"""They follow from the time of the workitem, which every workitem has."""

_REQUIRED = ("ScheduledStationAETitle", "Modality", "ScheduledProcedureStepStartDate")
_LENGTH_OF_ID = 16

RETURNED = (
    *("SpecificCharacterSet", "StudyInstanceUID", "ReferencedRequestSequence", "ScheduledProcedureStepSequence"),
    *("ScheduledProcedureStepStartDateTime", "ScheduledProcedureStepPriority", "ScheduledWorkitemCodeSequence"),
    *("ProcedureStepState", *sorted({path[0] for path in _SOURCES.values()})),
)
"""Keywords of the attributes of a workitem from which `step_of` derives others."""


def step_of(workitem: DataSet) -> DataSet | None:
    """Return the worklist item for a workitem; None if it lacks station, modality, time or study."""
    request = next(iter(items(workitem, "ReferencedRequestSequence")), {})
    found = {name: one for name, one in workitem.items() if name not in _NOT_OF_THE_ITEM}
    found |= {name: one for name, one in request.items() if has_value(one)}
    step = _step(workitem)
    if not value(found, "StudyInstanceUID") or not all(value(step, keyword) for keyword in _REQUIRED):
        return None
    found[SEQUENCE] = element("ScheduledProcedureStepSequence", step)
    if not value(found, "RequestedProcedureID"):
        step_id = value(step, "ScheduledProcedureStepID")
        found[tag("RequestedProcedureID")] = element("RequestedProcedureID", step_id)
    priority = value(workitem, "ScheduledProcedureStepPriority")
    if priority and not value(found, "RequestedProcedurePriority"):
        found[tag("RequestedProcedurePriority")] = element("RequestedProcedurePriority", priority)
    return found


def date_and_time(date_time: str) -> tuple[str, str]:
    """Return the date and the time of a DT value, without its offset; the time may be empty."""
    local = date_time.partition("+")[0].partition("-")[0]
    return local[:8], local[8:]


def _step(workitem: DataSet) -> DataSet:
    stated: Mapping[str, Element] = next(iter(items(workitem, "ScheduledProcedureStepSequence")), {})
    step = {name: one for name, one in stated.items() if has_value(one) and name not in _NOT_OF_THE_STEP}
    for keyword, path in _SOURCES.items():
        found = value(workitem, *path)
        if tag(keyword) not in step and found is not None:
            step[tag(keyword)] = element(keyword, found)
    protocol = tag("ScheduledProtocolCodeSequence")
    codes = items(workitem, "ScheduledWorkitemCodeSequence")
    if protocol not in step and codes:
        step[protocol] = element("ScheduledProtocolCodeSequence", *codes)
    date, time = date_and_time(value(workitem, "ScheduledProcedureStepStartDateTime") or "")
    state = STATUSES.get(value(workitem, "ProcedureStepState") or "", "SCHEDULED")
    step |= _elements(
        ScheduledProcedureStepID=value(step, "ScheduledProcedureStepID") or _id_of(workitem),
        ScheduledProcedureStepStartDate=date if len(date) == 8 else "",
        ScheduledProcedureStepStartTime=time or "000000",
        ScheduledProcedureStepStatus=state,
    )
    return step


def _elements(**values: Any) -> DataSet:
    return {tag(keyword): element(keyword, one) for keyword, one in values.items() if one}


def _id_of(workitem: DataSet) -> str:
    """Return an identifier for a step that has none: it is unique, and always the same for a workitem."""
    uid = value(workitem, "SOPInstanceUID") or ""
    digest = hashlib.blake2b(uid.encode(), digest_size=_LENGTH_OF_ID * 5 // 8).digest()
    return base64.b32encode(digest).decode()
