"""Small data sets in the bodies of requests: DICOM JSON (PS3.18 Annex F), or Native DICOM XML (PS3.19 section A.1)."""

from typing import Any

from starlette.requests import Request

from facade.errors import Refusal
from facade.request.body import require_no_coding
from facade.request.dicom_xml import DataSet, parse_xml
from facade.request.json_body import parse_json, read_body


async def data_set_of(request: Request, max_bytes: int) -> DataSet:
    """Return the data set in the body of a request.

    Raises:
        Refusal: 415, the content type is neither JSON nor XML, or there is a content coding; 413, the body is too
            large; 408, the client sends nothing; 400, it is malformed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_xml = media_type in ("application/dicom+xml", "application/xml", "text/xml")
    if not is_xml and media_type not in ("application/dicom+json", "application/json"):
        raise Refusal(415, "The content type must be application/dicom+json or application/dicom+xml.")
    require_no_coding(request)
    body = await read_body(request, max_bytes)
    value = parse_xml(body) if is_xml else parse_json(body)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise Refusal(400, "The body must be one data set.")
    return value


def items_of(data_set: Any, tag: str) -> list[Any] | None:
    """Return the items of a sequence; None if the data set does not have it. Raises: Refusal (400)."""
    values = _values(data_set, tag)
    if values is None:
        return None
    if not all(isinstance(item, dict) for item in values):
        raise _malformed(tag)
    return values


def uid_of(data_set: Any, tag: str) -> str:
    """Return the value of an attribute with one UID. Raises: Refusal (400)."""
    values = _values(data_set, tag)
    if not values or len(values) != 1 or not isinstance(values[0], str) or not values[0].isascii():
        raise _malformed(tag)
    return values[0]


def _values(data_set: Any, tag: str) -> list[Any] | None:
    element = data_set.get(tag)
    if element is None:
        return None
    values = element.get("Value", []) if isinstance(element, dict) else None
    if not isinstance(values, list):
        raise _malformed(tag)
    return values


def _malformed(tag: str) -> Refusal:
    return Refusal(400, f"The attribute ({tag[:4]},{tag[4:]}) is missing or malformed.")
