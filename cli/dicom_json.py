"""DICOM JSON (PS3.18 Annex F) as text for table cells."""

from typing import Any

TAGS = {
    "SOPClassUID": "00080016",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
    "AccessionNumber": "00080050",
    "Modality": "00080060",
    "ModalitiesInStudy": "00080061",
    "ReferringPhysicianName": "00080090",
    "StudyDescription": "00081030",
    "SeriesDescription": "0008103E",
    "ManufacturerModelName": "00081090",
    "PatientName": "00100010",
    "PatientID": "00100020",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "BodyPartExamined": "00180015",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "StudyID": "00200010",
    "SeriesNumber": "00200011",
    "InstanceNumber": "00200013",
    "NumberOfStudyRelatedSeries": "00201206",
    "NumberOfStudyRelatedInstances": "00201208",
    "NumberOfSeriesRelatedInstances": "00201209",
    "NumberOfFrames": "00280008",
    "Rows": "00280010",
    "Columns": "00280011",
    "PerformedProcedureStepStartDate": "00400244",
}
"""Attributes that tables show under their keyword. Any other is shown under its tag."""

KEYWORDS = {tag: keyword for keyword, tag in TAGS.items()}


def tag_of(attribute: str) -> str | None:
    """Return the tag of a keyword we know, or of a tag in any spelling; None for all else."""
    plain = attribute.strip("()").replace(",", "").upper()
    if len(plain) == 8 and all(digit in "0123456789ABCDEF" for digit in plain):
        return plain
    return TAGS.get(attribute)


def cell(element: dict[str, Any] | None) -> str:
    """Return the values of one element, joined as in a DICOM file; sequences and binary data only by their presence."""
    if element is None:
        return ""
    if "InlineBinary" in element or "BulkDataURI" in element:
        return "(binary)"
    values = element.get("Value", [])
    if element.get("vr") == "SQ":
        return f"({len(values)} items)" if values else ""
    return "\\".join(_text(value) for value in values)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):  # a person name, in up to three scripts (PS3.5 section 6.2.1)
        return "=".join(str(value[group]) for group in ("Alphabetic", "Ideographic", "Phonetic") if group in value)
    return str(value)
