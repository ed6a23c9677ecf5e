"""Parsing of metadata requests: JSON or XML, and the selection of attributes and data sets.

The parameters `includefield`, `excludefield`, `limit`, `offset` and `labels` are an extension of PS3.18
(docs/conformance.md).
"""

import enum
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from facade.request.accept import MediaRange, accepts_json
from facade.request.catalogue import DICOM_JSON, DICOM_XML, GENERAL_XML
from facade.request.query import Parameter, boolean, integer

_XML_NAMES = (DICOM_XML, *GENERAL_XML)
_ANY = ("", "*/*", "application/*")
_NAME = re.compile("[A-Za-z0-9.]{1,200}")


class Shape(enum.Enum):
    """Format of a response body."""

    JSON = enum.auto()
    XML = enum.auto()
    """One document with one instance."""
    XML_PARTS = enum.auto()
    """A part of multipart/related for each instance."""

    @property
    def media_type(self) -> str:
        """Media type of the body, or of each part."""
        return DICOM_JSON if self is Shape.JSON else DICOM_XML

    @property
    def tag(self) -> str:
        """Its suffix in an entity tag."""
        return {Shape.JSON: "", Shape.XML: "-xml", Shape.XML_PARTS: "-parts"}[self]


def shape_of(media_ranges: Iterable[MediaRange], *, is_instance: bool) -> Shape | None:
    """Return the format that the client prefers; None if it accepts neither.

    XML is multipart (PS3.18 section 8.7.3.2); the XML of one instance may also be the body, if the client accepts it
    without multipart/related.
    """
    for media_range in media_ranges:
        if media_range.is_multipart:
            if media_range.parameters.get("type", "").lower() in (*_XML_NAMES, *_ANY):
                return Shape.XML_PARTS
        elif accepts_json([media_range]):
            return Shape.JSON
        elif media_range.name in _XML_NAMES:
            return Shape.XML if is_instance else Shape.XML_PARTS
    return None


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected attributes and data sets. A limit of 0 means no limit."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    limit: int
    offset: int
    labels: bool = False
    external_metadata: bool = False

    @property
    def is_live(self) -> bool:
        """Whether the response has labels or external metadata, which change without a new state of the resource."""
        return self.labels or self.external_metadata

    @property
    def is_page(self) -> bool:
        """Whether the response may be a part of the data sets."""
        return bool(self.limit or self.offset)

    @property
    def tag(self) -> str:
        """Its suffix in an entity tag; "" if everything is selected."""
        if self == EVERYTHING:
            return ""
        return "-" + hashlib.blake2b(repr(self).encode(), digest_size=8).hexdigest()

    def fields(self) -> dict[str, Any]:
        """Return the fields of the request to the core."""
        return {
            "include_fields": self.include,
            "exclude_fields": self.exclude,
            "limit": self.limit,
            "offset": self.offset,
            "include_labels": self.labels,
            "external_metadata": self.external_metadata,
        }


EVERYTHING = Selection((), (), 0, 0)


def selection_of(parameters: Sequence[Parameter], *, external_metadata: bool = False) -> Selection:
    """Return the selection of a request.

    Names are keywords or tags, repeated or comma-separated; other names are ignored. `includefield=all` selects all
    attributes.

    Raises:
        Refusal: 400, limit or offset is malformed or out of range.
    """
    if not parameters and not external_metadata:
        return EVERYTHING
    include = _names(parameters, "includefield")
    return Selection(
        () if "all" in include else include,
        _names(parameters, "excludefield"),
        integer(parameters, "limit", 0, minimum=1),
        integer(parameters, "offset", 0, minimum=0),
        boolean(parameters, "labels", False),
        external_metadata,
    )


def _names(parameters: Sequence[Parameter], key: str) -> tuple[str, ...]:
    names = (name.strip() for each in parameters if each.key == key for name in each.value.split(","))
    return tuple(sorted({name for name in names if _NAME.fullmatch(name)}))
