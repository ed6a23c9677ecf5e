"""Encoded data sets to the DICOM JSON model."""

import base64
import struct
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from dimse.data_sets.character_sets import Terms, decode

Element = dict[str, Any]
DataSet = dict[str, Element]
"""Elements by tag, eight upper-case hex digits."""

SPECIFIC_CHARACTER_SET = "00080005"
MAX_DEPTH = 8
"""Maximum nesting of sequences."""

_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


class Unreadable(Exception):
    """The bytes are not a data set in their transfer syntax."""


def read(data: bytes, transfer_syntax: str) -> DataSet:
    """Return a data set, tags ascending; group lengths are left out.

    Values of IS and DS are strings as written, because keys of a query may be patterns or ranges. A name is an object
    of component groups.

    Args:
        data: the encoded data set.
        transfer_syntax: UID of an uncompressed one.

    Raises:
        Unreadable: it is no data set.
    """
    syntax = UID(transfer_syntax)
    try:
        found = read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
        return _data_set(found, (), "<" if syntax.is_little_endian else ">", 0)
    except Unreadable:
        raise
    except Exception as error:  # pydicom raises errors of many types for data sets that are not well-formed
        raise Unreadable("The data set cannot be read in its transfer syntax.") from error


def terms_of(data_set: DataSet) -> Terms:
    """Return the values of Specific Character Set of a data set."""
    return tuple(value or "" for value in data_set.get(SPECIFIC_CHARACTER_SET, {}).get("Value", ()))


def joined(value: Any) -> str:
    """Return a value as text; a person name in its PS3.5 form."""
    if isinstance(value, dict):
        return "=".join(value.get(group) or "" for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value)


def _data_set(found: Dataset, terms: Terms, order: str, depth: int) -> DataSet:
    if depth > MAX_DEPTH:
        raise Unreadable("The data set is nested too deeply.")
    data_set: DataSet = {}
    for tag in sorted(found.keys()):
        if tag.element == 0:
            continue
        raw = found.get_item(tag)
        vr = _vr(int(tag), raw.VR)
        if vr == "SQ":
            items = [_data_set(item, terms, order, depth + 1) for item in found[tag].value or ()]
            data_set[f"{tag:08X}"] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
            continue
        value = raw.value or b""
        if not isinstance(value, bytes):
            raise Unreadable("The data set has an element that is not in its transfer syntax.")
        element = {"vr": vr} | _content(vr, value, terms, order)
        data_set[f"{tag:08X}"] = element
        if f"{tag:08X}" == SPECIFIC_CHARACTER_SET:
            terms = tuple(value or "" for value in element.get("Value", ()))
    return data_set


def _content(vr: str, value: bytes, terms: Terms, order: str) -> Element:
    """Return the member that holds the value; none for an empty element."""
    if not value:
        return {}
    if vr in _BINARY:
        return {"InlineBinary": base64.b64encode(value).decode()}
    if vr in _NUMBERS:
        return {"Value": [number for (number,) in struct.iter_unpack(order + _NUMBERS[vr], value)]}
    if vr == "AT":
        return {"Value": [f"{group:04X}{element:04X}" for group, element in struct.iter_unpack(f"{order}HH", value)]}
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
    if written not in (None, "UN"):
        return str(written)
    try:
        return dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return "LO" if tag & 0xFFFF < 0x100 and tag >> 16 & 1 else "UN"
