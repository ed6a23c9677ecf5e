"""The DICOM JSON model to encoded data sets, in Implicit or Explicit VR Little Endian.

The elements of a response are encoded directly: with one object for each element, a C-FIND with many matches took ten
times as long.
"""

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from dimse.data_sets.character_sets import Terms, encode
from dimse.data_sets.reading import joined

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
TRANSFER_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
"""Those that `write` supports, in order of preference."""

_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_ITEM = 0xFFFEE000
_DS_LENGTH = 16


def write(data_set: Mapping[str, Mapping[str, Any]], transfer_syntax: str, terms: Terms) -> bytes:
    """Return a data set as bytes.

    Args:
        data_set: elements by tag, in any order.
        transfer_syntax: one of `TRANSFER_SYNTAXES`.
        terms: its Specific Character Set, which must be able to represent its texts.

    Raises:
        UnicodeError: a text has other characters.
    """
    return b"".join(_elements(data_set, transfer_syntax == EXPLICIT_LITTLE, terms))


def texts_of(data_set: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield all values to which Specific Character Set applies."""
    for element in data_set.values():
        if element["vr"] == "SQ":
            for item in element.get("Value", ()):
                yield from texts_of(item)
        elif element["vr"] in _TEXT:
            for value in element.get("Value", ()):
                yield joined(value)


def _elements(data_set: Mapping[str, Mapping[str, Any]], explicit: bool, terms: Terms) -> Iterator[bytes]:
    for tag in sorted(data_set):
        element = data_set[tag]
        vr = element["vr"]
        value = _value(vr, element, explicit, terms)
        yield _header(tag, vr, len(value), explicit)
        yield value


def _header(tag: str, vr: str, length: int, explicit: bool) -> bytes:
    number = _number(tag)
    if not explicit:
        return number + struct.pack("<I", length)
    if vr in _LONG:
        return number + struct.pack("<2s2xI", vr.encode(), length)
    if length > 0xFFFF:  # PS3.5 section 6.2.2: VR UN for a value that the length field of its VR cannot express
        return number + struct.pack("<2s2xI", b"UN", length)
    return number + struct.pack("<2sH", vr.encode(), length)


@lru_cache(maxsize=4096)
def _number(tag: str) -> bytes:
    return struct.pack("<HH", int(tag[:4], 16), int(tag[4:], 16))


def _value(vr: str, element: Mapping[str, Any], explicit: bool, terms: Terms) -> bytes:
    if vr in _BINARY:
        value = base64.b64decode(element.get("InlineBinary", ""))
        return value + bytes(len(value) % 2)
    values: Sequence[Any] = element.get("Value", ())
    if not values:
        return b""
    if vr == "SQ":
        return b"".join(_item(item, explicit, terms) for item in values)
    if vr in _NUMBERS:
        return struct.pack(f"<{len(values)}{_NUMBERS[vr]}", *values)
    if vr == "AT":
        return b"".join(map(_number, values))
    if vr in _TEXT:
        text = b"\\".join(encode(joined(value), terms) for value in values)
    elif vr in ("DS", "IS"):
        text = "\\".join(map(_decimal, values)).encode("latin-1", "replace")
    else:
        text = "\\".join(map(joined, values)).encode("latin-1", "replace")
    return text + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)


def _item(item: Mapping[str, Mapping[str, Any]], explicit: bool, terms: Terms) -> bytes:
    content = b"".join(_elements(item, explicit, terms))
    return struct.pack("<HHI", _ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content


def _decimal(value: Any) -> str:
    """Return the text of a DS or IS, which is a number or a string in the DICOM JSON model."""
    if not isinstance(value, float):
        return joined(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = repr(value)
    digits = _DS_LENGTH
    while len(text) > _DS_LENGTH and digits > 1:
        digits -= 1
        text = f"{value:.{digits}g}"
    return text
