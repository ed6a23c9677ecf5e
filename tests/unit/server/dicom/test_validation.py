"""Validation in the same pass: spec/store.md sections 4, 5, 7, 8 and 13."""

import pytest

from server.model.instance import Finding
from tests import data
from tests.data import element, part10, part10_of, sequence
from tests.unit.server.dicom.reading import LENIENT, STRICT, json_of, read

MISSING_PATIENT_ID = Finding("00100020", "PatientID", "LO", "The required tag '(0010,0020)' is missing.")


def _with(*elements: bytes, **required: bytes) -> bytes:
    return part10_of(sorted([*data.required_elements(**required), *elements], key=lambda e: (e[1], e[0], e[3], e[2])))


@pytest.mark.parametrize("mode", [LENIENT, STRICT])
@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"]
)
def test_an_instance_without_a_required_attribute_fails(keyword: str, mode) -> None:
    (error,) = read(part10(**{keyword: None}), mode).errors
    assert error.keyword == keyword
    assert "is missing" in error.message


def test_an_empty_patient_id_is_stored_with_a_finding() -> None:
    found = read(part10(PatientID=""))
    assert found.errors == ()
    assert found.findings == (MISSING_PATIENT_ID,)
    assert json_of(found)["00100020"] == {"vr": "LO"}


def test_an_empty_patient_id_fails_where_indexed_values_are_checked_strictly() -> None:
    assert read(part10(PatientID=""), STRICT).errors == (MISSING_PATIENT_ID,)


@pytest.mark.parametrize("mode", [LENIENT, STRICT])
@pytest.mark.parametrize("uid", ["1.2.", "abc", "1" * 65, "1 2", "1.2\\1.3"])
def test_an_illegal_study_uid_fails(uid: str, mode) -> None:
    found = read(_with(StudyInstanceUID=uid.encode()), mode)
    assert [error.keyword for error in found.errors] == ["StudyInstanceUID"]
    assert "0020000D" in json_of(found)


@pytest.mark.parametrize("raw", [b"1.2.3\0", b"1.2.3 ", b"1.2.3\0\0\0", b"01..2.3"])
def test_padding_and_leading_zeros_of_a_uid_are_tolerated(raw: bytes) -> None:
    found = read(_with(StudyInstanceUID=raw))
    assert found.errors == found.findings == ()
    assert found.study_uid == raw.decode().strip("\0 ")


@pytest.mark.parametrize(("raw", "fails"), [(b"123\0", False), (b"\x00123\0", True)])
def test_a_nul_is_tolerated_at_the_end_only(raw: bytes, fails: bool) -> None:
    found = read(_with(PatientID=raw))
    assert bool(found.errors) is fails
    assert found.findings == ()


def test_a_trailing_nul_is_an_invalid_character_where_values_are_checked_strictly() -> None:
    (error,) = read(_with(PatientID=b"123\0"), STRICT).errors
    assert error.message == "Dicom element 'PatientID' failed validation for VR 'LO': Value contains invalid character."


INVALID = [
    (0x00080020, "DA", b"NotADate", "one of the date values does not match the pattern YYYYMMDD"),
    (0x00080020, "DA", b"20230229", "one of the date values does not match the pattern YYYYMMDD"),
    (0x00080030, "TM", b"256000", "one of the time values"),
    (0x0008002A, "DT", b"2023010", "one of the date time values"),
    (0x00080060, "CS", b"X\0X ", "value contains invalid character"),
    (0x00080060, "CS", b"qx", "value contains invalid character"),
    (0x00080008, "CS", b"ORIGINAL\\primary", "value contains invalid character"),
    (0x00080008, "CS", b"SEVENTEEN_LETTERS ", "value exceeds maximum length of 16 characters"),
    (0x00080050, "SH", b"SEVENTEEN LETTERS ", "value exceeds maximum length of 16 characters"),
    (0x00081030, "LO", b"a" * 66, "value exceeds maximum length of 64 characters"),
    (0x00081030, "LO", b"line\r\nline", "value contains invalid character"),
    (0x00080081, "ST", b"a" * 1026, "value exceeds maximum length of 1024 characters"),
    (0x00100010, "PN", b"a=b=c=d ", "value contains too many component groups"),
    (0x00100010, "PN", b"a^b^c^d^e^f ", "a component group contains too many components"),
    (0x00101010, "AS", b"40 ", "value is not three digits and one of D, W, M, Y"),
    (0x00101030, "DS", b"seventy ", "value is not a decimal string"),
    (0x00101030, "DS", b"1.000000000000000000", "value exceeds maximum length of 16 characters"),
    (0x00200013, "IS", b"1.5 ", "value is not an integer string"),
    (0x00200013, "IS", b"2147483648", "value is outside of the range of 32-bit integers"),
    (0x00200052, "UI", b"1.2.x\0", "value is not a valid UID"),
    (0x00280010, "US", b"abc", "length is not a multiple of 2 bytes"),
    (0x00189087, "FD", b"abcd", "length is not a multiple of 8 bytes"),
    (0x00091001, "CS", b"private?", "value contains invalid character"),
]


@pytest.mark.parametrize(("tag", "vr", "raw", "rule"), INVALID)
def test_an_invalid_value_is_reported_and_left_out(tag: int, vr: str, raw: bytes, rule: str) -> None:
    found = read(_with(element(tag, vr, raw)))
    assert found.errors == ()
    (finding,) = found.findings
    assert (finding.tag, finding.vr) == (f"{tag:08X}", vr)
    assert finding.message.startswith(f"Content does not validate VR {vr}: {rule}")
    assert f"{tag:08X}" not in json_of(found)
    assert f"{tag:08X}" not in {**found.study.elements, **found.series.elements, **found.instance.elements}


@pytest.mark.parametrize(("tag", "vr", "raw", "rule"), INVALID)
def test_findings_never_repeat_the_value(tag: int, vr: str, raw: bytes, rule: str) -> None:
    texts = [
        finding.message for mode in (LENIENT, STRICT) for finding in _all_findings(_with(element(tag, vr, raw)), mode)
    ]
    assert not any(raw.decode().strip("\0 ") in text for text in texts)


def _all_findings(file: bytes, mode):
    found = read(file, mode)
    return [*found.errors, *found.findings]


VALID = [
    (0x00080020, "DA", b"20240229"),
    (0x00080020, "DA", b"20200101-20201231 "),
    (0x00080020, "DA", b"-20201231 "),
    (0x00080030, "TM", b"235960"),
    (0x00080030, "TM", b"10"),
    (0x00080030, "TM", b"1000-1100 "),
    (0x0008002A, "DT", b"2023"),
    (0x0008002A, "DT", b"20230101120000.123456-0500"),
    (0x0008002A, "DT", b"2022-2023 "),
    (0x00080060, "CS", b"X\0"),
    (0x00080060, "CS", b" A_9 "),
    (0x00080081, "ST", b"line\r\nline \\ "),
    (0x00081030, "LO", b"\xd6\xd6" * 32),
    (0x00101030, "DS", b" +1.5e-3"),
    (0x00200013, "IS", b" -12 "),
    (0x00080054, "AE", b" STORE SCP "),
    (0x00080020, "DA", b""),
    (0x00080020, "DA", b"  "),
]


@pytest.mark.parametrize(("tag", "vr", "raw"), VALID)
def test_a_valid_value_is_kept_without_a_word(tag: int, vr: str, raw: bytes) -> None:
    found = read(_with(element(tag, vr, raw)))
    assert found.errors == found.findings == ()
    assert f"{tag:08X}" in json_of(found)


def test_an_invalid_nested_value_is_reported_and_kept() -> None:
    found = read(_with(sequence(0x00081140, [element(0x00080020, "DA", b"bogus ")])))
    assert [finding.tag for finding in found.findings] == ["00080020"]
    assert json_of(found)["00081140"]["Value"] == [{"00080020": {"vr": "DA", "Value": ["bogus"]}}]


def test_an_invalid_nested_value_drops_the_element_of_its_tag_at_the_top() -> None:
    nested = sequence(0x00081140, [element(0x00080020, "DA", b"bogus ")])
    found = read(_with(element(0x00080020, "DA", b"20200101"), nested))
    assert "00080020" not in json_of(found)
    assert "StudyDate" not in found.study.keys


def test_one_finding_a_tag() -> None:
    items = [element(0x00080020, "DA", b"bogus "), element(0x00080020, "DA", b"20201301")]
    assert len(read(_with(sequence(0x00081140, items))).findings) == 1


STRICTLY_INVALID = [
    (0x00080020, "DA", b"20200101-20201231 "),
    (0x00080020, "DA", b"20230229"),
    (0x00080030, "TM", b"bogus "),
    (0x00080050, "SH", b"SEVENTEEN LETTERS "),
    (0x00081030, "LO", b"a\tb "),
    (0x00100010, "PN", b"a" * 66),
    (0x00200013, "IS", b"99999999999 "),
    (0x00080060, "LO", b"CT"),
]


@pytest.mark.parametrize(("tag", "vr", "raw"), STRICTLY_INVALID)
def test_an_invalid_indexed_value_fails_where_they_are_checked_strictly(tag: int, vr: str, raw: bytes) -> None:
    (error,) = read(_with(element(tag, vr, raw)), STRICT).errors
    assert (error.tag, error.vr) == (f"{tag:08X}", vr)
    assert error.message.startswith(f"Dicom element '{error.keyword}' failed validation for VR ")


@pytest.mark.parametrize(
    ("tag", "vr", "raw"),
    [
        (0x00080022, "DA", b"NotADate"),
        (0x00101030, "DS", b"seventy "),
        (0x00080060, "CS", b"ct"),
        (0x00080050, "SH", b"FIRST\\SEVENTEEN LETTERS "),
        (0x00100010, "PN", b"A^B=C"),
        (0x00200013, "IS", b"0012"),
    ],
)
def test_other_values_pass_where_indexed_ones_are_checked_strictly(tag: int, vr: str, raw: bytes) -> None:
    found = read(_with(element(tag, vr, raw)), STRICT)
    assert found.errors == found.findings == ()
    assert f"{tag:08X}" in json_of(found)
