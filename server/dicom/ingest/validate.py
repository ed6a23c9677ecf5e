"""Validation: faults that reject an instance, and faults that are only reported; see `ValidationMode` in
store_service.proto.

A fault in a sequence item is never attributed to the top-level attribute with the same tag. Texts name the violated
rule, never the value.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from server.dicom.elements import dictionary, vr_rules
from server.dicom.elements.values import Note, Notes
from server.dicom.matching.attributes import SEARCH_KEYS
from server.model.ids import is_uid
from server.model.instance import Finding, ValidationMode

SOP_CLASS_UID = "00080016"
SOP_INSTANCE_UID = "00080018"
PATIENT_ID = "00100020"
STUDY_INSTANCE_UID = "0020000D"
SERIES_INSTANCE_UID = "0020000E"

_UIDS = (SOP_CLASS_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
REQUIRED = frozenset({*_UIDS, PATIENT_ID})
"""Top-level attributes that reject an instance if they are invalid."""

_CHECKED_KEYS = {key.path[0]: key for key in SEARCH_KEYS.values() if len(key.path) == 1 and not key.is_virtual}
INDEXED = frozenset(_CHECKED_KEYS)
INDEXED_NUMBERS = frozenset(int(tag, 16) for tag in INDEXED)
"""Elements whose raw values `indexed_errors` checks."""


def required_error(elements: Mapping[str, Any], mode: ValidationMode) -> Finding | None:
    """Return the first fault of a required attribute.

    Args:
        elements: tag → DICOM JSON element.
        mode: LENIENT does not require Patient ID, the other modes require exactly one value.
    """
    for tag in _UIDS:
        values = elements.get(tag, {}).get("Value", ())
        uid = trimmed_uid(values[0]) if values else ""
        if not uid:
            return _missing(tag)
        if len(values) > 1:
            return _finding(tag, "The attribute must have exactly one value.")
        if not is_uid(uid):
            return _finding(tag, "Content does not validate VR UI: value is not a valid UID")
    if mode is ValidationMode.LENIENT:
        return None
    if not _has_patient_id(elements):
        return _missing(PATIENT_ID)
    if len(elements[PATIENT_ID]["Value"]) > 1:
        return _finding(PATIENT_ID, "The attribute must have exactly one value.")
    return None


def lenient_errors(notes: Notes) -> Iterator[Finding]:
    """Yield the invalid values of required attributes."""
    yield from _noted({tag: noted for tag, noted in notes.invalid.items() if tag in REQUIRED})


def lenient_findings(elements: Mapping[str, Any], notes: Notes) -> Iterator[Finding]:
    """Yield the faults reported for a stored instance, one per attribute."""
    if not _has_patient_id(elements):
        yield _missing(PATIENT_ID)
    yield from _noted({**notes.irregular, **notes.invalid})


def irregular_findings(notes: Notes) -> Iterator[Finding]:
    """Yield the faults reported without validation: values read only in part or by an assumption."""
    yield from _noted(notes.irregular)


def indexed_errors(raw: Mapping[int, bytes], elements: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the faults of the first values of indexed attributes.

    Args:
        raw: encoded values by tag.
        elements: tag → DICOM JSON element.
    """
    for number in sorted(raw):
        tag = f"{number:08X}"
        key, element = _CHECKED_KEYS[tag], elements.get(tag, {})
        broken = _broken_rule(key.vr, raw[number], element)
        if broken:
            message = f"Dicom element '{key.keyword}' failed validation for VR '{key.vr}': {broken}"
            yield Finding(tag, key.keyword, element.get("vr", key.vr), message)


def has_multiple_values(elements: Mapping[str, Any]) -> bool:
    """Return whether an attribute whose first value is indexed has further values."""
    for tag in elements.keys() & INDEXED:  # noqa: SIM110 - a generator expression takes twice as long
        if len(elements[tag].get("Value", ())) > 1:
            return True
    return False


def first_uid(elements: Mapping[str, Any], tag: str) -> str:
    """Return the first value of a UID attribute without padding; "" if there is none."""
    values = elements.get(tag, {}).get("Value", ())
    return trimmed_uid(values[0]) if values else ""


def trimmed_uid(value: Any) -> str:
    """Return a UID without trailing spaces and NULs."""
    return value.rstrip("\0 ") if isinstance(value, str) else ""


def _broken_rule(vr: str, raw: bytes, element: Mapping[str, Any]) -> str | None:
    if element.get("vr", vr) != vr:
        return "The value representation differs from the one in the data dictionary."
    if vr == "UI" or not raw:
        text = raw.decode("latin-1").split("\\")[0].rstrip("\0 ")
    elif vr == "PN":
        first = (element.get("Value") or [None])[0] or {}
        text = "=".join(first.values()) + "\0" * raw.endswith(b"\0")
    else:
        first = (element.get("Value") or [""])[0]
        stored = raw.split(b"\\")[0]
        text = (first if isinstance(first, str) else stored.decode("latin-1").strip(" ")) + "\0" * stored.endswith(
            b"\0"
        )
    if not text.strip(" "):
        return None
    broken = vr_rules.STRICT[vr](text)
    return f"{broken[0].upper()}{broken[1:]}".rstrip(".") + "." if broken else None


def _noted(notes: Mapping[str, Note]) -> Iterator[Finding]:
    for _, (path, vr, message) in sorted(notes.items()):
        yield Finding(path, dictionary.keyword(path[-8:]), vr, message)


def _has_patient_id(elements: Mapping[str, Any]) -> bool:
    values = elements.get(PATIENT_ID, {}).get("Value", ())
    return bool(values) and bool(str(values[0]).strip("\0 "))


def _missing(tag: str) -> Finding:
    return _finding(tag, f"The required tag '({tag[:4].lower()},{tag[4:].lower()})' is missing.")


def _finding(tag: str, message: str) -> Finding:
    return Finding(tag, dictionary.keyword(tag), "LO" if tag == PATIENT_ID else "UI", message)
