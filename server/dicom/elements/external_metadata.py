"""External metadata: attributes of a study that clients store beside the objects, as in Azure's DICOM service.

Each is a label of the study. Its name states tag and value representation, its value is the value as text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from server.dicom.elements import vr_rules
from server.model.errors import InvalidRequest, Reason
from server.model.lifecycle.label import EXTERNAL_PREFIX, MAX_VALUE_LENGTH, Labels

CREATOR = "Microsoft"
"""Private Creator of external metadata: that of Azure's service, for the same clients."""

Element = Mapping[str, Any]
"""An element of DICOM JSON."""

_INTEGERS = {"SL": (-(2**31), 2**31), "SS": (-(2**15), 2**15), "UL": (0, 2**32), "US": (0, 2**16)}
_FLOATS = ("FD", "FL")
_TEXT = ("AE", "AS", "CS", "DA", "DT", "IS", "LO", "PN", "SH", "TM", "UI")
VRS = (*_TEXT, *_FLOATS, *_INTEGERS)
RANGES = ("DA", "DT", "TM")
"""VRs with range matching."""

_TAG = re.compile("[0-9A-F]{3}[13579BDF][0-9A-F]{4}")
_NO_GROUPS = ("0001", "0003", "0005", "0007", "FFFF")  # PS3.5 section 7.1
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class ExternalAttribute:
    """An attribute as received."""

    tag: str
    vr: str
    value: str


def is_external_tag(tag: str) -> bool:
    """Return whether a tag, eight upper-case hex digits, can be that of external metadata: it is private."""
    return _TAG.fullmatch(tag) is not None and not tag.startswith(_NO_GROUPS)


def name_of(tag: str, vr: str) -> str:
    """Return the name of the label with an attribute."""
    return f"{EXTERNAL_PREFIX}{vr}-{tag}"


def names_of(tag: str) -> Sequence[str]:
    """Return the names that the label with an attribute can have, one for each VR."""
    return [name_of(tag, vr) for vr in VRS]


def vr_of(name: str) -> str:
    """Return the VR in the name of a label."""
    return name.removeprefix(EXTERNAL_PREFIX)[:2]


def labels_of(attributes: Sequence[ExternalAttribute]) -> Labels:
    """Return the labels for attributes of a request.

    Raises:
        InvalidRequest: INVALID_LABEL, a tag, VR or value is invalid, or a tag occurs twice.
    """
    labels: dict[str, str] = {}
    tags: set[str] = set()
    for attribute in attributes:
        tag, vr = attribute.tag.upper(), attribute.vr.upper()
        if not is_external_tag(tag):
            raise invalid("External metadata needs private tags of eight hexadecimal digits.")
        if vr not in VRS:
            raise invalid(f"The value representation of {tag} must be one of {', '.join(sorted(VRS))}.")
        if tag in tags:
            raise invalid(f"The tag {tag} occurs twice.")
        tags.add(tag)
        value = attribute.value.strip(" ")
        if problem := _problem(vr, value):
            raise invalid(f"The value of {tag} is not valid for {vr}: {problem}.")
        labels[name_of(tag, vr)] = value
    return labels


def elements_of(labels: Labels) -> dict[str, Element]:
    """Return the elements of external metadata among labels, with their private creators."""
    elements: dict[str, Element] = {}
    for name, value in labels.items():
        if name.startswith(EXTERNAL_PREFIX):
            vr, tag = vr_of(name), name[-8:]
            elements[tag] = _element(vr, value)
            if tag[4:] >= "1000":
                elements.setdefault(f"{tag[:4]}00{tag[4:6]}", {"vr": "LO", "Value": [CREATOR]})
    return elements


def invalid(message: str) -> InvalidRequest:
    """Return the error for invalid external metadata."""
    return InvalidRequest(Reason.INVALID_LABEL, message, field="external_metadata")


def _problem(vr: str, value: str) -> str:
    """Return the rule that a value violates; empty if it is valid."""
    if len(value) > MAX_VALUE_LENGTH:
        return vr_rules.TOO_LONG.format(MAX_VALUE_LENGTH)
    if not value.isprintable() or "\\" in value:
        return vr_rules.INVALID_CHARACTER
    if not value:
        return ""
    if vr in _TEXT:
        if vr in ("DA", "TM") and "-" in value:
            return "a range is not a value"
        return vr_rules.LENIENT[vr](value) or ""
    try:
        number = int(value) if vr in _INTEGERS else float(value)
    except ValueError:
        return "value is not a number"
    if vr in _FLOATS:
        return "" if isfinite(number) else "value is not finite"
    low, high = _INTEGERS[vr]
    return "" if low <= number < high else "value is out of range"


def _element(vr: str, value: str) -> Element:
    if not value:
        return {"vr": vr}
    if vr == "PN":
        groups = zip(_NAME_GROUPS, value.split("="), strict=False)
        return {"vr": vr, "Value": [{group: text for group, text in groups if text}]}
    if vr in _INTEGERS or vr == "IS":
        return {"vr": vr, "Value": [int(value)]}
    return {"vr": vr, "Value": [float(value) if vr in _FLOATS else value]}
