"""The Original Attributes Sequence, which has the values before each change (PS3.3 section C.12.1)."""

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from server.dicom.elements.element_headers import CHARSET_VRS, SEQUENCE, SHORT_VRS
from server.dicom.updating.changes import NUMBERS, Changes, Element, canonical_json, name_of, text_of
from server.dicom.updating.editing import not_possible

ORIGINAL_ATTRIBUTES = 0x04000561
_MODIFIED = 0x04000550
_TIME = 0x04000562
_SYSTEM = 0x04000563
_SOURCE = 0x04000564
_REASON = 0x04000565

_TEXTS = (SHORT_VRS | CHARSET_VRS | {"UR"}) - NUMBERS.keys() - {"AT", "PN"}


def with_originals(changes: Changes, dicom_json: bytes, time: datetime, system: str) -> Changes:
    """Return changes that also record the values which they replace.

    Args:
        dicom_json: of the instance before the change.
        time: of the change.
        system: name of the system that makes it.

    Raises:
        InvalidRequest: INVALID_INSTANCE, the instance has earlier records that cannot be kept.
    """
    found: Mapping[str, Any] = orjson.loads(dicom_json)
    modified = [
        element
        for tag in changes.tags
        if (old := found.get(f"{tag:08X}")) and (element := _element(tag, old)) is not None and element.value
    ]
    if not modified:
        return changes
    item = (
        Element(_MODIFIED, SEQUENCE, (tuple(modified),)),
        Element(_TIME, "DT", time.strftime("%Y%m%d%H%M%S.%f+0000")),
        Element(_SYSTEM, "LO", system),
        Element(_SOURCE, "LO", ""),
        Element(_REASON, "CS", "CORRECT"),
    )
    earlier = found.get(f"{ORIGINAL_ATTRIBUTES:08X}", {}).get("Value", ())
    record = Element(ORIGINAL_ATTRIBUTES, SEQUENCE, (*map(_item, earlier), item))
    elements = tuple(sorted((*changes.elements, record), key=lambda element: element.tag))
    return Changes(elements, canonical_json(elements))


def _item(item: Mapping[str, Any]) -> tuple[Element, ...]:
    elements = [_element(int(tag, 16), element) for tag, element in item.items()]
    if None in elements:
        raise not_possible("The instance has a record of earlier changes that cannot be kept.")
    return tuple(element for element in elements if element is not None)


def _element(tag: int, element: Mapping[str, Any]) -> Element | None:
    """Return an element of stored metadata; None if its value is elsewhere, or has another form."""
    vr, values = element["vr"], element.get("Value", ())
    if "BulkDataURI" in element:
        return None
    try:
        if vr == SEQUENCE:
            return Element(tag, vr, tuple(map(_item, values)))
        if vr in NUMBERS:
            return Element(tag, vr, tuple(values)) if all(type(value) in (int, float) for value in values) else None
        if vr == "AT":
            return Element(tag, vr, tuple(word for value in values for word in divmod(int(value, 16), 1 << 16)))
        if vr == "PN":
            return Element(tag, vr, "\\".join(map(name_of, values)))
        if vr in _TEXTS:
            return Element(tag, vr, "\\".join(text_of(vr, value) for value in values))
        return Element(tag, vr, b64decode(element.get("InlineBinary", "")))
    except (TypeError, ValueError):
        return None
