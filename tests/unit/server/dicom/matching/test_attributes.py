from typing import Any

import pytest

from server.dicom.elements.keywords import path_of, tags_of
from server.dicom.matching.attributes import RETURN_KEY_TAGS, SEARCH_KEYS, attributes_of, is_empty, search_key
from server.model.instance import LevelAttributes
from server.model.search.query import Level


def at_all_levels(elements: dict[str, Any]) -> list[LevelAttributes]:
    return [attributes_of(level, elements) for level in Level]


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


# PS3.18 Table 10.6.1-5 and docs/api.md
@pytest.mark.parametrize(
    ("level", "keywords"),
    [
        (
            Level.STUDY,
            "StudyInstanceUID PatientName PatientID PatientBirthDate AccessionNumber ReferringPhysicianName StudyDate "
            "StudyTime StudyID StudyDescription ModalitiesInStudy",
        ),
        (
            Level.SERIES,
            "SeriesInstanceUID Modality SeriesNumber PerformedProcedureStepStartDate PerformedProcedureStepStartTime "
            "ManufacturerModelName RequestAttributesSequence.ScheduledProcedureStepID "
            "RequestAttributesSequence.RequestedProcedureID",
        ),
        (Level.INSTANCE, "SOPInstanceUID SOPClassUID InstanceNumber"),
    ],
)
def test_every_required_key_is_searchable_at_its_level(level: Level, keywords: str) -> None:
    for keyword in keywords.split():
        assert SEARCH_KEYS[keyword].level is level
        assert search_key(".".join(path_of(keyword) or ())) is SEARCH_KEYS[keyword]


@pytest.mark.parametrize("attribute", ["PatientSex", "RequestAttributesSequence", "Nothing", "studydate", ""])
def test_other_attributes_are_not_search_keys(attribute: str) -> None:
    assert search_key(attribute) is None


def test_every_search_key_with_a_value_is_a_return_key_of_its_level() -> None:
    for key in SEARCH_KEYS.values():
        assert key.is_virtual or key.path[0] in RETURN_KEY_TAGS[key.level]


# The default return keys; docs/api.md
@pytest.mark.parametrize(
    ("level", "defaults"),
    [
        (
            Level.STUDY,
            "SpecificCharacterSet StudyDate StudyTime AccessionNumber ReferringPhysicianName TimezoneOffsetFromUTC "
            "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID StudyDescription",
        ),
        (
            Level.SERIES,
            "SpecificCharacterSet Modality TimezoneOffsetFromUTC SeriesDescription SeriesInstanceUID "
            "PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence "
            "ManufacturerModelName SeriesNumber Laterality SeriesDate SeriesTime",
        ),
        (
            Level.INSTANCE,
            "SpecificCharacterSet SOPClassUID SOPInstanceUID TimezoneOffsetFromUTC InstanceNumber Rows Columns "
            "BitsAllocated NumberOfFrames AvailableTransferSyntaxUID",
        ),
    ],
)
def test_default_responses_need_only_return_keys(level: Level, defaults: str) -> None:
    assert tags_of(defaults) <= RETURN_KEY_TAGS[level]


def test_attributes_are_stored_at_their_level() -> None:
    elements = {
        "00080005": element("CS", "ISO_IR 192"),
        "00080016": element("UI", "1.2.840.10008.5.1.4.1.1.7"),
        "00080020": element("DA", "20240102"),
        "00080030": element("TM", "1015"),
        "00080060": element("CS", "CT"),
        "00100010": element("PN", {"Alphabetic": "Buc^Jérôme", "Ideographic": "山田"}),
        "00200013": element("IS", 7),
        "00280010": element("US", 512),
        "00280030": element("DS", 0.5, 0.5),
    }

    study, series, instance = at_all_levels(elements)

    assert study.keys == {"StudyDate": "20240102", "StudyTime": "101500.000000", "PatientName": "buc^jerome=山田"}
    assert set(study.elements) == {"00080005", "00080020", "00080030", "00100010"}
    assert series.keys == {"Modality": "ct"}
    assert set(series.elements) == {"00080005", "00080060"}
    assert instance.keys == {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "InstanceNumber": "7"}
    assert set(instance.elements) == {"00080005", "00080016", "00200013", "00280010"}


def test_only_the_first_value_is_searchable_and_all_are_returned() -> None:
    study, _, _ = at_all_levels({"00100020": element("LO", "P1", "P2")})

    assert study.keys == {"PatientID": "p1"}
    assert study.elements["00100020"]["Value"] == ["P1", "P2"]


def test_dates_and_times_in_older_formats_are_normalised() -> None:
    lax = {"00080020": element("DA", "2004.01.19"), "00080030": element("TM", "12:30:15")}
    study = attributes_of(Level.STUDY, lax, frozenset(lax))

    assert study.keys == {"StudyDate": "20040119", "StudyTime": "123015.000000"}
    assert study.elements == lax
    assert study.invalid == {}


def test_invalid_text_is_searchable_and_marked_as_invalid() -> None:
    study = attributes_of(
        Level.STUDY, {"00081030": element("LO", "a\tB"), "00081010": element("SH", "x")}, frozenset({"00081030"})
    )

    assert study.keys == {"StudyDescription": "a\tb"}
    assert study.invalid == {"00081030": ("StudyDescription",)}


def test_a_value_that_cannot_be_normalised_is_marked_as_invalid_and_not_searchable() -> None:
    elements = {
        "00080020": element("DA", "20040101-20041231"),
        "00080030": element("TM", "noon"),
        "00080050": {"vr": "UN", "InlineBinary": "AAE="},
        "00080201": element("SH", "Berlin"),
    }
    study = attributes_of(Level.STUDY, elements)

    assert study.keys == {}
    assert study.invalid == dict.fromkeys(elements, ())
    assert study.without(["00080020"]).elements.keys() == elements.keys() - {"00080020"}


def test_an_ideographic_name_without_alphabetic_one_keeps_its_position() -> None:
    study, _, _ = at_all_levels({"00100010": element("PN", {"Ideographic": "山田^太郎"})})

    assert study.keys == {"PatientName": "=山田^太郎"}


def test_all_items_of_a_sequence_are_searchable_in_order() -> None:
    codes = element("SQ", {"00080100": element("SH", "C1")}, {"00080100": element("SH", "C2")})
    items = [
        {"00400009": element("SH", "S1"), "00401001": element("SH", "R1")},
        {"00400009": {"vr": "SH"}},
        {"00400009": element("SH", "S2"), "00401001": element("SH", "R1"), "00400008": codes},
        {},
    ]

    _, series, _ = at_all_levels({"00400275": element("SQ", *items)})

    assert series.keys == {
        "RequestAttributesSequence.ScheduledProcedureStepID": "s1\\\\s2",
        "RequestAttributesSequence.RequestedProcedureID": "r1\\\\r1",
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue": "\\\\c1\nc2",
    }


def test_modalities_in_study_is_never_taken_from_an_instance() -> None:
    study, _, _ = at_all_levels({"00080061": element("CS", "CT")})

    assert study.keys == {}
    assert study.elements == {}


@pytest.mark.parametrize(
    "empty",
    [
        {"vr": "LO"},
        {"vr": "LO", "Value": []},
        {"vr": "LO", "Value": [None]},
        {"vr": "LO", "Value": [""]},
        {"vr": "PN", "Value": [{}]},
        {"vr": "SQ", "Value": [{}]},
        {"vr": "LO", "Value": [" ", "\0\0"]},
        {"vr": "PN", "Value": [{"Alphabetic": " ^ ", "Phonetic": "^"}]},
    ],
)
def test_empty_elements_are_not_stored(empty: dict[str, Any]) -> None:
    assert is_empty(empty)
    assert at_all_levels({"00081030": empty})[0].elements == {}


def test_an_inline_value_is_a_value() -> None:
    assert not is_empty({"vr": "OB", "InlineBinary": "AAE="})


def test_a_zero_is_a_value() -> None:
    assert not is_empty({"vr": "US", "Value": [0]})
