"""Native DICOM Model XML (PS3.19 section A.1), converted from DICOM JSON.

Guarantees: attributes have the values of the JSON, and numbers the same text. Characters that DICOM text may contain
but XML 1.0 does not allow become U+FFFD.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from facade.response.keywords import keyword_of

_OPENING = (
    "<?xml version='1.0' encoding='UTF-8'?>\n"
    '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">'
)
_CLOSING = "</NativeDicomModel>"

_SPECIAL = re.compile('[&<>"\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]')
_REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
"""XML parsers read a literal carriage return as a line feed (XML 1.0 section 2.11), so it is written as a reference."""

_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_BLOCK = re.compile("[0-9A-F]{3}[13579BDF]00(?:1[0-9A-F]|[2-9A-F][0-9A-F])")

DataSet = Mapping[str, Mapping[str, Any]]


def native_xml(data_set: DataSet) -> bytes:
    """Return a data set in the DICOM JSON model as an XML document."""
    return "".join([_OPENING, *_attributes(data_set), _CLOSING]).encode()


def native_xml_of(dicom_json: bytes) -> bytes:
    """Return a data set in DICOM JSON text as an XML document; numbers keep their text."""
    return native_xml(json.loads(dicom_json, parse_int=str, parse_float=str))


def _attributes(data_set: DataSet) -> Iterator[str]:
    creators = {tag: element.get("Value", [""])[0] for tag, element in data_set.items() if _BLOCK.fullmatch(tag)}
    for tag, element in data_set.items():
        keyword = keyword_of(tag)
        named = f' keyword="{keyword}"' if keyword else ""
        creator = creators.get(f"{tag[:4]}00{tag[4:6]}")
        made = f' privateCreator="{_text(creator)}"' if creator else ""
        yield f'<DicomAttribute{named} tag="{tag}" vr="{element["vr"]}"{made}>'
        if "BulkDataURI" in element:
            yield f'<BulkData uri="{_text(element["BulkDataURI"])}"/>'
        elif "InlineBinary" in element:
            yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
        for number, value in enumerate(element.get("Value", ()), start=1):
            yield from _value(element["vr"], number, value)
        yield "</DicomAttribute>"


def _value(vr: str, number: int, value: Any) -> Iterator[str]:
    if vr == "SQ":
        yield f'<Item number="{number}">'
        yield from _attributes(value)
        yield "</Item>"
    elif isinstance(value, Mapping):
        yield f'<PersonName number="{number}">'
        for group in _GROUPS:
            if name := value.get(group):
                yield f"<{group}>{_components(name)}</{group}>"
        yield "</PersonName>"
    elif value is not None:
        yield f'<Value number="{number}">{_text(value)}</Value>'


def _components(name: str) -> str:
    """Return the components of a name (PS3.5 section 6.2.1); surplus components stay in the fifth."""
    texts = name.split("^", len(_COMPONENTS) - 1)
    return "".join(
        f"<{component}>{_text(text)}</{component}>" for component, text in zip(_COMPONENTS, texts, strict=False) if text
    )


def _text(value: object) -> str:
    return _SPECIAL.sub(lambda found: _REFERENCES.get(found[0], "\ufffd"), str(value))
