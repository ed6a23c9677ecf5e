"""Labels and external metadata as elements of DICOM JSON, for responses that are requested with them.

Labels are private attributes (PS3.5 section 7.8), so that every reader of DICOM JSON and XML accepts them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from server.dicom.elements.external_metadata import Element, elements_of
from server.dicom.elements.fields import elements_by_tag
from server.model.lifecycle.label import Labels, is_external

CREATOR = "DICOMSTORE"
"""Private Creator of the block with labels."""

_GROUP = "0099"
_BLOCKS = range(0x10, 0x100)

Levels = Iterable[tuple[str, Labels]]
"""Labels with the level of their owner: STUDY, SERIES, INSTANCE."""


def with_labels(dicom_json: bytes, levels: Levels) -> bytes:
    """Return a data set with a sequence of labels; unchanged without labels. External metadata is left out."""
    labels = [
        (level, name, value) for level, of_level in levels for name, value in of_level.items() if not is_external(name)
    ]
    if not labels:
        return dicom_json
    present = elements_by_tag(dicom_json)
    block = next(number for number in _BLOCKS if not _has_block(present, number))
    creator = {f"{_GROUP}00{block:02X}": {"vr": "LO", "Value": [CREATOR]}}
    items = [
        {
            **creator,
            f"{_GROUP}{block:02X}02": {"vr": "CS", "Value": [level]},
            f"{_GROUP}{block:02X}03": {"vr": "LO", "Value": [name]},
            f"{_GROUP}{block:02X}04": {"vr": "UT", "Value": [value]} if value else {"vr": "UT"},
        }
        for level, name, value in labels
    ]
    return _merged(present, {**creator, f"{_GROUP}{block:02X}01": {"vr": "SQ", "Value": items}})


def with_external_metadata(dicom_json: bytes, of_study: Labels) -> bytes:
    """Return a data set with the external metadata among the labels of its study, which replaces its own attributes."""
    elements = elements_of(of_study)
    return _merged(elements_by_tag(dicom_json), elements) if elements else dicom_json


def _has_block(present: Mapping[str, bytes], block: int) -> bool:
    prefixes = (f"{_GROUP}00{block:02X}", f"{_GROUP}{block:02X}")
    return any(tag.startswith(prefixes) for tag in present)


def _merged(present: Mapping[str, bytes], added: Mapping[str, Element]) -> bytes:
    new = {tag: b'"%b":%b' % (tag.encode(), orjson.dumps(element)) for tag, element in added.items()}
    merged: dict[str, Any] = {**present, **new}
    return b"{%b}" % b",".join(merged[tag] for tag in sorted(merged))
