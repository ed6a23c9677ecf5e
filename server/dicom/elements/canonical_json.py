"""Access to values in canonical DICOM JSON (defined at RetrieveMetadata in retrieve_service.proto).

Missing, empty or ill-typed values give None or nothing: no function here raises.
"""

import re
from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from math import isfinite
from struct import pack, unpack
from typing import Any

Attributes = Mapping[str, Any]
"""Elements by tag (eight upper-case hex digits)."""

BULK_PREFIX = "bulkdata:"

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PADDING = " \0\t\r\n"
_STRINGS = frozenset(
    [
        *("00280004", "20500020", "00281056"),
        *("00280008", "00280030", "00280034", "00281050", "00281051", "00281052", "00281053"),
        *("00082144", "00180040", "00181063", "00181065", "00181164", "00182010"),
    ]
)
"""Image attributes that are strings (CS, DS or IS in PS3.6); the others are 16-bit words."""


def values(attributes: Attributes, tag: str) -> Sequence[Any]:
    """Return all values of an element."""
    element = attributes.get(tag)
    found = element.get("Value") if isinstance(element, Mapping) else None
    return found if isinstance(found, list) else ()


def text(attributes: Attributes, tag: str) -> str:
    """Return the first value, if it is a string, without padding; "" otherwise."""
    found = values(attributes, tag) or _of_bytes(attributes, tag)
    return found[0].strip(_PADDING) if found and isinstance(found[0], str) else ""


def numbers(attributes: Attributes, tag: str) -> list[float]:
    """Return the values that are finite numbers."""
    return [value for value in numeric_values(attributes, tag) if value is not None]


def numeric_values(attributes: Attributes, tag: str) -> list[float | None]:
    """Return all values of an element; None for values that are not finite numbers.

    Numbers may be strings, with any VR: an Integer String "512.0", a Decimal String of 18 characters, a US element with
    the VR IS. A value with a VR of bytes (UN, OB, OW) is interpreted according to its tag.
    """
    return [_number(value) for value in values(attributes, tag) or _of_bytes(attributes, tag)]


def number(attributes: Attributes, tag: str) -> float | None:
    """Return the first value, if it is a finite number."""
    found = values(attributes, tag) or _of_bytes(attributes, tag)
    return _number(found[0]) if found else None


def integer(attributes: Attributes, tag: str) -> int | None:
    """Return the first value, if it is an integer."""
    found = number(attributes, tag)
    return int(found) if found is not None and found == int(found) else None


def items(attributes: Attributes, tag: str) -> list[Attributes]:
    """Return the items of a sequence."""
    return [item for item in values(attributes, tag) if isinstance(item, Mapping)]


def bulk_path(attributes: Attributes, tag: str) -> str:
    """Return the bulk data path of a value; "" if the value is in the JSON, or empty."""
    element = attributes.get(tag)
    uri = element.get("BulkDataURI") if isinstance(element, Mapping) else None
    return uri[len(BULK_PREFIX) :] if isinstance(uri, str) and uri.startswith(BULK_PREFIX) else ""


def data(attributes: Attributes, tag: str, bulk: Mapping[str, bytes]) -> bytes:
    """Return a value as bytes, little endian; numbers as 16-bit words; b"" if there is none.

    Args:
        attributes: the data set or item that contains the element.
        tag: of the element.
        bulk: path → value, for values that are not in the JSON.
    """
    if path := bulk_path(attributes, tag):
        return bulk.get(path, b"")
    element = attributes.get(tag)
    inline = element.get("InlineBinary") if isinstance(element, Mapping) else None
    if isinstance(inline, str):
        try:
            return a2b_base64(inline)
        except NotBase64:
            return b""
    words = values(attributes, tag)
    if not all(isinstance(word, int) for word in words):
        return b""
    return pack(f"<{len(words)}H", *[word & 0xFFFF for word in words])


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        text = value.strip(_PADDING)
        if not _DECIMAL.fullmatch(text):
            return None
        value = float(text)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) else None


def _of_bytes(attributes: Attributes, tag: str) -> Sequence[Any]:
    """Return the values of an image attribute that has a VR of bytes."""
    element = attributes.get(tag)
    if not isinstance(element, Mapping) or "InlineBinary" not in element:
        return ()
    raw = data(attributes, tag, {})
    if tag in _STRINGS:
        return raw.decode("latin-1").split("\\")
    return () if len(raw) % 2 else unpack(f"<{len(raw) // 2}H", raw)
