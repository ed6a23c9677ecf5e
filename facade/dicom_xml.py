"""Native DICOM Model XML (PS3.19 section A.1) of the few data sets that this program makes itself."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML 1.0 can't hold; an invalid UID of a refused instance may contain any."""

_KEYWORDS = {
    "00000902": "ErrorComment",
    "00081150": "ReferencedSOPClassUID",
    "00081155": "ReferencedSOPInstanceUID",
    "00081190": "RetrieveURL",
    "00081196": "WarningReason",
    "00081197": "FailureReason",
    "00081198": "FailedSOPSequence",
    "00081199": "ReferencedSOPSequence",
    "00741048": "FailedAttributesSequence",
}
"""Of every attribute of the answer to a store."""


def native_xml(data_set: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return a data set, given as values of DICOM JSON, as an XML document."""
    root = Element("NativeDicomModel", {"xmlns": _NAMESPACE, "xml:space": "preserve"})
    _add_attributes(root, data_set)
    document: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return document


def _add_attributes(parent: Element, data_set: Mapping[str, Mapping[str, Any]]) -> None:
    for tag, element in data_set.items():
        attribute = SubElement(parent, "DicomAttribute", {"keyword": _KEYWORDS[tag], "tag": tag, "vr": element["vr"]})
        for number, value in enumerate(element.get("Value", ()), start=1):
            if isinstance(value, Mapping):
                _add_attributes(SubElement(attribute, "Item", number=str(number)), value)
            else:
                SubElement(attribute, "Value", number=str(number)).text = _NOT_XML.sub("\ufffd", str(value))
