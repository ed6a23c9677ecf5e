"""Conversion of DICOM JSON (PS3.18 Annex F) to text for table cells."""

import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

TAGS = {
    "SpecificCharacterSet": "00080005",
    "SOPClassUID": "00080016",
    "SOPInstanceUID": "00080018",
    "StudyDate": "00080020",
    "SeriesDate": "00080021",
    "StudyTime": "00080030",
    "SeriesTime": "00080031",
    "AccessionNumber": "00080050",
    "Modality": "00080060",
    "ModalitiesInStudy": "00080061",
    "AnatomicRegionsInStudyCodeSequence": "00080063",
    "ReferringPhysicianName": "00080090",
    "TimezoneOffsetFromUTC": "00080201",
    "StudyDescription": "00081030",
    "ProcedureCodeSequence": "00081032",
    "SeriesDescription": "0008103E",
    "NameOfPhysiciansReadingStudy": "00081060",
    "AdmittingDiagnosesDescription": "00081080",
    "ManufacturerModelName": "00081090",
    "ReferencedStudySequence": "00081110",
    "AvailableTransferSyntaxUID": "00083002",
    "PatientName": "00100010",
    "PatientID": "00100020",
    "IssuerOfPatientID": "00100021",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "PatientAge": "00101010",
    "PatientSize": "00101020",
    "PatientWeight": "00101030",
    "Occupation": "00102180",
    "AdditionalPatientHistory": "001021B0",
    "BodyPartExamined": "00180015",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "StudyID": "00200010",
    "SeriesNumber": "00200011",
    "InstanceNumber": "00200013",
    "Laterality": "00200060",
    "NumberOfStudyRelatedSeries": "00201206",
    "NumberOfStudyRelatedInstances": "00201208",
    "NumberOfSeriesRelatedInstances": "00201209",
    "NumberOfFrames": "00280008",
    "Rows": "00280010",
    "Columns": "00280011",
    "BitsAllocated": "00280100",
    "PerformedProcedureStepStartDate": "00400244",
    "PerformedProcedureStepStartTime": "00400245",
    "RequestAttributesSequence": "00400275",
}
"""Attributes shown with their keyword: all indexed ones. Others are shown with their tag."""

KEYWORDS = {tag: keyword for keyword, tag in TAGS.items()}


def tag_of(attribute: str) -> str | None:
    """Return the tag for a known keyword or a tag in any spelling; None for anything else."""
    plain = attribute.strip("()").replace(",", "").upper()
    if len(plain) == 8 and all(digit in "0123456789ABCDEF" for digit in plain):
        return plain
    return TAGS.get(attribute)


def cell(element: dict[str, Any] | None) -> str:
    """Return the values of an element, joined by backslashes; sequences and binary data only as a note.

    Control characters become blanks, so that a value is one line and cannot contain terminal commands.
    """
    if element is None:
        return ""
    if "InlineBinary" in element or "BulkDataURI" in element:
        return "(binary)"
    values = element.get("Value", [])
    if element.get("vr") == "SQ":
        return f"({len(values)} items)" if values else ""
    return _CONTROL.sub(" ", "\\".join(_text(value) for value in values))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):  # a person name, in up to three scripts (PS3.5 section 6.2.1)
        return "=".join(str(value[group]) for group in ("Alphabetic", "Ideographic", "Phonetic") if group in value)
    return str(value)
