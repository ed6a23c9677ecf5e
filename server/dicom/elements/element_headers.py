"""Parsing of element headers: one table per encoding, filled with every new tag.

The lookup key is the encoded tag (implicit VR) or the encoded tag and VR (explicit VR); the entry contains everything
derived from them. The scan of a data set therefore needs one lookup per element.
"""

from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import Any, NamedTuple

from server.dicom.elements import dictionary
from server.dicom.elements.charset import CharacterSet
from server.dicom.elements.values import BIG_ENDIAN_EMITTERS, LITTLE_ENDIAN_EMITTERS, PLAIN_VALUES, Emitter, Plain

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

TRAILING_PADDING = 0xFFFCFFFC
"""Data Set Trailing Padding."""

SEQUENCE = "SQ"
UNKNOWN = "UN"
UNDEFINED = "??"
"""A two-letter VR that PS3.5 does not define; see `server.dicom.elements.unknown_vr`."""

MISSING = ""
"""VR of an element without encoded VR that is not in the dictionary of standard elements."""

FILLER_TAGS = frozenset({0x00000000, 0xFFFFFFFF, 0x20202020})
"""Tags of bytes that are all 0x00, 0xFF or spaces."""

LAST_ELEMENTS = PIXEL_DATA | {TRAILING_PADDING}
"""Few elements, if any, follow these."""

_UNCERTAIN_VRS = frozenset({UNKNOWN, UNDEFINED, MISSING})

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
SHORT_VRS = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT", "PN", "SH", "SL", "SS"}
) | {
    *("ST", "TM", "UI", "UL", "US"),
}
CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs whose values are in the data set's character set (PS3.5 section 6.1.2.3)."""

_ALWAYS_SPECIAL = {SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION, LUT_DESCRIPTOR, EXTENDED_OFFSET_TABLE} | PIXEL_DATA
_MAX_ENTRIES = 1 << 13


class Entry(NamedTuple):
    """Properties of an element header: tag and encoding.

    vr: as encoded, or from the dictionary of standard elements.
    head: start of the element's JSON.
    unpack, length_at: reads the length, `length_at` bytes after the start of the element.
    value_at: offset of the value from the start of the element.
    is_certain: it is definitely an element of this VR; otherwise the following bytes must be examined.
    """

    tag: int
    vr: str
    head: str
    unpack: Callable[..., tuple[Any, ...]]
    length_at: int
    value_at: int
    is_certain: bool


class LastValue:
    """Cache of the last value of an entry and its JSON: most values recur in the instances of a series.

    is_independent: the value does not depend on the character set; otherwise only ASCII values are cached.
    """

    __slots__ = ("element", "is_independent", "raw")

    def __init__(self, vr: str) -> None:
        self.raw = b""
        self.element = ""
        self.is_independent = vr not in CHARSET_VRS


MAX_LAST_BYTES = 256
"""Longer values are not cached."""

Row = tuple[int, Plain | None, Emitter | None, str, str, str, int, LastValue, Entry]
"""An entry as used in the element loop: tag, plain, emit, opening, closing, head, value_at, last, entry.

A value whose text, without padding, matches `plain` is written as opening, text and closing; otherwise `emit` is called
with `head`. Without `emit` and `opening` the element is omitted. (Plain tuples unpack faster than named ones.)
"""


class ElementTable(dict[bytes, Row]):
    """Entries by encoded tag, or by encoded tag and VR.

    Args:
        watched: tags whose raw values are needed; their entries have no emitter.

    Attributes:
        sequences: cache of the last scanned sequence of each tag, see `server.dicom.part10.json_scanner`.
        read_head: returns lookup key and 16-bit length of the element at a position.
        read_long: returns the length of an element with `value_at` 12.
    """

    __slots__ = (
        "emitters",
        "is_big_endian",
        "is_implicit",
        "key_bytes",
        "read_head",
        "read_long",
        "sequences",
        "u16",
        "u32",
        "watched",
    )

    def __init__(self, *, is_implicit: bool, is_big_endian: bool, watched: frozenset[int]) -> None:
        super().__init__()
        order = ">" if is_big_endian else "<"
        self.is_implicit = is_implicit
        self.is_big_endian = is_big_endian
        self.watched = watched
        self.sequences: dict[int, tuple[bytes, CharacterSet, str]] = {}
        self.key_bytes = 4 if is_implicit else 6
        self.read_head = Struct(f"{order}4sI" if is_implicit else f"{order}6sH").unpack_from
        self.read_long = Struct(f"{order}8xI").unpack_from
        self.u16 = Struct(f"{order}H").unpack_from
        self.u32 = Struct(f"{order}I").unpack_from
        self.emitters = BIG_ENDIAN_EMITTERS if is_big_endian else LITTLE_ENDIAN_EMITTERS

    def __missing__(self, key: bytes) -> Row:
        entry, is_cacheable = self._entry_of(key)
        has_own_encoding = entry.length_at == 4 != self.key_bytes
        is_special = self._is_special(entry) or has_own_encoding
        is_left_out = is_group_length(entry.tag) and entry.is_certain and entry.value_at == 8 and not has_own_encoding
        emit = None if is_special else self.emitters[entry.vr]
        plain, before, after = PLAIN_VALUES.get(entry.vr, (None, "", ""))
        opening = "" if is_left_out else entry.head + before
        row = (entry.tag, plain, emit, opening, after, entry.head, entry.value_at, LastValue(entry.vr), entry)
        if is_cacheable and len(self) < _MAX_ENTRIES:  # limit, because hostile files may contain any number of tags
            self[key] = row
        return row

    def _entry_of(self, key: bytes) -> tuple[Entry, bool]:
        """Return the entry of a lookup key, and whether it may be cached, because it does not depend on the following
        bytes."""
        tag = self.u16(key)[0] << 16 | self.u16(key, 2)[0]
        raw_vr = key[4:6]
        vr = raw_vr.decode("latin-1")
        if vr in LONG_VRS:
            return _entry(tag, vr, self.u32, 8, 12), True
        if vr in SHORT_VRS:
            return _entry(tag, vr, self.u16, 6, 8), True
        if self.is_implicit or tag >> 16 == 0xFFFE or not _is_vr(raw_vr):
            # Items have no VR, and some writers omit it elsewhere; then these bytes belong to the length.
            missing = "UL" if tag & 0xFFFF == 0 else MISSING
            return _entry(tag, dictionary.public_vr(tag) or missing, self.u32, 4, 8), raw_vr in (b"", b"\0\0")
        return _entry(tag, UNDEFINED, self.u16, 6, 8), False

    def _is_special(self, entry: Entry) -> bool:
        """Return whether the JSON of an element depends on more than its value, or its value affects other elements."""
        tag = entry.tag
        return (
            entry.vr not in self.emitters
            or not entry.is_certain
            or tag in _ALWAYS_SPECIAL
            or tag in self.watched
            or is_private_creator(tag)
            or is_group_length(tag)
        )


def _is_vr(raw: bytes) -> bool:
    """Return whether two bytes are a VR, defined or not; some toolkits write "??" for an unknown VR."""
    return (raw.isalpha() and raw.isupper()) or raw == b"??"


def _entry(tag: int, vr: str, unpack: Callable[..., tuple[Any, ...]], length_at: int, value_at: int) -> Entry:
    is_certain = (
        vr not in _UNCERTAIN_VRS and tag >> 16 != 0xFFFE and tag not in FILLER_TAGS and tag not in LAST_ELEMENTS
    )
    return Entry(tag, vr, element_head(tag, vr), unpack, length_at, value_at, is_certain)


@cache
def table_of(*, is_implicit: bool, is_big_endian: bool, watched: frozenset[int] = frozenset()) -> ElementTable:
    """Return the table of an encoding. Tables are shared, because entries are valid for all files."""
    return ElementTable(is_implicit=is_implicit, is_big_endian=is_big_endian, watched=watched)


def element_head(tag: int, vr: str) -> str:
    """Return the start of an element's JSON."""
    return f'"{tag:08X}":{{"vr":"{vr}"'


def is_private(tag: int) -> bool:
    """Return whether the group is odd (PS3.5 section 7.8)."""
    return bool(tag & 0x10000)


def is_group_length(tag: int) -> bool:
    """Return whether the element is a Group Length, which DICOM JSON and XML omit (PS3.18 section F.2.2)."""
    return not tag & 0xFFFF


def is_private_creator(tag: int) -> bool:
    """Return whether the element is a Private Creator, which reserves a block of private elements."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF
