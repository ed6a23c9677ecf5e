"""Encoded data sets to the DICOM JSON model.

Every query has an identifier, so these are decoded here: pydicom takes ten times as long.
"""

import base64
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR

from dimse.data_sets.character_sets import Terms, decode

Element = dict[str, Any]
DataSet = dict[str, Element]
"""Elements by tag, eight upper-case hex digits."""

SPECIFIC_CHARACTER_SET = "00080005"
MAX_DEPTH = 8
"""Maximum nesting of sequences."""

_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs with a length of 32 bits (PS3.5 section 7.1.2)."""

_VRS = _LONG | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_UNDEFINED = 0xFFFFFFFF
_DELIMITERS = 0xFFFE
"""Group of the tags of items and delimiters, which have no VR."""

_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


class Unreadable(Exception):
    """The bytes are not a data set in their transfer syntax."""


def read(data: bytes, transfer_syntax: str) -> DataSet:
    """Return a data set, tags ascending; group lengths are left out.

    Values of IS and DS are strings as written, because keys of a query may be patterns or ranges. A name is an object
    of component groups. Explicit VRs are recognised where implicit ones are expected, and the reverse.

    Args:
        data: the encoded data set.
        transfer_syntax: UID of an uncompressed one.

    Raises:
        Unreadable: it is no data set.
    """
    order = _BIG if transfer_syntax == _EXPLICIT_BIG else _LITTLE
    try:
        return _data_set(data, 0, len(data), (), 0, order)[0]
    except struct.error as error:
        raise Unreadable("The data set cannot be read in its transfer syntax.") from error


def terms_of(data_set: DataSet) -> Terms:
    """Return the values of Specific Character Set of a data set."""
    return tuple(value or "" for value in data_set.get(SPECIFIC_CHARACTER_SET, {}).get("Value", ()))


def joined(value: Any) -> str:
    """Return a value as text; a person name in its PS3.5 form."""
    if isinstance(value, dict):
        return "=".join(value.get(group) or "" for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value)


class _Order:
    """A byte order: formats of numbers."""

    def __init__(self, prefix: str) -> None:
        self.tag = struct.Struct(f"{prefix}HH")
        self.item = struct.Struct(f"{prefix}HHI")
        self.short = struct.Struct(f"{prefix}H")
        self.long = struct.Struct(f"{prefix}I")
        self.numbers = {vr: struct.Struct(prefix + code) for vr, code in _NUMBERS.items()}


_LITTLE, _BIG = _Order("<"), _Order(">")


def _data_set(data: bytes, position: int, end: int, terms: Terms, depth: int, order: _Order) -> tuple[DataSet, int]:
    """Return the elements up to `end` or a delimiter of an item, and the position after them.

    Raises:
        struct.error: the bytes end within the head of an element, or a value has another size than its VR.
    """
    if depth > MAX_DEPTH:
        raise Unreadable("The data set is nested too deeply.")
    found: DataSet = {}
    # A sequence with VR UN has items with implicit VRs in a data set with explicit ones (PS3.5 section 6.2.2).
    is_explicit = data[position + 4 : position + 6] in _VRS
    last, is_ascending = 0, True
    while position < end:
        tag, vr, length, position = _head(data, position, order, is_explicit=is_explicit)
        if tag == _END_OF_ITEM:
            break
        if vr == "SQ" or length == _UNDEFINED:
            items, position = _items(data, position, end, length, terms, depth, order)
            element: Element = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        else:
            if length > end - position:
                raise Unreadable("The data set ends within an element.")
            element = {"vr": vr} | _content(vr, data[position : position + length], terms, order)
            position += length
        if not tag & 0xFFFF:
            continue
        is_ascending = is_ascending and tag > last
        last, key = tag, f"{tag:08X}"
        found[key] = element
        if key == SPECIFIC_CHARACTER_SET:
            terms = terms_of(found)
    return found if is_ascending else dict(sorted(found.items())), position


def _head(data: bytes, position: int, order: _Order, *, is_explicit: bool) -> tuple[int, str, int, int]:
    """Return tag, VR and length of an element, and the position of its value."""
    group, number = order.tag.unpack_from(data, position)
    tag = group << 16 | number
    written = data[position + 4 : position + 6]
    if not is_explicit or group == _DELIMITERS or not (written.isalpha() and written.isupper()):
        (length,) = order.long.unpack_from(data, position + 4)
        return tag, _vr(tag, None), length, position + 8
    if written in _LONG:
        (length,) = order.long.unpack_from(data, position + 8)
        position += 12
    else:
        (length,) = order.short.unpack_from(data, position + 6)
        position += 8
    return tag, _vr(tag, written.decode()), length, position


def _items(
    data: bytes, position: int, end: int, length: int, terms: Terms, depth: int, order: _Order
) -> tuple[list[DataSet], int]:
    """Return the items of a sequence, and the position after it. Raises: as `_data_set`."""
    if length != _UNDEFINED:
        if length > end - position:
            raise Unreadable("The data set ends within an element.")
        end = position + length
    items: list[DataSet] = []
    while position < end:
        group, number, size = order.item.unpack_from(data, position)
        tag = group << 16 | number
        position += 8
        if tag == _END_OF_SEQUENCE:
            break
        if tag != _ITEM or (size != _UNDEFINED and size > end - position):
            raise Unreadable("A sequence is malformed.")
        item_end = end if size == _UNDEFINED else position + size
        item, position = _data_set(data, position, item_end, terms, depth + 1, order)
        items.append(item)
        if size != _UNDEFINED:
            position = item_end
    return items, position if length == _UNDEFINED else end


def _content(vr: str, value: bytes, terms: Terms, order: _Order) -> Element:
    """Return the member that holds the value; none for an empty element."""
    if not value:
        return {}
    if vr in _BINARY:
        return {"InlineBinary": base64.b64encode(value).decode()}
    if vr in _NUMBERS:
        return {"Value": [number for (number,) in order.numbers[vr].iter_unpack(value)]}
    if vr == "AT":
        return {"Value": [f"{group:04X}{element:04X}" for group, element in order.tag.iter_unpack(value)]}
    text = decode(value, terms) if vr in _TEXT else value.decode("latin-1")
    values = [text.rstrip(" \0")] if vr in _SINGLE else list(_values(text))
    if not any(values):
        return {}
    if vr == "PN":
        return {"Value": [_name(value) if value else None for value in values]}
    return {"Value": [value or None for value in values]}


def _values(text: str) -> Iterator[str]:
    for value in text.split("\\"):
        yield value.strip(" \0")


def _name(value: str) -> dict[str, str]:
    return {group: text for group, text in zip(_GROUPS, value.split("=", 2), strict=False) if text}


@lru_cache(maxsize=1024)
def _vr(tag: int, written: str | None) -> str:
    """Return the VR of an element: that of the dictionary, if it is not written, or UN."""
    if written not in (None, "UN"):
        return str(written)
    try:
        return dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return "LO" if tag & 0xFFFF < 0x100 and tag >> 16 & 1 else "UN"
