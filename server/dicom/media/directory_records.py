"""Directory records: their types and keys (PS3.3 section F.5), from the metadata of an instance."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

Key = tuple[str, str, int, str | None]
"""Tag, VR, type (1 or 2), and the value that replaces a missing one of type 1; None is a running number."""

_NO_DATE, _NO_TIME = "19000101", "000000"
_INSTANCE_NUMBER: Key = ("00200013", "IS", 1, None)
_CONTENT_DATE: Key = ("00080023", "DA", 1, _NO_DATE)
_CONTENT_TIME: Key = ("00080033", "TM", 1, _NO_TIME)
_CONCEPT_NAME: Key = ("0040A043", "SQ", 2, "")
_LABELLED: Sequence[Key] = (
    ("00700080", "CS", 1, "UNNAMED"),
    ("00700081", "LO", 2, ""),
    ("00700084", "PN", 2, ""),
)
_CONTENT: Sequence[Key] = (_CONTENT_DATE, _CONTENT_TIME, _INSTANCE_NUMBER)

PATIENT: Sequence[Key] = (("00100010", "PN", 2, ""), ("00100020", "LO", 1, None))
STUDY: Sequence[Key] = (
    ("00080020", "DA", 1, _NO_DATE),
    ("00080030", "TM", 1, _NO_TIME),
    ("00080050", "SH", 2, ""),
    ("00081030", "LO", 2, ""),
    ("0020000D", "UI", 1, ""),
    ("00200010", "SH", 1, None),
)
SERIES: Sequence[Key] = (("00080060", "CS", 1, "OT"), ("0020000E", "UI", 1, ""), ("00200011", "IS", 1, None))

_IMAGE = "IMAGE"
INSTANCE: Mapping[str, Sequence[Key]] = {
    _IMAGE: (_INSTANCE_NUMBER,),
    "RT DOSE": (("3004000A", "CS", 1, "PLAN"), _INSTANCE_NUMBER),
    "RT STRUCTURE SET": (
        ("30060002", "SH", 1, "UNNAMED"),
        ("30060008", "DA", 2, ""),
        ("30060009", "TM", 2, ""),
        _INSTANCE_NUMBER,
    ),
    "RT PLAN": (
        ("300A0002", "SH", 1, "UNNAMED"),
        ("300A0006", "DA", 2, ""),
        ("300A0007", "TM", 2, ""),
        _INSTANCE_NUMBER,
    ),
    "RT TREAT RECORD": (("30080250", "DA", 2, ""), ("30080251", "TM", 2, ""), _INSTANCE_NUMBER),
    "PRESENTATION": (
        ("00700082", "DA", 1, _NO_DATE),
        ("00700083", "TM", 1, _NO_TIME),
        _INSTANCE_NUMBER,
        *_LABELLED,
    ),
    "WAVEFORM": _CONTENT,
    "SR DOCUMENT": (
        *_CONTENT,
        ("0040A491", "CS", 1, "PARTIAL"),
        ("0040A493", "CS", 1, "UNVERIFIED"),
        _CONCEPT_NAME,
    ),
    "KEY OBJECT DOC": (*_CONTENT, _CONCEPT_NAME),
    "SPECTROSCOPY": (
        *_CONTENT,
        ("00080008", "CS", 1, "ORIGINAL\\PRIMARY"),
        ("00280008", "IS", 1, "1"),
        ("00280010", "US", 1, "1"),
        ("00280011", "US", 1, "1"),
        ("00289001", "UL", 1, "1"),
        ("00289002", "UL", 1, "1"),
    ),
    "RAW DATA": (_CONTENT_DATE, _CONTENT_TIME, ("00200013", "IS", 2, "")),
    "REGISTRATION": (*_CONTENT, *_LABELLED),
    "FIDUCIAL": (*_CONTENT, *_LABELLED),
    "ENCAP DOC": (
        ("00080023", "DA", 2, ""),
        ("00080033", "TM", 2, ""),
        _INSTANCE_NUMBER,
        ("00420010", "ST", 2, ""),
        _CONCEPT_NAME,
        ("00420012", "LO", 1, "application/octet-stream"),
    ),
    "VALUE MAP": (*_CONTENT, *_LABELLED),
    "STEREOMETRIC": (),
    "MEASUREMENT": _CONTENT,
    "SURFACE": (*_CONTENT, *_LABELLED),
    "SURFACE SCAN": (_CONTENT_DATE, _CONTENT_TIME),
    "TRACT": (*_CONTENT, *_LABELLED),
    "ASSESSMENT": (_INSTANCE_NUMBER, ("0040E006", "SQ", 2, "")),
    "RADIOTHERAPY": (_INSTANCE_NUMBER,),
    "ANNOTATION": (*_CONTENT, *_LABELLED),
}

_ROOT = "1.2.840.10008.5.1.4.1.1."
_TYPES = {
    **dict.fromkeys(("481.4", "481.6", "481.7", "481.9"), "RT TREAT RECORD"),
    **dict.fromkeys((f"481.{number}" for number in range(10, 26)), "RADIOTHERAPY"),
    **dict.fromkeys(("481.5", "481.8"), "RT PLAN"),
    **dict.fromkeys(("66.1", "66.3"), "REGISTRATION"),
    **dict.fromkeys(("68.1", "68.2"), "SURFACE SCAN"),
    **dict.fromkeys((*(f"78.{number}" for number in range(1, 9)), "80.1"), "MEASUREMENT"),
    "481.2": "RT DOSE",
    "481.3": "RT STRUCTURE SET",
    "88.59": "KEY OBJECT DOC",
    "79.1": "SR DOCUMENT",
    "4.2": "SPECTROSCOPY",
    "66": "RAW DATA",
    "66.2": "FIDUCIAL",
    "66.5": "SURFACE",
    "66.6": "TRACT",
    "67": "VALUE MAP",
    "77.1.5.3": "STEREOMETRIC",
    "90.1": "ASSESSMENT",
    "91.1": "ANNOTATION",
}
_FAMILIES = {"11": "PRESENTATION", "9": "WAVEFORM", "88": "SR DOCUMENT", "104": "ENCAP DOC"}


def type_of(sop_class_uid: str) -> str:
    """Return the type of the directory record of an instance (PS3.3 section F.4, PS3.4 Annex I)."""
    if not sop_class_uid.startswith(_ROOT):
        return _IMAGE
    kind = sop_class_uid.removeprefix(_ROOT)
    return _TYPES.get(kind) or _FAMILIES.get(kind.partition(".")[0]) or _IMAGE


def keys_of(dicom_json: bytes, sop_class_uid: str) -> tuple[str, str]:
    """Return the keys of the records of an instance, of its series, study and patient.

    Args:
        dicom_json: its metadata.

    Returns:
        A text that is the same for all instances of a patient, and the keys as JSON.
    """
    data_set: Mapping[str, Any] = orjson.loads(dicom_json)
    kind = type_of(sop_class_uid)
    levels = (PATIENT, STUDY, SERIES, INSTANCE[kind])
    keys = [{tag: data_set[tag] for tag, _, _, _ in level if data_set.get(tag, {}).get("Value")} for level in levels]
    patient = _first(keys[0], "00100020") or "?" + orjson.dumps(_first(keys[0], "00100010") or "").decode()
    return str(patient), orjson.dumps([kind, *keys]).decode()


def _first(keys: Mapping[str, Any], tag: str) -> Any:
    values: Iterable[Any] = keys.get(tag, {}).get("Value", ())
    return next(iter(values), None)
