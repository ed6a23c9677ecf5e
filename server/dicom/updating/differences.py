"""Differences between two data sets in canonical DICOM JSON, attribute by attribute.

Only attributes that differ are parsed. Items of a sequence are compared by their position.
"""

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.dicom.elements.dictionary import keyword
from server.dicom.elements.fields import top_level_elements

_BULK_PATH = re.compile(rb'"BulkDataURI":"bulkdata:([0-9A-F/]+)"')
_VR = re.compile(rb'\{"vr":"([A-Z]{2})"')
_SEQUENCE = b'{"vr":"SQ"'
_TAG_BYTES = len('"00100010":')

DataSet = Mapping[str, Any]


class DifferenceKind(enum.IntEnum):
    """The kind of a difference. The numbers are those of the contract."""

    ADDED = 1
    REMOVED = 2
    CHANGED = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """An attribute, or an item of a sequence, in which two data sets differ.

    path: as in the contract: `AttributeDifference.path`.
    before, after: DICOM JSON; empty where there is none.
    """

    path: str
    kind: DifferenceKind
    vr: str
    before: bytes = b""
    after: bytes = b""

    @property
    def keyword(self) -> str:
        """Keyword of the attribute; empty if the dictionary has none."""
        parts = self.path.split("/")
        return keyword(parts[-1] if len(parts) % 2 else parts[-2])


@dataclass(frozen=True, slots=True)
class SameReference:
    """A bulk value that both data sets have; the values must be compared by their bytes."""

    path: str
    vr: str


Found = Difference | SameReference


def differences(before: bytes, after: bytes) -> Iterator[Found]:
    """Yield the differences of two data sets, and the bulk values that both have, in ascending order of path."""
    old, new = _spans(before), _spans(after)
    left, right = next(old, None), next(new, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield _one(left[0], left[1], b"")
            left = next(old, None)
        elif left is None or right[0] < left[0]:
            yield _one(right[0], b"", right[1])
            right = next(new, None)
        else:
            yield from _of_element(left[0], left[1], right[1])
            left, right = next(old, None), next(new, None)


def _spans(dicom_json: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the tags and JSON of the top-level elements."""
    for tag, start, end in top_level_elements(dicom_json):
        yield tag.decode(), dicom_json[start + _TAG_BYTES : end]


def _of_element(path: str, before: bytes, after: bytes) -> Iterator[Found]:
    if before == after:
        if _BULK_PATH.search(before):
            yield from _references(path, before)
    elif before.startswith(_SEQUENCE) and after.startswith(_SEQUENCE):
        yield from _of_items(path, _items(before), _items(after))
    else:
        yield _one(path, before, after)


def _items(sequence: bytes) -> Sequence[DataSet]:
    items: Sequence[DataSet] = orjson.loads(sequence).get("Value", [])
    return items


def _of_items(path: str, before: Sequence[DataSet], after: Sequence[DataSet]) -> Iterator[Found]:
    for number in range(1, max(len(before), len(after)) + 1):
        item_path = f"{path}/{number}"
        if number > len(after):
            yield Difference(item_path, DifferenceKind.REMOVED, "SQ", before=orjson.dumps(before[number - 1]))
        elif number > len(before):
            yield Difference(item_path, DifferenceKind.ADDED, "SQ", after=orjson.dumps(after[number - 1]))
        else:
            old, new = before[number - 1], after[number - 1]
            for tag in sorted(old.keys() | new.keys()):
                texts = (orjson.dumps(item[tag]) if tag in item else b"" for item in (old, new))
                yield from _of_nested(f"{item_path}/{tag}", *texts)


def _of_nested(path: str, before: bytes, after: bytes) -> Iterator[Found]:
    if before and after:
        yield from _of_element(path, before, after)
    else:
        yield _one(path, before, after)


def _references(path: str, element: bytes) -> Iterator[SameReference]:
    """Yield the bulk values in an element that both data sets have."""
    if not element.startswith(_SEQUENCE):
        yield SameReference(path, _vr_of(element))
        return
    for found in _BULK_PATH.finditer(element):
        yield SameReference(found[1].decode(), _vr_before(element, found.start()))


def _vr_before(sequence: bytes, position: int) -> str:
    """Return the value representation of the element with the reference at `position`."""
    return sequence[position - len('OB",') : position - len('",')].decode()


def _one(path: str, before: bytes, after: bytes) -> Difference:
    kind = DifferenceKind.CHANGED
    if not before or not after:
        kind = DifferenceKind.REMOVED if before else DifferenceKind.ADDED
    return Difference(path, kind, _vr_of(after or before), before, after)


def _vr_of(element: bytes) -> str:
    found = _VR.match(element)
    return found[1].decode() if found else ""
