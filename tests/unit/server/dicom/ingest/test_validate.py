"""Validation in the same pass; see `ValidationMode` in store_service.proto."""

from typing import Any

import pytest

from server.model.instance import Finding
from tests import data
from tests.data import element, part10, part10_of, sequence
from tests.unit.server.dicom.reading import INDEXED_STRICT, LENIENT, STRICT, json_of, read

MISSING_PATIENT_ID = Finding("00100020", "PatientID", "LO", "The required tag '(0010,0020)' is missing.")


def _with(*elements: bytes, **required: bytes) -> bytes:
    return part10_of(sorted([*data.required_elements(**required), *elements], key=lambda e: (e[1], e[0], e[3], e[2])))


@pytest.mark.parametrize("mode", [LENIENT, INDEXED_STRICT, STRICT])
@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_a_required_attribute_fails(keyword: str, mode) -> None:
    (error,) = read(part10(**{keyword: None}), mode).errors
    assert error.keyword == keyword
    assert "is missing" in error.message


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_or_missing_patient_id_is_stored_with_a_finding(value: str | None) -> None:
    found = read(part10(PatientID=value))
    assert found.errors == ()
    assert found.findings == (MISSING_PATIENT_ID,)
    assert json_of(found).get("00100020", {"vr": "LO"}) == {"vr": "LO"}
    assert "PatientID" not in found.study.keys


@pytest.mark.parametrize("mode", [INDEXED_STRICT, STRICT])
@pytest.mark.parametrize("value", ["", None])
def test_an_empty_or_missing_patient_id_fails_under_strict_validation(value: str | None, mode) -> None:
    assert read(part10(PatientID=value), mode).errors == (MISSING_PATIENT_ID,)


@pytest.mark.parametrize(("mode", "fails"), [(LENIENT, False), (INDEXED_STRICT, True), (STRICT, True)])
def test_a_patient_id_with_several_values_fails_under_strict_validation(mode, fails: bool) -> None:
    found = read(_with(PatientID=b"A1\\B2"), mode)
    assert [error.message for error in found.errors] == ["The attribute must have exactly one value."] * fails


@pytest.mark.parametrize("mode", [LENIENT, INDEXED_STRICT])
@pytest.mark.parametrize("uid", ["1.2.", "abc", "1" * 65, "1 2", "1.2\\1.3"])
def test_an_invalid_study_uid_fails(uid: str, mode) -> None:
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


def test_a_trailing_nul_is_invalid_under_strict_validation() -> None:
    (error,) = read(_with(PatientID=b"123\0"), INDEXED_STRICT).errors
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
def test_an_invalid_value_is_reported_and_returned(tag: int, vr: str, raw: bytes, rule: str) -> None:
    found = read(_with(element(tag, vr, raw)))
    assert found.errors == ()
    (finding,) = found.findings
    assert (finding.path, finding.vr) == (f"{tag:08X}", vr)
    assert finding.message.startswith(f"Content does not validate VR {vr}: {rule}")
    assert json_of(found)[f"{tag:08X}"].keys() & {"Value", "InlineBinary"}


@pytest.mark.parametrize(("tag", "vr", "raw", "rule"), INVALID)
def test_an_invalid_value_fails_under_strict_validation(tag: int, vr: str, raw: bytes, rule: str) -> None:
    for data_set in (_with(element(tag, vr, raw)), _with(sequence(0x00081140, [element(tag, vr, raw)]))):
        assert [error.tag for error in read(data_set, STRICT).errors] == [f"{tag:08X}"]


STORED: list[tuple[int, str, bytes, Any]] = [
    (0x00080020, "DA", b"2004.01.19", ["2004.01.19"]),
    (0x00080030, "TM", b"12:30:15", ["12:30:15"]),
    (0x00080060, "CS", b"X\0X ", ["X\0X"]),
    (0x00080008, "CS", b"ORIGINAL\\primary", ["ORIGINAL", "primary"]),
    (0x00081030, "LO", b"a\tb ", ["a\tb"]),
    (0x00100010, "PN", b"a=b=c=d ", [{"Alphabetic": "a", "Ideographic": "b", "Phonetic": "c=d"}]),
    (0x00101030, "DS", b"seventy ", ["seventy"]),
    (0x00101030, "DS", b"1_0 ", ["1_0"]),
    (0x00101030, "DS", b"1,5 ", ["1,5"]),
    (0x00281052, "DS", b"-1024.000000000000", [-1024.0]),
    (0x00281050, "DS", b"0x28\\40.0000000000000001", ["0x28", 40.0]),
    (0x00200013, "IS", b"1_0 ", ["1_0"]),
    (0x00200013, "IS", b"1.5 ", ["1.5"]),
    (0x00200013, "IS", b"1.0 ", [1]),
    (0x00200013, "IS", b"2147483648", [2147483648]),
]


@pytest.mark.parametrize(("tag", "vr", "raw", "values"), STORED)
def test_an_invalid_number_string_is_a_number_if_possible_and_otherwise_text(
    tag: int, vr: str, raw: bytes, values: Any
) -> None:
    assert json_of(read(_with(element(tag, vr, raw))))[f"{tag:08X}"] == {"vr": vr, "Value": values}


def test_a_binary_value_of_a_wrong_length_is_returned_as_bytes() -> None:
    assert json_of(read(_with(element(0x00280010, "US", b"abc"))))["00280010"] == {"vr": "UN", "InlineBinary": "YWJj"}


@pytest.mark.parametrize(("tag", "vr", "raw", "rule"), INVALID)
def test_findings_never_repeat_the_value(tag: int, vr: str, raw: bytes, rule: str) -> None:
    texts = [
        finding.message
        for mode in (LENIENT, INDEXED_STRICT)
        for finding in _all_findings(_with(element(tag, vr, raw)), mode)
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
def test_a_valid_value_has_no_finding(tag: int, vr: str, raw: bytes) -> None:
    found = read(_with(element(tag, vr, raw)))
    assert found.errors == found.findings == ()
    assert f"{tag:08X}" in json_of(found)


def test_an_invalid_nested_value_is_reported_with_its_path_only() -> None:
    inner = sequence(0x0040A730, [element(0x00080020, "DA", b"20200101") + element(0x00080050, "SH", b"A" * 20)])
    nested = sequence(
        0x00081140, [element(0x00080020, "DA", b"20200102"), element(0x00080020, "DA", b"bogus ") + inner]
    )
    found = read(_with(element(0x00080020, "DA", b"20200101"), element(0x00080050, "SH", b"ACC1"), nested))
    assert [finding.path for finding in found.findings] == [
        "00081140/2/00080020",
        "00081140/2/0040A730/1/00080050",
    ]
    assert json_of(found)["00080020"] == {"vr": "DA", "Value": ["20200101"]}
    assert json_of(found)["00081140"]["Value"][1]["00080020"] == {"vr": "DA", "Value": ["bogus"]}
    assert (found.study.keys["StudyDate"], found.study.keys["AccessionNumber"]) == ("20200101", "acc1")
    assert not found.study.invalid


def test_an_element_after_a_sequence_with_an_invalid_value_is_at_the_top_level() -> None:
    nested = sequence(0x00081140, [element(0x00080020, "DA", b"bogus ")])
    found = read(_with(nested, element(0x00101030, "DS", b"seventy ")))
    assert [finding.path for finding in found.findings] == ["00081140/1/00080020", "00101030"]


NESTED_REQUIRED = [
    (0x00100020, "LO", b"x" * 70),
    (0x00100020, "LO", b"a\\b "),
    *((tag, "UI", b"NOT-A-UID\0") for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)),
]


@pytest.mark.parametrize(("tag", "vr", "raw"), NESTED_REQUIRED)
@pytest.mark.parametrize("mode", [LENIENT, INDEXED_STRICT])
def test_an_invalid_value_in_a_sequence_never_fails_the_instance(tag: int, vr: str, raw: bytes, mode) -> None:
    assert read(_with(sequence(0x00400275, [element(tag, vr, raw)])), mode).errors == ()


def test_an_attribute_has_one_finding_for_the_first_invalid_item() -> None:
    items = [element(0x00080020, "DA", raw) for raw in (b"20200101", b"bogus ", b"20201301")]
    found = read(_with(element(0x00080020, "DA", b"none"), sequence(0x00081140, items)))
    assert [finding.path for finding in found.findings] == ["00080020", "00081140/2/00080020"]


def test_findings_are_limited_and_required_attributes_are_checked_nevertheless() -> None:
    many = [element(0x00091000 + number, "DA", b"bogus ") for number in range(0x10, 0xFF)]
    lenient, strict = (read(_with(*many, PatientID=b"x" * 70), mode) for mode in (LENIENT, STRICT))
    assert [error.path for error in lenient.errors] == ["00100020"]
    assert [finding.path for finding in lenient.findings] == [f"0009{number:04X}" for number in range(0x1010, 0x1074)]
    assert len(strict.errors) == 100


STRICTLY_INVALID = [
    (0x00080020, "DA", b"20200101-20201231 "),
    (0x00080020, "DA", b"20230229"),
    (0x00080030, "TM", b"bogus "),
    (0x00080050, "SH", b"SEVENTEEN LETTERS "),
    (0x00081030, "LO", b"a\tb "),
    (0x00100010, "PN", b"a" * 66),
    (0x00100010, "PN", b"a=b=c=d "),
    (0x00200013, "IS", b"99999999999 "),
    (0x00080060, "LO", b"CT"),
]


@pytest.mark.parametrize(("tag", "vr", "raw"), STRICTLY_INVALID)
def test_an_invalid_indexed_value_fails_under_indexed_strict_validation(tag: int, vr: str, raw: bytes) -> None:
    (error,) = read(_with(element(tag, vr, raw)), INDEXED_STRICT).errors
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
def test_other_invalid_values_pass_under_indexed_strict_validation(tag: int, vr: str, raw: bytes) -> None:
    found = read(_with(element(tag, vr, raw)), INDEXED_STRICT)
    assert found.errors == found.findings == ()
    assert f"{tag:08X}" in json_of(found)


JUNK = [
    *(("IS", b"9007199254740991"), ("DS", b"1e308 "), ("DS", b"-1e300\\nan"), ("DS", b"\\1"), ("UL", b"\xff" * 4)),
    *(("US", b"abc"), ("UN", b"abcd"), ("PN", b"a=b "), ("FD", b"\xff" * 8), ("SQ", b""), ("LO", b"eight ")),
]


@pytest.mark.parametrize("tag", [0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280103])
@pytest.mark.parametrize(("vr", "raw"), JUNK)
def test_any_values_of_image_pixel_attributes_are_accepted(tag: int, vr: str, raw: bytes) -> None:
    image = {
        **{number: element(number, "US", b"\x08\0") for number in (0x00280010, 0x00280011, 0x00280100)},
        0x7FE00010: element(0x7FE00010, "OW", bytes(64)),
        tag: element(tag, vr, raw),
    }
    pixels = read(_with(*image.values())).pixels
    assert pixels is not None
    numbers = (pixels.number_of_frames, pixels.bits_allocated, pixels.frame_bits)
    assert all(0 <= number < 2**31 for number in numbers)
