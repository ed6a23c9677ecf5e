"""The text form of the DICOM JSON elements that the index stores for one level of a match.

Each element is a line `"GGGGEEEE":{…}`, in ascending order of tags; canonical JSON has no line breaks. A response
selects lines and joins them with commas without parsing them.
"""

from collections.abc import Mapping
from typing import Any

import orjson

ElementLines = str
"""Lines joined with line feeds; empty without elements."""

TAG = slice(1, 9)
"""Position of the tag in a line."""


def line_of(tag: str, element: Any) -> str:
    """Return one element as a line."""
    return f'"{tag}":{orjson.dumps(element).decode()}'


def lines_of_elements(elements: Mapping[str, Any]) -> ElementLines:
    """Return elements (tag → DICOM JSON element) as lines."""
    dumps = orjson.dumps
    return "\n".join([f'"{tag}":{dumps(elements[tag]).decode()}' for tag in sorted(elements)])


def elements_of_lines(text: ElementLines) -> dict[str, Any]:
    """Parse lines into elements."""
    elements: dict[str, Any] = orjson.loads("{" + text.replace("\n", ",") + "}")
    return elements
