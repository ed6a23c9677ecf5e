"""Data sets in requests and responses of the worklist."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from facade.errors import Refusal
from facade.request.accept import MediaRange
from facade.request.body import require_no_coding
from facade.request.catalogue import DICOM_JSON, DICOM_XML, GENERAL_XML
from facade.request.dicom_xml import DataSet, parse_xml
from facade.request.json_body import parse_json, read_body
from facade.request.metadata import Shape, shape_of
from facade.request.query import prefers_strict
from facade.response.dicom_json import array
from facade.response.dicom_xml import native_xml_of
from facade.response.search_bodies import XmlParts

MAX_BYTES = 1 << 20
"""Size limit of a body."""

_XML = frozenset({DICOM_XML, *GENERAL_XML})
_JSON = frozenset({DICOM_JSON, "application/json"})


async def data_set_of(request: Request, *, may_be_empty: bool = False) -> DataSet:
    """Return the data set in the body of a request: JSON, an object or the first member of an array; or XML.

    For a strict client JSON must be an array with one data set (PS3.18 section 11.4.1.3).

    Args:
        may_be_empty: an empty body is an empty data set, and needs no content type.

    Raises:
        Refusal: 415, the content type is neither JSON nor XML, or there is a content coding; 413, the body is too
            large; 408, the client sends nothing; 400, it is malformed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _XML | _JSON and (media_type or not may_be_empty):
        raise Refusal(415, "The content type must be application/dicom+json or application/dicom+xml.")
    require_no_coding(request)
    body = await read_body(request, MAX_BYTES)
    if may_be_empty and not body.strip():
        return {}
    if not media_type:
        raise Refusal(415, "The content type must be application/dicom+json or application/dicom+xml.")
    value = parse_xml(body) if media_type in _XML else parse_json(body)
    if media_type in _JSON and prefers_strict(request) and not (isinstance(value, list) and len(value) == 1):
        raise Refusal(400, "The body must be an array with one data set.")
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        raise Refusal(400, "The body must be an array with a data set.")
    return value


def text_of(data_set: DataSet) -> bytes:
    """Return a data set as JSON text."""
    return orjson.dumps(data_set)


def value_of(data_set: DataSet, tag: str, keyword: str) -> str | None:
    """Return the value of an attribute with one text, by tag or keyword; None if it is absent or has no value.

    Raises:
        Refusal: 400, the attribute has another value.
    """
    element: Any = data_set.get(tag, data_set.get(keyword))
    values = element.get("Value") or [None] if isinstance(element, dict) else [None]
    if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str | None):
        raise Refusal(400, f"The attribute {keyword} is malformed.")
    return values[0].strip(" \0") if values[0] else None


def form_of(media_ranges: list[MediaRange]) -> Shape:
    """Return the form of a workitem that the client prefers. Raises: Refusal, 406."""
    shape = shape_of(media_ranges, is_instance=True)
    if shape is None:
        raise Refusal(406, "Only application/dicom+json and application/dicom+xml can be returned.")
    return shape


async def response_of(data_set: bytes, shape: Shape) -> Response:
    """Return the response with a workitem."""
    headers = {"Cache-Control": "no-cache"}
    if shape is Shape.JSON:
        return Response(array([data_set]), 200, headers | {"Content-Type": shape.media_type})
    if shape is Shape.XML:
        return Response(native_xml_of(data_set), 200, headers | {"Content-Type": shape.media_type})
    parts = XmlParts()
    return Response(await parts.whole([data_set]), 200, headers | {"Content-Type": parts.content_type})
