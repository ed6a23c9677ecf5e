"""Native DICOM Model XML (PS3.19 section A.1)."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from facade.response.dicom_xml import native_xml_of
from server.model.errors import DicomStoreError
from tests.corpus import corpus, name_of
from tests.unit.server.dicom.reading import read

_DICOM = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def parsed(document: bytes) -> dict[str, Any]:
    """Return an XML document as DICOM JSON, with numbers as text."""
    root = ElementTree.fromstring(document)
    assert root.tag == f"{_DICOM}NativeDicomModel"
    return attributes(root)


def attributes(parent: Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in parent:
        assert attribute.tag == f"{_DICOM}DicomAttribute"
        found[attribute.attrib["tag"]] = made = {"vr": attribute.attrib["vr"]}
        values: list[Any] = []
        for child in attribute:
            kind = child.tag.removeprefix(_DICOM)
            if kind == "BulkData":
                made["BulkDataURI"] = child.attrib["uri"]
            elif kind == "InlineBinary":
                made["InlineBinary"] = child.text or ""
            else:
                values += [None] * (int(child.attrib["number"]) - 1 - len(values))
                values.append(
                    attributes(child) if kind == "Item" else name(child) if kind == "PersonName" else child.text or ""
                )
        if values:
            made["Value"] = values
    return found


def name(person: Element) -> dict[str, str]:
    return {
        group.tag.removeprefix(_DICOM): "^".join(
            group.findtext(f"{_DICOM}{component}", "") for component in _COMPONENTS
        ).rstrip("^")
        for group in person
    }


def plain(data_set: dict[str, Any]) -> dict[str, Any]:
    """Return a data set of JSON as XML can say it: no empty list, no values missing at the end."""
    found = {}
    for tag, element in data_set.items():
        made = dict(element)
        values = [plain(value) if element["vr"] == "SQ" else comparable(value) for value in made.pop("Value", [])]
        while values and values[-1] is None:
            values.pop()
        found[tag] = made | ({"Value": values} if values else {})
    return found


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {group: text.rstrip("^") for group, text in value.items() if text}
    return value if value is None else "".join(c if c in "\t\n\r" or c >= " " else "\ufffd" for c in value)


@pytest.mark.parametrize("path", corpus(), ids=name_of)
def test_the_xml_of_the_corpus_equals_its_json(path: Path) -> None:
    try:
        dicom_json = read(path.read_bytes()).dicom_json
    except DicomStoreError:
        return
    expected = plain(json.loads(dicom_json, parse_int=str, parse_float=str))
    assert parsed(native_xml_of(dicom_json)) == expected


def test_text_is_preserved() -> None:
    text = " <a> & \"b\" 'c' \r\n\t\u00e9\u4e2d\U0001f600 ]]> "
    document = native_xml_of(json.dumps({"00204000": {"vr": "LT", "Value": [text]}}).encode())
    assert parsed(document) == {"00204000": {"vr": "LT", "Value": [text]}}


def test_numbers_keep_their_text() -> None:
    document = native_xml_of(b'{"00281053":{"vr":"DS","Value":[1.500,null,1E-7,12345678901234567890]}}')
    assert parsed(document)["00281053"]["Value"] == ["1.500", None, "1E-7", "12345678901234567890"]


def test_public_attributes_have_keywords_and_private_ones_their_creators() -> None:
    data_set = {
        "00090010": {"vr": "LO", "Value": ['A"B']},
        "00091001": {"vr": "LO", "Value": ["x"]},
        "00091101": {"vr": "UN", "InlineBinary": "AA=="},
        "00100010": {"vr": "PN"},
        "60023000": {"vr": "OW", "BulkDataURI": "http://h/bulkdata/60023000"},
    }
    found = list(ElementTree.fromstring(native_xml_of(json.dumps(data_set).encode())))
    assert [(each.get("keyword"), each.get("privateCreator")) for each in found] == [
        (None, None),
        (None, 'A"B'),
        (None, None),
        ("PatientName", None),
        ("OverlayData", None),
    ]


def test_names_are_in_components_and_groups() -> None:
    value = {"Alphabetic": "Yamada^Tarou^^Dr", "Ideographic": "\u5c71\u7530^\u592a\u90ce"}
    document = native_xml_of(json.dumps({"00100010": {"vr": "PN", "Value": [value]}}).encode())
    person = ElementTree.fromstring(document).find(f"{_DICOM}DicomAttribute/{_DICOM}PersonName[@number='1']")
    assert person is not None
    assert person.findtext(f"{_DICOM}Alphabetic/{_DICOM}NamePrefix") == "Dr"
    assert person.findtext(f"{_DICOM}Ideographic/{_DICOM}GivenName") == "\u592a\u90ce"
    assert person.find(f"{_DICOM}Alphabetic/{_DICOM}MiddleName") is None
