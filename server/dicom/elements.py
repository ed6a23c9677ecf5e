"""How the head of an element is read: one table per encoding, filled as tags are met.

The key is the encoded tag (implicit VR) or the encoded tag and VR (explicit VR); the entry says everything that
follows from them. This is what makes the pass over a data set one look-up an element.
"""

from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import Any, NamedTuple

from server.dicom import dictionary
from server.dicom.values import BIG_ENDIAN_EMITTERS, LITTLE_ENDIAN_EMITTERS, Emitter

UNDEFINED_LENGTH = 0xFFFFFFFF

ITEM = 0xFFFEE000
ITEM_DELIMITER = 0xFFFEE00D
SEQUENCE_DELIMITER = 0xFFFEE0DD

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103
LUT_DESCRIPTOR = 0x00283002
EXTENDED_OFFSET_TABLE = 0x7FE00001
PIXEL_DATA = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})
"""Pixel Data, Float Pixel Data, Double Float Pixel Data."""

SEQUENCE = "SQ"
UNKNOWN = "UN"
MISSING = ""
"""The VR of an element that is encoded without, where the dictionary of public elements doesn't know it."""

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT = frozenset({"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT", "PN", "SH", "SL", "SS"}) | {
    *("ST", "TM", "UI", "UL", "US"),
}
_ALWAYS_SPECIAL = {SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION, LUT_DESCRIPTOR, EXTENDED_OFFSET_TABLE} | PIXEL_DATA
_MAX_ENTRIES = 1 << 15


class Entry(NamedTuple):
    """What a tag and its encoding mean.

    emit: makes the JSON of a value; None if the element needs more than its value.
    head, empty: the opening of its JSON, and the JSON of the empty element.
    unpack, length_at: read the length, from so many bytes after the start of the element.
    value_at: the value begins so many bytes after the start of the element.
    """

    tag: int
    emit: Emitter | None
    head: str
    empty: str
    unpack: Callable[..., tuple[Any, ...]]
    length_at: int
    value_at: int
    vr: str


class ElementTable(dict[bytes, Entry]):
    """Entries by encoded tag, or tag and VR.

    Args:
        watched: tags whose raw values are wanted, so that their entries have no emitter.
    """

    __slots__ = ("emitters", "is_big_endian", "is_implicit", "key_bytes", "u16", "u32", "watched")

    def __init__(self, *, is_implicit: bool, is_big_endian: bool, watched: frozenset[int]) -> None:
        super().__init__()
        order = ">" if is_big_endian else "<"
        self.is_implicit = is_implicit
        self.is_big_endian = is_big_endian
        self.watched = watched
        self.key_bytes = 4 if is_implicit else 6
        self.u16 = Struct(f"{order}H").unpack_from
        self.u32 = Struct(f"{order}I").unpack_from
        self.emitters = BIG_ENDIAN_EMITTERS if is_big_endian else LITTLE_ENDIAN_EMITTERS

    def __missing__(self, key: bytes) -> Entry:
        tag = self.u16(key)[0] << 16 | self.u16(key, 2)[0]
        raw_vr = key[4:6]
        vr = raw_vr.decode("latin-1")
        if vr in LONG_VRS:
            return self._remember(key, self._entry(tag, vr, self.u32, 8, 12))
        if vr in _SHORT:
            return self._remember(key, self._entry(tag, vr, self.u16, 6, 8))
        if self.is_implicit:
            return self._remember(key, self._without_vr(tag))
        if tag >> 16 == 0xFFFE or not b"AA" <= raw_vr <= b"ZZ":
            # Items have no VR, and some writers leave it out elsewhere; then these bytes are of the length.
            return self._without_vr(tag)
        # A VR that we don't know: pydicom takes its length for a short one.
        return self._entry(tag, UNKNOWN, self.u16, 6, 8)

    def _without_vr(self, tag: int) -> Entry:
        vr = "UL" if tag & 0xFFFF == 0 else MISSING
        return self._entry(tag, dictionary.public_vr(tag) or vr, self.u32, 4, 8)

    def _entry(self, tag: int, vr: str, unpack: Callable[..., tuple[Any, ...]], length_at: int, value_at: int) -> Entry:
        head = element_head(tag, vr)
        emit = None if self._is_special(tag, vr) else self.emitters[vr]
        return Entry(tag, emit, head, head + "}", unpack, length_at, value_at, vr)

    def _is_special(self, tag: int, vr: str) -> bool:
        return (
            vr not in self.emitters
            or tag in _ALWAYS_SPECIAL
            or tag in self.watched
            or tag >> 16 == 0xFFFE
            or is_private_creator(tag)
        )

    def _remember(self, key: bytes, entry: Entry) -> Entry:
        if len(self) < _MAX_ENTRIES:  # hostile files could name any tag
            self[key] = entry
        return entry


@cache
def table_of(*, is_implicit: bool, is_big_endian: bool, watched: frozenset[int] = frozenset()) -> ElementTable:
    """Return the table of an encoding. It is shared, as what it learns of one file holds for all."""
    return ElementTable(is_implicit=is_implicit, is_big_endian=is_big_endian, watched=watched)


def element_head(tag: int, vr: str) -> str:
    """Return the opening of an element's JSON."""
    return f'"{tag:08X}":{{"vr":"{vr}"'


def is_private(tag: int) -> bool:
    """Say whether the group is odd (PS3.5 section 7.8)."""
    return bool(tag & 0x10000)


def is_private_creator(tag: int) -> bool:
    """Say whether the element reserves a block of private elements."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF
