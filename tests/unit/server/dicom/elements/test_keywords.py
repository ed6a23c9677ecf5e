import pytest

from server.dicom.elements.keywords import path_of, tags_of


@pytest.mark.parametrize(
    ("attribute", "path"),
    [
        ("PatientName", ("00100010",)),
        ("00100010", ("00100010",)),
        ("0020000d", ("0020000D",)),
        ("00091001", ("00091001",)),
        ("RequestAttributesSequence.ScheduledProcedureStepID", ("00400275", "00400009")),
        ("00400275.00400009", ("00400275", "00400009")),
        ("00400275.ScheduledProcedureStepID", ("00400275", "00400009")),
    ],
)
def test_an_attribute_is_named_by_keyword_tag_or_path(attribute: str, path: tuple[str, ...]) -> None:
    assert path_of(attribute) == path


@pytest.mark.parametrize(
    "attribute",
    [
        "",
        ".",
        "patientname",
        "PATIENTNAME",
        "Patient Name",
        "0010001",
        "001000100",
        "0010,0010",
        "PatientName.",
        "Nothing",
    ],
)
def test_other_text_is_not_an_attribute(attribute: str) -> None:
    assert path_of(attribute) is None


def test_a_table_in_code_cannot_name_an_unknown_keyword() -> None:
    with pytest.raises(KeyError, match="PatientNaem"):
        tags_of("PatientID PatientNaem")
