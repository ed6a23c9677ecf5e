"""The form in which the index keeps the DICOM JSON elements of one level of a match.

Each element is a line `"GGGGEEEE":{…}`, in ascending order of tags; canonical JSON has no line breaks. An answer picks
lines and joins them with commas, and nothing has to be parsed for that.
"""

from collections.abc import Mapping
from typing import Any

import orjson

ElementLines = str
"""Lines, joined with "\\n"; empty without elements."""

TAG = slice(1, 9)
"""Where the tag is in a line."""


def line_of(tag: str, element: Any) -> str:
    """Return one element as a line."""
    return f'"{tag}":{orjson.dumps(element).decode()}'


def lines_of_elements(elements: Mapping[str, Any]) -> ElementLines:
    """Return elements (tag → DICOM JSON element) as text."""
    dumps = orjson.dumps
    return "\n".join([f'"{tag}":{dumps(elements[tag]).decode()}' for tag in sorted(elements)])


def elements_of_lines(text: ElementLines) -> dict[str, Any]:
    """Return the elements in a text."""
    elements: dict[str, Any] = orjson.loads("{" + text.replace("\n", ",") + "}")
    return elements
