"""Structured Reports as pages (PS3.3 section C.17.3): complete content, and nothing that a browser would execute."""

from html.parser import HTMLParser
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from server.dicom.presentation.sr_html import MAX_DEPTH, MAX_ITEMS, report_page

VOID = {"meta"}


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects their names, identifiers and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words += data


def code(meaning: str, value: str = "1", scheme: str = "99TEST") -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def item(value_type: str, name: str = "Name", relationship: str = "CONTAINS", **attributes: Any) -> Dataset:
    made = Dataset()
    made.RelationshipType = relationship
    made.ValueType = value_type
    if name:
        made.ConceptNameCodeSequence = code(name)
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def report(*items: Dataset, **attributes: Any) -> Outline:
    return Outline(page(*items, **attributes))


def page(*items: Dataset, **attributes: Any) -> str:
    root = item("CONTAINER", "Imaging Report", ContentSequence=Sequence(items), **attributes)
    return report_page(root.to_json_dict()).decode()


def dataset(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def test_title_and_patient_are_at_the_top() -> None:
    verifier = dataset(
        VerifyingObserverName="Roe^Ann^^Dr",
        VerifyingOrganization="Clinic",
        VerificationDateTime="20240229101500+0100",
    )
    shown = report(
        PatientName="Doe^John",
        PatientID="P1",
        PatientBirthDate="19700131",
        StudyDate="20240229",
        StudyTime="093000",
        CompletionFlag="COMPLETE",
        VerificationFlag="VERIFIED",
        VerifyingObserverSequence=Sequence([verifier]),
    )
    assert shown.tags.count("h1") == 1
    for words in ("Imaging Report", "Doe, John", "P1", "1970-01-31", "2024-02-29 09:30:00", "Complete, Verified"):
        assert words in shown.words
    assert "Roe, Dr Ann, Clinic, 2024-02-29 10:15:00 +0100" in shown.words


UNIT = {"meaning": "millimeter", "value": "mm", "scheme": "UCUM"}


def measured(number: str, **unit: str) -> Sequence:
    value = dataset(NumericValue=number, MeasurementUnitsCodeSequence=code(**unit))
    return Sequence([value])


REFERENCE = dataset(
    ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="1.2.3", ReferencedFrameNumber=[2, 5]
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (item("TEXT", "Finding", TextValue="No\r\nfracture"), "Finding: No\r\nfracture"),
        (item("CODE", "Side", ConceptCodeSequence=code("Left")), "Side: Left"),
        (item("NUM", "Length", MeasuredValueSequence=measured("12.50", **UNIT)),
         "Length: 12.5 mm"),
        (item("NUM", "Ratio", MeasuredValueSequence=measured("0.5", meaning="no units", value="1", scheme="UCUM")),
         "Ratio: 0.5"),
        (item("NUM", "Count", MeasuredValueSequence=measured("3", meaning="lesions", value="{l}", scheme="UCUM")),
         "Count: 3 lesions"),
        (item("PNAME", "Observer", PersonName="Roe^Ann"), "Observer: Roe, Ann"),
        (item("DATE", "Day", Date="20240229"), "Day: 2024-02-29"),
        (item("TIME", "Time", Time="101500.25"), "Time: 10:15:00"),
        (item("DATETIME", "When", DateTime="202402291015"), "When: 2024-02-29 10:15"),
        (item("UIDREF", "Device", UID="1.2.3.4"), "Device: 1.2.3.4"),
        (item("IMAGE", "Key", ReferencedSOPSequence=Sequence([REFERENCE])), "Key: CT Image, frame 2, 5 1.2.3"),
        (item("SCOORD", "Point", GraphicType="POLYLINE", GraphicData=[1.5, 2, 3, 4]),
         "Point: Polyline (1.5, 2) (3, 4)"),
        (item("SCOORD3D", "Spot", GraphicType="POINT", GraphicData=[1, 2, 3], ReferencedFrameOfReferenceUID="1.9"),
         "Spot: Point (1, 2, 3) 1.9"),
        (item("TCOORD", "Span", TemporalRangeType="SEGMENT", ReferencedTimeOffsets=["1.5", "2"]),
         "Span: Segment seconds 1.5, 2"),
    ],
)  # fmt: skip
def test_every_value_type_is_shown(content: Dataset, words: str) -> None:
    assert words in report(content).words


def test_a_missing_number_has_its_reason() -> None:
    content = item("NUM", "Area", MeasuredValueSequence=Sequence([]))
    content.NumericValueQualifierCodeSequence = code("Measurement failure")
    assert "Area: Measurement failure" in report(content).words


def test_relationships_other_than_contains_are_shown() -> None:
    inner = item("CODE", "Side", "HAS CONCEPT MOD", ConceptCodeSequence=code("Left"))
    shown = report(item("TEXT", "Finding", TextValue="Cyst", ContentSequence=Sequence([inner])))
    assert "modifier" in shown.words
    assert "contains" not in shown.words.lower()


def test_a_by_reference_relationship_links_to_its_target() -> None:
    reference = item("", "", "INFERRED FROM", ReferencedContentItemIdentifier=[1, 1])
    del reference.ValueType
    shown = report(item("TEXT", TextValue="Cyst", ContentSequence=Sequence([reference])))
    assert ("href", "#item-1.1") in shown.attributes
    assert ("id", "item-1.1") in shown.attributes


def test_the_language_of_the_content_is_declared() -> None:
    language = item("CODE", "", "HAS CONCEPT MOD", ConceptCodeSequence=code("German", "de-DE", "RFC5646"))
    language.ConceptNameCodeSequence = code("Language of Content", "121049", "DCM")
    assert ("lang", "de-DE") in report(language).attributes


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\0'


def hostile(value: Any) -> Any:
    """Return DICOM JSON with all texts replaced, except codes that determine the kind of an item."""
    if isinstance(value, dict):
        return {key: each if key == "vr" or key in KEPT else hostile(each) for key, each in value.items()}
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


KEPT = ("0040A040", "0040A010")


def test_content_of_the_data_set_is_escaped() -> None:
    contents = [
        item("TEXT", "x", ReferencedContentItemIdentifier=[1], TextValue="x", ObservationDateTime="2024"),
        item("CODE", ConceptCodeSequence=code("x", "x", "x")),
        item("NUM", MeasuredValueSequence=measured("1", meaning="x", value="x", scheme="x")),
        item("PNAME", PersonName="x^y"),
        item("DATE", Date="20240101"),
        item("UIDREF", UID="1.2"),
        item("IMAGE", ReferencedSOPSequence=Sequence([REFERENCE])),
        item("SCOORD", GraphicType="POINT", GraphicData=[1, 2]),
        item("TCOORD", TemporalRangeType="POINT", ReferencedDateTime=["2024"]),
    ]
    root = item("CONTAINER", ContentSequence=Sequence(contents), PatientName="x", StudyDate="20240101", PatientID="x")
    root.VerifyingObserverSequence = Sequence([dataset(VerifyingObserverName="x", VerificationDateTime="2024")])
    shown = Outline(report_page(hostile(root.to_json_dict())).decode())
    assert not {"script", "img"} & set(shown.tags)
    known = {"lang", "charset", "name", "content", "id", "class", "title", "href"}
    assert {name for name, _ in shown.attributes} <= known
    assert shown.words.count("<script>alert(1)</script>") > 10


def test_an_invalid_language_is_omitted() -> None:
    language = item("CODE", "", ConceptCodeSequence=code("x", '"><script', "x"))
    language.ConceptNameCodeSequence = code("x", "121049", "DCM")
    assert [value for name, value in report(language).attributes if name == "lang"] == ["en"]


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    data_set = get_testdata_file("test-SR.dcm", read=True)
    assert isinstance(data_set, Dataset)
    shown = Outline(report_page(data_set.to_json_dict()).decode())
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(shown.tags)
    assert all(value is not None and value.startswith("#") for name, value in shown.attributes if name == "href")


def test_content_over_the_limits_is_replaced_by_a_note() -> None:
    deep = item("TEXT", TextValue="innermost")
    for _ in range(MAX_DEPTH + 5):
        deep = item("CONTAINER", ContentSequence=Sequence([deep]))
    shown = report(deep)
    assert "innermost" not in shown.words
    assert "is not shown" in shown.words
    text = item("TEXT", TextValue="again").to_json_dict()
    root = {"0040A730": {"vr": "SQ", "Value": [text] * (MAX_ITEMS + 7)}}
    assert "7 more items are not shown" in Outline(report_page(root).decode()).words


@pytest.mark.parametrize("content", [{}, {"0040A730": {"vr": "SQ"}}, {"0040A730": {"vr": "SQ", "Value": [{}]}}])
def test_a_report_without_content_is_a_page(content: dict[str, Any]) -> None:
    assert "Structured Report" in Outline(report_page(content).decode()).words


def test_a_table_is_shown_by_rows_and_columns() -> None:
    cells = [
        dataset(TableRowNumber=row, TableColumnNumber=column, ConceptCodeSequence=code(f"r{row}c{column}"))
        for row in (1, 2)
        for column in (1, 2)
    ]
    columns = [dataset(ConceptNameCodeSequence=code(f"column {number}")) for number in (1, 2)]
    table = dataset(
        NumberOfTableRows=2,
        NumberOfTableColumns=2,
        TableColumnDefinitionSequence=Sequence(columns),
        CellValuesSequence=Sequence(cells),
    )
    shown = report(item("TABLE", "Results", TabulatedValuesSequence=Sequence([table])))
    assert shown.tags.count("tr") == 3
    assert shown.words.count("r2c") == 2
    assert "column 2" in shown.words
