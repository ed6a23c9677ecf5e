"""Workitems for tests."""

import json
from functools import cache
from typing import Any

from server.dicom.elements import dictionary
from server.dicom.elements.keywords import path_of

TRANSACTION = "2.25.311399287465983746598376459837645983"
"""The Transaction UID of a performer; a secret."""

OTHER_TRANSACTION = "2.25.999"

_EMPTY = """
ScheduledProcessingParametersSequence ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence
ScheduledStationGeographicLocationCodeSequence ScheduledWorkitemCodeSequence CommentsOnTheScheduledProcedureStep
InputInformationSequence PatientName IssuerOfPatientID IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence
PatientBirthDate PatientSex AdmissionID IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription
AdmittingDiagnosesCodeSequence ReferencedRequestSequence ProcedureStepProgressInformationSequence
UnifiedProcedureStepPerformedProcedureSequence TransactionUID WorklistLabel
"""
_VALUES = {
    "ScheduledProcedureStepPriority": "MEDIUM",
    "ProcedureStepLabel": "Detect nodules",
    "ScheduledProcedureStepStartDateTime": "20240501093000",
    "InputReadinessState": "READY",
}


@cache
def tag(keyword: str) -> str:
    """Return the tag of a keyword."""
    path = path_of(keyword)
    assert path is not None, keyword
    return path[0]


def data_set(**values: Any) -> dict[str, Any]:
    """Return a data set in DICOM JSON. A value is text, a list of values, a list of data sets, or None for empty."""
    return {tag(keyword): element(keyword, value) for keyword, value in values.items()}


def element(keyword: str, value: Any) -> dict[str, Any]:
    """Return an element of DICOM JSON."""
    vr = _vr(keyword)
    if value is None or value == []:
        return {"vr": vr}
    values = value if isinstance(value, list) else [value]
    return {"vr": vr, "Value": [_name(one) for one in values] if vr == "PN" else values}


@cache
def _vr(keyword: str) -> str | None:
    return dictionary.public_vr(int(tag(keyword), 16))


def _name(name: str) -> dict[str, str]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
    return {group: part for group, part in groups if part}


def code(value: str = "CT1", scheme: str = "99LOCAL", meaning: str = "CT scanner") -> dict[str, Any]:
    """Return an item of a code sequence."""
    return data_set(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def workitem(*absent: str, **values: Any) -> dict[str, Any]:
    """Return the data set of a valid new workitem with some values, and without some attributes."""
    made = data_set(**dict.fromkeys(_EMPTY.split()), **_VALUES) | data_set(**values)
    return {name: one for name, one in made.items() if name not in map(tag, absent)}


def text(content: dict[str, Any]) -> bytes:
    """Return a data set as JSON text."""
    return json.dumps(content).encode()


def performed(**values: Any) -> dict[str, Any]:
    """Return the attributes that COMPLETED requires."""
    item = data_set(
        PerformedStationNameCodeSequence=[code()],
        PerformedProcedureStepStartDateTime="20240501093000",
        PerformedWorkitemCodeSequence=[code("110004", "DCM", "Computer Aided Detection")],
        PerformedProcedureStepEndDateTime="20240501093500",
        OutputInformationSequence=None,
    )
    return data_set(UnifiedProcedureStepPerformedProcedureSequence=[item | data_set(**values)])


def discontinued() -> dict[str, Any]:
    """Return the attributes that CANCELED requires."""
    item = data_set(
        ProcedureStepDiscontinuationReasonCodeSequence=[code("110513", "DCM", "Discontinued for unspecified reason")]
    )
    return data_set(ProcedureStepProgressInformationSequence=[item])
