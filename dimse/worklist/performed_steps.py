"""Modality Performed Procedure Steps (PS3.4 section F.7) as changes of workitems. docs/dimse.md has the mapping."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydicom.datadict import tag_for_keyword

from dimse.data_sets.reading import DataSet
from dimse.worklist.elements import code, element, has_value, items, tag, value

MPPS = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step SOP Class."""

REFERENCE = "ReferencedPerformedProcedureStepSequence"
"""In a workitem, it refers to the performed procedure steps that have changed it."""

PERFORMED = "UnifiedProcedureStepPerformedProcedureSequence"
_SCHEME = "99DICOMSTORE"
_ACQUISITION = code("acquisition", _SCHEME, "Image acquisition")
_UNSPECIFIED_REASON = code("110513", "DCM", "Discontinued for unspecified reason")
_MAX_CODE = 16
_MAX_MEANING = 64

_EMPTY = (
    *("ScheduledProcessingParametersSequence", "ScheduledStationNameCodeSequence", "ScheduledStationClassCodeSequence"),
    *("ScheduledStationGeographicLocationCodeSequence", "ScheduledWorkitemCodeSequence", "InputInformationSequence"),
    *("CommentsOnTheScheduledProcedureStep", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate"),
    *("IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence", "PatientSex", "AdmissionID"),
    *("IssuerOfAdmissionIDSequence", "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence"),
    *("ReferencedRequestSequence", "ProcedureStepProgressInformationSequence", PERFORMED, "TransactionUID"),
    "WorklistLabel",
)
"""Attributes that a new workitem must have, possibly without value (PS3.4 Table CC.2.5-3)."""

_REFERENCES = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
"""Of Performed Series Sequence; they are in Output Information Sequence."""

_OF_PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
_OF_REQUEST = (
    *("StudyInstanceUID", "AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription"),
    "RequestedProcedureCodeSequence",
)
_REQUEST_EMPTY = (
    *("AccessionNumber", "IssuerOfAccessionNumberSequence", "OrderPlacerIdentifierSequence", "RequestedProcedureID"),
    *("OrderFillerIdentifierSequence", "RequestedProcedureDescription", "RequestedProcedureCodeSequence"),
)


class Status(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class InvalidStep(Exception):
    """The attributes are not those of a performed procedure step.

    status: of the response (PS3.7 Annex C).
    tag: the attribute.
    """

    def __init__(self, status: int, keyword: str) -> None:
        super().__init__(f"{keyword} is missing or invalid")
        self.status = status
        self.tag = tag(keyword)


MISSING_ATTRIBUTE, MISSING_VALUE, INVALID_VALUE = 0x0120, 0x0121, 0x0106

_REQUIRED = (
    *("PerformedProcedureStepID", "PerformedStationAETitle", "PerformedProcedureStepStartDate"),
    *("PerformedProcedureStepStartTime", "PerformedProcedureStepStatus", "Modality"),
)


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    """A scheduled procedure step to which a performed one refers; empty values are unknown."""

    study: str
    step_id: str
    accession_number: str


def check_new(step: DataSet) -> None:
    """Check the attributes of an N-CREATE (PS3.4 Table F.7.2-1). Raises: InvalidStep."""
    if not items(step, "ScheduledStepAttributesSequence"):
        raise InvalidStep(MISSING_ATTRIBUTE, "ScheduledStepAttributesSequence")
    for keyword in _REQUIRED:
        if tag(keyword) not in step:
            raise InvalidStep(MISSING_ATTRIBUTE, keyword)
        if value(step, keyword) is None:
            raise InvalidStep(MISSING_VALUE, keyword)
    if status_of(step) is not Status.IN_PROGRESS:
        raise InvalidStep(INVALID_VALUE, "PerformedProcedureStepStatus")


def status_of(step: DataSet) -> Status | None:
    """Return the status, None if the data set has none. Raises: InvalidStep."""
    stated = value(step, "PerformedProcedureStepStatus")
    if stated is None:
        return None
    try:
        return Status(stated)
    except ValueError:
        raise InvalidStep(INVALID_VALUE, "PerformedProcedureStepStatus") from None


def transaction_uid(step_uid: str) -> str:
    """Return the Transaction UID with which the gateway changes workitems for a performed procedure step.

    It follows from the UID, so that each process of the gateway knows it, also after a restart.
    """
    digest = hashlib.sha256(f"dicomstore performed procedure step {step_uid}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def scheduled_steps(step: DataSet) -> list[ScheduledStep]:
    """Return the scheduled procedure steps to which an N-CREATE refers; without an ID they are unscheduled."""
    return [
        ScheduledStep(
            value(item, "StudyInstanceUID") or "",
            value(item, "ScheduledProcedureStepID") or "",
            value(item, "AccessionNumber") or "",
        )
        for item in items(step, "ScheduledStepAttributesSequence")
        if value(item, "ScheduledProcedureStepID")
    ]


def unscheduled_workitem(step: DataSet) -> DataSet:
    """Return a new workitem for a step without a scheduled one."""
    start = _date_time(step, "PerformedProcedureStepStart") or ""
    label = value(step, "PerformedProcedureStepDescription") or "Unscheduled procedure step"
    request = _request(next(iter(items(step, "ScheduledStepAttributesSequence")), {}))
    found = {tag(keyword): element(keyword) for keyword in _EMPTY}
    found |= {tag(keyword): step[tag(keyword)] for keyword in _OF_PATIENT if has_value(step.get(tag(keyword)))}
    found |= _elements(
        ProcedureStepLabel=label,
        ScheduledProcedureStepStartDateTime=start,
        ScheduledProcedureStepPriority="MEDIUM",
        InputReadinessState="READY",
    )
    if request:
        found[tag("ReferencedRequestSequence")] = element("ReferencedRequestSequence", request)
    return found


def kept(step: DataSet) -> DataSet:
    """Return the attributes of a performed step that its workitem keeps as they are, such as those of radiation dose.

    These are all but those of the patient, and references that the workitem has in another form.
    """
    left_out = {tag(keyword) for keyword in ("SpecificCharacterSet", *_OF_PATIENT)}
    found = {name: one for name, one in step.items() if name not in left_out}
    references = {tag(keyword) for keyword in _REFERENCES}
    series = [
        {name: one for name, one in item.items() if name not in references}
        for item in items(step, "PerformedSeriesSequence")
    ]
    if series:
        found[tag("PerformedSeriesSequence")] = element("PerformedSeriesSequence", *series)
    return found


def kept_attribute(path: str, step: DataSet) -> str:
    """Return the tag of the attribute of a step that is kept at a path of a workitem, keywords or tags; else empty."""
    sequence, _, rest = path.partition(".")
    name = rest.partition(".")[0]
    number = tag_for_keyword(name)
    found = name if number is None else f"{number:08X}"
    return found if sequence == PERFORMED and found in kept(step) else ""


def update_of(
    workitem: DataSet, step: DataSet, step_uid: str, status: Status | None, refused: Collection[str] = ()
) -> DataSet:
    """Return the attributes of a workitem to replace.

    Args:
        workitem: its present data set.
        step: the attributes of the N-CREATE or N-SET.
        step_uid: UID of the performed procedure step.
        status: its new status, None if it is not changed.
        refused: tags of attributes that cannot be kept, because their values are invalid.
    """
    present = next(iter(items(workitem, PERFORMED)), {})
    of_step = {name: one for name, one in kept(step).items() if name not in refused}
    emptied = {name for name, one in of_step.items() if len(one) == 1}
    performed = {name: one for name, one in (present | of_step).items() if name not in emptied}
    performed |= _performed(step, workitem)
    update: DataSet = {}
    if status is Status.COMPLETED:
        performed = _complete(performed, workitem)
    if status is Status.DISCONTINUED:
        reasons = items(step, "PerformedProcedureStepDiscontinuationReasonCodeSequence") or [_UNSPECIFIED_REASON]
        progress = {
            tag("ProcedureStepDiscontinuationReasonCodeSequence"): element(
                "ProcedureStepDiscontinuationReasonCodeSequence", *reasons
            )
        }
        update[tag("ProcedureStepProgressInformationSequence")] = element(
            "ProcedureStepProgressInformationSequence", progress
        )
    if performed:
        update[tag(PERFORMED)] = element(PERFORMED, performed)
    references = items(workitem, REFERENCE)
    if not any(value(item, "ReferencedSOPInstanceUID") == step_uid for item in references):
        reference = _elements(ReferencedSOPClassUID=MPPS, ReferencedSOPInstanceUID=step_uid)
        update[tag(REFERENCE)] = element(REFERENCE, *references, reference)
    return update


def _performed(step: DataSet, workitem: DataSet) -> DataSet:
    """Return the members of Unified Procedure Step Performed Procedure Sequence that follow from a step."""
    found: DataSet = {}
    ae_title, modality = value(step, "PerformedStationAETitle"), value(step, "Modality")
    if ae_title:
        station = code(ae_title, _SCHEME, value(step, "PerformedStationName") or ae_title)
        found |= _sequence("PerformedStationNameCodeSequence", station)
    if modality:
        found |= _sequence("PerformedStationClassCodeSequence", code(modality, "DCM", modality))
    if location := value(step, "PerformedLocation"):
        place = code(location[:_MAX_CODE], _SCHEME, location[:_MAX_MEANING])
        found |= _sequence("PerformedStationGeographicLocationCodeSequence", place)
    if codes := items(step, "PerformedProtocolCodeSequence") or items(step, "ProcedureCodeSequence"):
        found |= _sequence("PerformedWorkitemCodeSequence", *codes)
    start, end = _date_time(step, "PerformedProcedureStepStart"), _date_time(step, "PerformedProcedureStepEnd")
    found |= _elements(PerformedProcedureStepStartDateTime=start, PerformedProcedureStepEndDateTime=end)
    if tag("PerformedSeriesSequence") in step:
        study = _study_of(step) or _study_of(workitem)
        found[tag("OutputInformationSequence")] = element("OutputInformationSequence", *_output(step, study))
        if operator := value(step, "PerformedSeriesSequence", "OperatorsName"):
            found |= _sequence("ActualHumanPerformersSequence", _elements(HumanPerformerName=operator))
    return found


def _complete(performed: DataSet, workitem: DataSet) -> DataSet:
    """Return the members that a completed workitem requires (PS3.4 Table CC.2.5-3), with defaults for missing ones."""
    codes = items(workitem, "ScheduledWorkitemCodeSequence") or [_ACQUISITION]
    defaults = _sequence("PerformedWorkitemCodeSequence", *codes)
    defaults |= {tag("OutputInformationSequence"): element("OutputInformationSequence")}
    if end := value(performed, "PerformedProcedureStepStartDateTime"):
        defaults |= _elements(PerformedProcedureStepEndDateTime=end)
    return defaults | performed


def _output(step: DataSet, study: str) -> Iterator[DataSet]:
    for series in items(step, "PerformedSeriesSequence"):
        references = [
            _elements(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid)
            for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
            for item in items(series, keyword)
            if (sop_class := value(item, "ReferencedSOPClassUID")) and (uid := value(item, "ReferencedSOPInstanceUID"))
        ]
        if not references:
            continue
        found = _elements(
            TypeOfInstances="DICOM", StudyInstanceUID=study, SeriesInstanceUID=value(series, "SeriesInstanceUID")
        )
        found |= _sequence("ReferencedSOPSequence", *references)
        if ae_title := value(series, "RetrieveAETitle"):
            found |= _sequence("DICOMRetrievalSequence", _elements(RetrieveAETitle=ae_title))
        yield found


def _study_of(data_set: DataSet) -> str:
    return (
        value(data_set, "ScheduledStepAttributesSequence", "StudyInstanceUID")
        or value(data_set, "ReferencedRequestSequence", "StudyInstanceUID")
        or value(data_set, "StudyInstanceUID")
        or ""
    )


def _request(stated: Mapping[str, Any]) -> DataSet:
    """Return an item of Referenced Request Sequence; empty without a study, which it requires."""
    if not value(stated, "StudyInstanceUID"):
        return {}
    found = {tag(keyword): element(keyword) for keyword in _REQUEST_EMPTY}
    return found | {
        tag(keyword): stated[tag(keyword)] for keyword in _OF_REQUEST if has_value(stated.get(tag(keyword)))
    }


def _date_time(step: DataSet, prefix: str) -> str | None:
    date, time = value(step, f"{prefix}Date"), value(step, f"{prefix}Time")
    return f"{date}{time or ''}" if date else None


def _sequence(keyword: str, *members: DataSet) -> DataSet:
    return {tag(keyword): element(keyword, *members)}


def _elements(**values: Any) -> DataSet:
    return {tag(keyword): element(keyword, one) for keyword, one in values.items() if one}
