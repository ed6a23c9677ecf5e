"""Reading values out of canonical DICOM JSON (RetrieveMetadata in retrieve_service.proto).

What is missing, empty or of another type than asked for is None or left out: nothing here raises.
"""

from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from math import isfinite
from struct import pack
from typing import Any

Attributes = Mapping[str, Any]
"""Elements by tag, eight upper-case hex digits."""

BULK_PREFIX = "bulkdata:"


def values(attributes: Attributes, tag: str) -> Sequence[Any]:
    """Return all values of an element."""
    element = attributes.get(tag)
    found = element.get("Value") if isinstance(element, Mapping) else None
    return found if isinstance(found, list) else ()


def text(attributes: Attributes, tag: str) -> str:
    """Return the first value, if it is a string; else ""."""
    found = values(attributes, tag)
    return found[0].strip() if found and isinstance(found[0], str) else ""


def numbers(attributes: Attributes, tag: str) -> list[float]:
    """Return the values that are finite numbers."""
    return [value for value in values(attributes, tag) if _is_number(value)]


def number(attributes: Attributes, tag: str) -> float | None:
    """Return the first value, if it is a finite number."""
    found = values(attributes, tag)
    return found[0] if found and _is_number(found[0]) else None


def integer(attributes: Attributes, tag: str) -> int | None:
    """Return the first value, if it is a whole number."""
    found = number(attributes, tag)
    return int(found) if found is not None and found == int(found) else None


def items(attributes: Attributes, tag: str) -> list[Attributes]:
    """Return the items of a sequence."""
    return [item for item in values(attributes, tag) if isinstance(item, Mapping)]


def bulk_path(attributes: Attributes, tag: str) -> str:
    """Return the path of a value that is not in the JSON; "" if it is there, or empty."""
    element = attributes.get(tag)
    uri = element.get("BulkDataURI") if isinstance(element, Mapping) else None
    return uri[len(BULK_PREFIX) :] if isinstance(uri, str) and uri.startswith(BULK_PREFIX) else ""


def data(attributes: Attributes, tag: str, bulk: Mapping[str, bytes]) -> bytes:
    """Return a value as bytes, little endian; numbers as words of 16 bits; b"" if there is none.

    Args:
        attributes: of the data set or item that has the element.
        tag: the element.
        bulk: path → value, of those that are not in the JSON.
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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
