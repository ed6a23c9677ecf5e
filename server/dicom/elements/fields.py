"""Selection of attributes from canonical DICOM JSON without parsing all of it.

Elements are copied as text: numbers and strings are unchanged.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from server.dicom.elements.keywords import path_of, tags_of

IDENTIFYING = tags_of("SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID")
"""Attributes that are never excluded."""

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_HEAD = re.compile(rb'"([0-9A-F]{8})":\{"vr":"(?:(SQ)|[A-Z]{2})"')
_SIMPLE = re.compile(rb'(?:,"Value":\[(?:[^"\]]++|' + _STRING + rb')*+\]|,"[A-Za-z]+":"[^"]*+")?+\}')
# In steps of about a millisecond, so that other threads can run.
_BETWEEN_BRACKETS = re.compile(rb'(?:[^"\[\]]++|' + _STRING + rb"){0,5000}+")
_OPENING, _CLOSING = b"[]"
_SEQUENCE_VR = b'"vr":"SQ"'
_KEY_BYTES = len(b'0008114A":{')


@dataclass(frozen=True, slots=True)
class Fields:
    """A selection of top-level attributes.

    included: tags as eight upper-case hex digits; None for all.
    excluded: tags to omit. `IDENTIFYING` attributes are never omitted.
    """

    included: frozenset[str] | None
    excluded: frozenset[str]

    def of(self, dicom_json: bytes) -> bytes:
        """Return a data set with the selected attributes only."""
        excluded = {tag.encode() for tag in self.excluded - IDENTIFYING}
        if self.included is None:
            kept = [dicom_json[start:end] for tag, start, end in top_level_elements(dicom_json) if tag not in excluded]
        else:
            wanted = {tag.encode() for tag in self.included | IDENTIFYING} - excluded
            kept = [
                dicom_json[start:end] for tag, start, end in top_level_elements(dicom_json, wanted) if tag in wanted
            ]
        return b"{%b}" % b",".join(kept)


def fields(included: Iterable[str], excluded: Iterable[str]) -> Fields | None:
    """Return the selection for keywords and tags; None if it contains everything.

    Unknown names are ignored. A dotted path includes its sequence; as an exclusion it is ignored.
    """
    named = [path_of(name) for name in included]
    included_tags = frozenset(path[0] for path in named if path) if named else None
    excluded_tags = frozenset(path[0] for path in map(path_of, excluded) if path and len(path) == 1)
    return Fields(included_tags, excluded_tags) if named or excluded_tags else None


def elements_by_tag(dicom_json: bytes) -> dict[str, bytes]:
    """Return the text of each top-level element by its tag."""
    return {tag.decode(): dicom_json[start:end] for tag, start, end in top_level_elements(dicom_json)}


def first_value(dicom_json: bytes, tag: str) -> str:
    """Return the first value of a top-level attribute as text; empty if there is none."""
    wanted = tag.encode()
    for found, start, end in top_level_elements(dicom_json, {wanted}):
        if found == wanted:
            values = orjson.loads(b"{%b}" % dicom_json[start:end])[tag].get("Value") or [""]
            return "" if values[0] is None else str(values[0])
    return ""


def top_level_elements(dicom_json: bytes, wanted: Iterable[bytes] | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield tag, start and end of the top-level elements in ascending order, up to the last one in `wanted`."""
    last = b"FFFFFFFF" if wanted is None else max(wanted, default=b"")
    position = 1
    while head := _HEAD.match(dicom_json, position):
        tag, sequence = head.groups()
        if tag > last:
            return
        end = _end_of_sequence(dicom_json, head.end()) if sequence else _end_of_simple(dicom_json, head.end())
        yield tag, position, end
        position = end + 1


def find_element(dicom_json: bytes, tag: bytes, position: int = 1) -> tuple[int, int] | None:
    """Return start and end of a top-level element at or after the start of another one; None if there is none.

    Faster than `top_level_elements`: only sequences before the element are walked. Within texts, quotation marks are
    escaped, so that a key that is found is a key.
    """
    key = b'"%b":{"vr":' % tag
    while (start := dicom_json.find(key, position)) >= 0:
        sequence = dicom_json.find(_SEQUENCE_VR, position, start)
        if sequence < 0:
            head = _HEAD.match(dicom_json, start)
            assert head is not None, "the JSON of the index is canonical"
            end = (_end_of_sequence if head[2] else _end_of_simple)(dicom_json, head.end())
            return start, end
        if dicom_json[sequence - _KEY_BYTES : sequence - _KEY_BYTES + 8] > tag:
            return None  # what was found is within this sequence
        position = _end_of_sequence(dicom_json, sequence + len(_SEQUENCE_VR)) + 1
    return None


def _end_of_simple(dicom_json: bytes, position: int) -> int:
    rest = _SIMPLE.match(dicom_json, position)
    assert rest is not None, "the JSON of the index is canonical"
    return rest.end()


def _end_of_sequence(dicom_json: bytes, position: int) -> int:
    if dicom_json.startswith(b"}", position):
        return position + 1
    depth = 0
    while True:
        between = _BETWEEN_BRACKETS.match(dicom_json, position)
        assert between is not None
        position = between.end()
        bracket = dicom_json[position]
        if bracket == _OPENING:
            depth += 1
        elif bracket == _CLOSING:
            depth -= 1
        else:
            continue
        position += 1
        if depth == 0:
            return position + 1
