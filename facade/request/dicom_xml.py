"""Parsing of Native DICOM Model XML (PS3.19 section A.1) to the values of DICOM JSON."""

from typing import Any
from xml.parsers import expat

from facade.errors import Refusal

DataSet = dict[str, Any]
"""A data set as Python values of DICOM JSON."""

_MAX_DEPTH = 32
_INTEGERS = frozenset({"SL", "SS", "SV", "UL", "US", "UV"})
_FLOATS = frozenset({"FD", "FL"})
_GROUPS = frozenset({"Alphabetic", "Ideographic", "Phonetic"})
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


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
        elif kind in ("Item", "PersonName") and parent[0] == "DicomAttribute":
            opened = {}
            parent[1]["Value"].append(opened)
        elif kind in ("Value", "InlineBinary") and parent[0] == "DicomAttribute":
            self._text, opened = [], parent[1]
        elif kind in _GROUPS and parent[0] == "PersonName":
            opened = [""] * len(_COMPONENTS)
        elif kind in _COMPONENTS and parent[0] in _GROUPS:
            self._text, opened = [], parent[1]
        self._open.append((kind if opened is not None else "", opened))

    def data(self, text: str) -> None:
        """Take text of a value."""
        if self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        """End an element."""
        kind, opened = self._open.pop()
        if kind in _GROUPS:
            self._open[-1][1][kind] = "^".join(opened).rstrip("^")
        if self._text is None or opened is None:
            return
        text, self._text = "".join(self._text), None
        if kind == "Value":
            opened["Value"].append(_value(opened["vr"], text))
        elif kind == "InlineBinary":
            del opened["Value"]
            opened["InlineBinary"] = "".join(text.split())
        elif kind in _COMPONENTS:
            opened[_COMPONENTS.index(kind)] = text

    def doctype(self, *_: object) -> None:
        """Refuse a document type."""
        raise Refusal(400, "The XML document must not have a document type.")


def _value(vr: str, text: str) -> str | int | float:
    try:
        return int(text) if vr in _INTEGERS else float(text) if vr in _FLOATS else text
    except ValueError:
        raise Refusal(400, "The XML document has a value that is not a number.") from None


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
    except (expat.ExpatError, LookupError, ValueError):  # the last two for an encoding that Python does not know
        raise Refusal(400, "The syntax of the request body is invalid.") from None
    if builder.root is None:
        raise Refusal(400, "The XML document must be a NativeDicomModel.")
    return builder.root
