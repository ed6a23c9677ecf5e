"""Small data sets in the bodies of requests: DICOM JSON (PS3.18 Annex F), or Native DICOM XML (PS3.19 section A.1)."""

from typing import Any
from xml.parsers import expat

from starlette.requests import Request

from facade.errors import Refusal
from facade.request.body import require_no_coding
from facade.request.json_body import parse_json, read_body

DataSet = dict[str, Any]
"""A data set as Python values of DICOM JSON."""

_MAX_DEPTH = 32


async def data_set_of(request: Request, max_bytes: int) -> DataSet:
    """Return the data set in the body of a request, of attributes with the VRs SQ and UI; others have no values.

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


class _Builder:
    """Handlers of an XML parser. Namespaces are ignored."""

    def __init__(self) -> None:
        self.root: DataSet | None = None
        self._open: list[tuple[str, Any]] = []
        self._text: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        kind = name.rpartition(":")[2]
        if len(self._open) >= _MAX_DEPTH * 2:
            raise Refusal(400, "The XML document is nested too deeply.")
        parent: tuple[str, Any] = self._open[-1] if self._open else ("", None)
        opened: Any = None
        if kind == "NativeDicomModel" and self.root is None:
            opened = self.root = {}
        elif kind == "DicomAttribute" and parent[0] in ("NativeDicomModel", "Item"):
            opened = {"vr": attributes.get("vr", ""), "Value": []}
            parent[1][attributes.get("tag", "").upper()] = opened
        elif kind == "Item" and parent[0] == "DicomAttribute":
            opened = {}
            parent[1]["Value"].append(opened)
        elif kind == "Value" and parent[0] == "DicomAttribute":
            self._text, opened = [], parent[1]
        self._open.append((kind if opened is not None else "", opened))

    def data(self, text: str) -> None:
        """Take text of a value."""
        if self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        """End an element."""
        kind, opened = self._open.pop()
        if kind == "Value" and self._text is not None:
            opened["Value"].append("".join(self._text))
            self._text = None

    def doctype(self, *_: object) -> None:
        """Refuse a document type."""
        raise Refusal(400, "The XML document must not have a document type.")


def parse_xml(text: bytes) -> DataSet:
    """Return the data set of an XML document, without a document type, so that it declares no entities.

    Raises: Refusal, 400.
    """
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError:
        raise Refusal(400, "The syntax of the request body is invalid.") from None
    if builder.root is None:
        raise Refusal(400, "The XML document must be a NativeDicomModel.")
    return builder.root
