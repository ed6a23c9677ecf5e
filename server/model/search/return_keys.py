"""The form in which the index keeps the DICOM JSON elements of one level of a match.

Each element is a line `"GGGGEEEE":{…}`, in ascending order of tags; canonical JSON has no line breaks. An answer picks
lines and joins them with commas, and nothing has to be parsed for that.
"""

from collections.abc import Mapping
from typing import Any

import orjson

Kept = str
"""Lines, joined with "\\n"; empty without elements."""

TAG = slice(1, 9)
"""Where the tag is in a line."""


def line_of(tag: str, element: Any) -> str:
    """Return one element as a line."""
    return f'"{tag}":{orjson.dumps(element).decode()}'


def kept_text(elements: Mapping[str, Any]) -> Kept:
    """Return elements (tag → DICOM JSON element) as text."""
    dumps = orjson.dumps
    return "\n".join([f'"{tag}":{dumps(elements[tag]).decode()}' for tag in sorted(elements)])


def kept_elements(text: Kept) -> dict[str, Any]:
    """Return the elements in a text."""
    elements: dict[str, Any] = orjson.loads("{" + text.replace("\n", ",") + "}")
    return elements
