"""Extended query tags: validation of new tags, and extraction of their values."""

from typing import Any

import orjson
import pytest

from server.dicom.matching.query_tags import extract, new_tag
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import Level
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagFault, TagStatus, TagValue


def tag(vr: str, number: str = "00181234", creator: str = "") -> Tag:
    new = NewTag(number, "", vr, creator, Level.INSTANCE)
    return Tag(1, new, TagStatus.READY, QueryStatus.ENABLED, 0, "")


def found(of: Tag, **elements: Any) -> TagValue | TagFault | None:
    """Return the value of a data set for a tag; elements are given by tag with the prefix "t"."""
    data_set = {number.removeprefix("t"): element for number, element in elements.items()}
    return extract(orjson.dumps(data_set), [of]).get(of.key)


@pytest.mark.parametrize(
    ("path", "vr", "creator", "expected"),
    [
        ("StationName", "", "", NewTag("00081010", "StationName", "SH", "", Level.SERIES)),
        ("00081010", "SH", "", NewTag("00081010", "StationName", "SH", "", Level.SERIES)),
        ("0018115a", "", "", NewTag("0018115A", "RadiationMode", "CS", "", Level.SERIES)),
        ("12051003", "IS", "PrivateCreator1", NewTag("12051003", "", "IS", "PrivateCreator1", Level.SERIES)),
        ("12050010", "LO", "", NewTag("12050010", "", "LO", "", Level.SERIES)),
        ("00189999", "US", "", NewTag("00189999", "", "US", "", Level.SERIES)),
        ("SmallestImagePixelValue", "SS", "", NewTag("00280106", "SmallestImagePixelValue", "SS", "", Level.SERIES)),
    ],
)
def test_a_tag_is_named_by_keyword_or_digits_and_gets_the_vr_of_the_dictionary(
    path: str, vr: str, creator: str, expected: NewTag
) -> None:
    assert new_tag(path, vr, creator, Level.SERIES) == expected


@pytest.mark.parametrize(
    ("path", "vr", "creator", "field"),
    [
        ("", "", "", "path"),
        ("NoSuchKeyword", "", "", "path"),
        ("0018", "", "", "path"),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "", "", "path"),
        ("PatientName", "", "", "path"),
        ("0020000D", "", "", "path"),
        ("StationName", "LO", "", "vr"),
        ("RequestAttributesSequence", "", "", "vr"),
        ("PixelSpacing", "", "", "vr"),
        ("PixelData", "", "", "vr"),
        ("12051003", "", "Creator", "vr"),
        ("12051003", "UN", "Creator", "vr"),
        ("00189999", "", "", "vr"),
        ("12051003", "IS", "", "private_creator"),
        ("12051003", "IS", "x" * 65, "private_creator"),
        ("12050010", "LO", "Creator", "private_creator"),
        ("StationName", "SH", "Creator", "private_creator"),
    ],
)
def test_an_unsupported_tag_is_refused(path: str, vr: str, creator: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        new_tag(path, vr, creator, Level.STUDY)
    assert (refused.value.reason, refused.value.metadata["field"]) == (Reason.INVALID_TAG, field)


@pytest.mark.parametrize(
    ("vr", "values", "expected"),
    [
        ("SH", [" Room 1 ", "Room 2"], TagValue("room 1")),
        ("CS", ["HEAD"], TagValue("head")),
        ("UI", ["1.2.3\0"], TagValue("1.2.3")),
        ("AS", ["045Y"], TagValue("045y")),
        ("DA", ["20240229"], TagValue("20240229")),
        ("TM", ["1015"], TagValue("101500.000000")),
        ("DT", ["202402"], TagValue("20240201000000.000000")),
        ("PN", [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}], TagValue("yamada^tarou=山田^太郎")),
        ("IS", [3], TagValue("", 3.0)),
        ("IS", ["0003"], TagValue("", 3.0)),
        ("US", [65535], TagValue("", 65535.0)),
        ("SL", [-5], TagValue("", -5.0)),
        ("FD", [0.1], TagValue("", 0.1)),
    ],
)
def test_the_first_value_is_indexed_in_normalised_form(vr: str, values: list[Any], expected: TagValue) -> None:
    assert found(tag(vr), t00181234={"vr": vr, "Value": values}) == expected


@pytest.mark.parametrize("element", [{"vr": "SH"}, {"vr": "SH", "Value": [""]}, {"vr": "SH", "Value": [None, "x"]}])
def test_an_empty_value_is_not_indexed(element: dict[str, Any]) -> None:
    assert found(tag("SH"), t00181234=element) is None
    assert found(tag("SH")) is None


@pytest.mark.parametrize(
    ("vr", "element"),
    [
        ("SH", {"vr": "LO", "Value": ["x"]}),
        ("SH", {"vr": "SH", "Value": ["x" * 17]}),
        ("DA", {"vr": "DA", "Value": ["20240231"]}),
        ("TM", {"vr": "TM", "Value": ["25"]}),
        ("UI", {"vr": "UI", "Value": ["1.2.abc"]}),
        ("IS", {"vr": "IS", "Value": ["1.5"]}),
        ("FD", {"vr": "FD", "Value": ["x"]}),
    ],
)
def test_an_invalid_value_is_a_fault_whose_text_does_not_contain_it(vr: str, element: dict[str, Any]) -> None:
    fault = found(tag(vr), t00181234=element)
    assert isinstance(fault, TagFault)
    assert str(element["Value"][0]) not in fault.message


def test_a_number_that_is_not_finite_is_a_fault() -> None:
    found_ = found(tag("FD"), t00181234={"vr": "FD", "BulkDataURI": "bulkdata:00181234"})
    assert found_ == TagFault("The value is not a finite number.")


def test_a_private_tag_is_read_from_the_block_of_its_creator() -> None:
    of = tag("SH", "00291003", "ACME 1")
    elements = {
        "t00290010": {"vr": "LO", "Value": ["OTHER"]},
        "t00290011": {"vr": "LO", "Value": ["ACME 1 "]},
        "t00291003": {"vr": "SH", "Value": ["not ours"]},
        "t00291103": {"vr": "SH", "Value": ["ours"]},
    }
    assert found(of, **elements) == TagValue("ours")
    del elements["t00290011"]
    assert found(of, **elements) is None
