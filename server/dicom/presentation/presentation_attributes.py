"""The part of an instance's metadata that rendering needs, in little memory.

The metadata of an enhanced multi-frame object may have tens of megabytes, nearly all in per-frame items, and ten times
as much when parsed. Here the items are parsed one by one, and equal content of frames is stored once.
"""

from dataclasses import dataclass
from json import JSONDecoder
from typing import Any

import orjson

from server.dicom.elements.canonical_json import Attributes, items

_PER_FRAME_GROUPS = "52009230"
_OPENING = f'"{_PER_FRAME_GROUPS}":{{"vr":"SQ","Value":['.encode()
_EMPTY = f'"{_PER_FRAME_GROUPS}":{{"vr":"SQ"'.encode()
_decode = JSONDecoder().raw_decode

_LARGE_BYTES = 1 << 18
"""Metadata of at least this size is parsed item by item."""

FRAME_GROUPS = (
    "00089205",  # Pixel Presentation, which may be in a group of its own
    "00289110",  # Pixel Measures
    "00289132",  # Frame VOI LUT
    "00289145",  # Pixel Value Transformation
    "00480207",  # Optical Path Identification
    "0062000A",  # Segment Identification
)
"""Functional groups that affect the presentation of a frame; see `server.dicom.presentation.presentation`."""

_PLAIN_GROUPS = {"0008", "0010", "0018", "0020", "0042", "2050", "3004", "7FE0"}
"""Groups whose non-sequence attributes may be needed for presentation, annotations or documents."""

_WHOLE_GROUPS = {"0028", "0048", "0062", "5200"}

_MEMORY_FACTOR = 6
"""Python objects take about this many bytes per byte of JSON."""


@dataclass(frozen=True, slots=True)
class Essentials:
    """Attributes for `presentation_of`, and their approximate memory size in bytes."""

    attributes: Attributes
    cost_bytes: int


def essentials(dicom_json: bytes) -> Essentials:
    """Reduce a data set to the needed attributes; for a large one this may take seconds.

    dicom_json: canonical (RetrieveMetadata in retrieve_service.proto).
    """
    known: dict[bytes, dict[str, Any]] = {}
    data_set, per_frame = _without_frame_items(dicom_json, known)
    kept = {tag: element for tag, element in data_set.items() if _is_needed(tag, element)}
    cost_bytes = (len(orjson.dumps(kept)) + sum(map(len, known))) * _MEMORY_FACTOR + 8 * len(per_frame)
    if per_frame:
        kept[_PER_FRAME_GROUPS] = {"vr": "SQ", "Value": per_frame}
    return Essentials(kept, cost_bytes)


def _without_frame_items(
    dicom_json: bytes, known: dict[bytes, dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a data set without its per-frame items, and the needed attributes of each of these."""
    start = dicom_json.find(_OPENING) if len(dicom_json) >= _LARGE_BYTES else -1
    if start < 0:
        data_set: dict[str, Any] = orjson.loads(dicom_json)
        return data_set, [_essential(item, known) for item in items(data_set, _PER_FRAME_GROUPS)]
    text = dicom_json[start + len(_OPENING) :].decode()
    position, per_frame = 0, []
    while text[position] == "{":  # canonical JSON has no white space
        item, position = _decode(text, position)
        per_frame.append(_essential(item, known))
        position += text[position] == ","
    assert text[position] == "]"
    return orjson.loads(b"%b%b%b" % (dicom_json[:start], _EMPTY, text[position + 1 :].encode())), per_frame


def _essential(item: Attributes, known: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    """Return the needed attributes of a per-frame item; equal items share one object."""
    slim = {tag: item[tag] for tag in FRAME_GROUPS if tag in item}
    return known.setdefault(orjson.dumps(slim), slim)


def _is_needed(tag: str, element: Any) -> bool:
    if tag == _PER_FRAME_GROUPS:
        return False
    group = tag[:4]
    is_overlay = "6000" <= group <= "601E"
    return group in _WHOLE_GROUPS or ((group in _PLAIN_GROUPS or is_overlay) and element.get("vr") != "SQ")
