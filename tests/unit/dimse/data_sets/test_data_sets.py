"""Encoded data sets, the DICOM JSON model, and character sets."""

from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from dimse.data_sets.character_sets import UTF_8, common, decode, encode
from dimse.data_sets.reading import Unreadable, read
from dimse.data_sets.writing import EXPLICIT_LITTLE, IMPLICIT_LITTLE, texts_of, write

EXPLICIT_BIG = "1.2.840.10008.1.2.2"


def encoded(data_set: Dataset, syntax: str) -> bytes:
    """Return a data set as pydicom encodes it."""
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG
    write_dataset(out, data_set)
    return out.getvalue()


def example() -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID = "STEP1"
    item.ScheduledProtocolCodeSequence = [Dataset()]
    item.ScheduledProtocolCodeSequence[0].CodeValue = "C1"
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 100"
    found.QueryRetrieveLevel = "STUDY"
    found.StudyDate = "20200101-20201231"
    found.PatientName = "Müller^*"
    found.PatientID = ""
    found.StudyInstanceUID = ["1.2.3", "1.2.4"]
    found.Rows = 512
    found.SelectorATValue = 0x00100010
    found.PatientWeight = "71.5"
    found.RequestAttributesSequence = [item]
    found.ReferencedStudySequence = []
    return found


MODEL: dict[str, dict[str, Any]] = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    "00080020": {"vr": "DA", "Value": ["20200101-20201231"]},
    "00080052": {"vr": "CS", "Value": ["STUDY"]},
    "00081110": {"vr": "SQ"},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^*"}]},
    "00100020": {"vr": "LO"},
    "00101030": {"vr": "DS", "Value": ["71.5"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3", "1.2.4"]},
    "00280010": {"vr": "US", "Value": [512]},
    "00400275": {
        "vr": "SQ",
        "Value": [
            {
                "00400008": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["C1"]}}]},
                "00400009": {"vr": "SH", "Value": ["STEP1"]},
            }
        ],
    },
    "00720060": {"vr": "AT", "Value": ["00100010"]},
}


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_an_identifier_is_read_in_its_transfer_syntax_and_character_set(syntax: str) -> None:
    assert read(encoded(example(), syntax), syntax) == MODEL


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
def test_what_is_written_is_read_by_pydicom_and_here(syntax: str) -> None:
    data = write(MODEL, syntax, ("ISO_IR 100",))
    assert read(data, syntax) == MODEL
    found = read_dataset(BytesIO(data), syntax == IMPLICIT_LITTLE, True)
    assert (found.PatientName, found.Rows, found.PatientWeight) == ("Müller^*", 512, 71.5)
    assert found.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue == "C1"


@pytest.mark.parametrize(
    ("value", "written"),
    [(1, "1"), (1.0, "1"), (0.1, "0.1"), (-1.23456789012345e-7, "-1.23456789e-07"), ("1.50", "1.50")],
)
def test_a_decimal_string_has_at_most_sixteen_characters(value: Any, written: str) -> None:
    data = write({"00101030": {"vr": "DS", "Value": [value]}}, IMPLICIT_LITTLE, ())
    assert data[8:].decode().strip() == written


def test_a_value_that_is_longer_than_its_length_field_has_vr_un() -> None:
    data = write({"00080060": {"vr": "LO", "Value": ["x" * 70000]}}, EXPLICIT_LITTLE, ())
    assert (data[4:6], len(data)) == (b"UN", 12 + 70000)


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_sequences_and_items_of_undefined_length_are_read(syntax: str) -> None:
    found = example()
    found["RequestAttributesSequence"].is_undefined_length = True
    found.RequestAttributesSequence[0].is_undefined_length_sequence_item = True
    assert read(encoded(found, syntax), syntax) == MODEL


def test_explicit_and_implicit_vrs_are_recognised_whatever_was_negotiated() -> None:
    assert read(encoded(example(), EXPLICIT_LITTLE), IMPLICIT_LITTLE) == MODEL
    assert read(encoded(example(), IMPLICIT_LITTLE), EXPLICIT_LITTLE) == MODEL


@pytest.mark.parametrize("length", [b"\x14\0\0\0", b"\xff\xff\xff\xff"])
def test_the_items_of_a_sequence_with_vr_un_have_implicit_vrs(length: bytes) -> None:
    item = b"\xfe\xff\x00\xe0\x0c\0\0\0" + b"\x40\x00\x09\x00\x04\0\0\0STEP"
    end = b"\xfe\xff\xdd\xe0\0\0\0\0" if length[0] == 0xFF else b""
    data = (
        b"\x08\0\x60\0CS\x02\0CT" + b"\x40\0\x75\x02UN\0\0" + length + item + end + b"\x72\0\x60\0AT\x04\0\x10\0\x10\0"
    )
    assert read(data, EXPLICIT_LITTLE) == {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["STEP"]}}]},
        "00720060": {"vr": "AT", "Value": ["00100010"]},
    }


def test_elements_are_in_ascending_order_and_without_group_lengths() -> None:
    first, second = b"\x08\0\x60\0\x02\0\0\0CT", b"\x10\0\x20\0\x02\0\0\0P1"
    found = read(b"\x08\0\0\0\x04\0\0\0\x0a\0\0\0" + second + first, IMPLICIT_LITTLE)
    assert list(found) == ["00080060", "00100020"]


def test_a_data_set_that_ends_too_early_or_is_nested_too_deeply_is_unreadable() -> None:
    data = encoded(example(), EXPLICIT_LITTLE)
    for end in range(1, len(data)):
        with suppress(Unreadable):
            read(data[:end], EXPLICIT_LITTLE)
    nested = b""
    for _ in range(10):
        nested = (
            b"\x40\0\x75\x02SQ\0\0"
            + (len(nested) + 8).to_bytes(4, "little")
            + b"\xfe\xff\0\xe0"
            + len(nested).to_bytes(4, "little")
            + nested
        )
    with pytest.raises(Unreadable):
        read(nested, EXPLICIT_LITTLE)


@pytest.mark.parametrize("data", [b"\x08\0\x05\0\xff\xff\0\0AB", b"\x28\0\x10\0\x03\0\0\0abc"])
def test_bytes_that_are_no_data_set_are_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read(data, IMPLICIT_LITTLE)


@pytest.mark.parametrize(
    ("terms", "text", "bytes_"),
    [
        ((), "Doe^Jane", b"Doe^Jane"),
        (("ISO_IR 100",), "Müller", b"M\xfcller"),
        (("ISO_IR 144",), "Люкceмбypг", "Люкceмбypг".encode("iso8859-5")),
        (("ISO_IR 192",), "王^小東", "王^小東".encode()),
        (("GB18030",), "王^小东", "王^小东".encode("gb18030")),
        # PS3.5 sections H.3.1 and I.2
        (
            ("", "ISO 2022 IR 87"),
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        ),
        (
            ("", "ISO 2022 IR 149"),
            "Hong^Gildong=洪^吉洞=홍^길동",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        ),
    ],
)
def test_text_in_the_character_sets_of_the_standard(terms: tuple[str, ...], text: str, bytes_: bytes) -> None:
    assert encode(text, terms) == bytes_
    assert decode(bytes_, terms) == text
    assert common(terms, [text]) == terms


@pytest.mark.parametrize("terms", [(), ("ISO_IR 6",), ("ISO_IR 100",), ("", "ISO 2022 IR 87"), ("ISO_IR 999",)])
def test_a_character_set_without_the_characters_is_replaced_by_utf_8(terms: tuple[str, ...]) -> None:
    assert common(terms, ["Doe", "홍^길동"]) == UTF_8
    with pytest.raises(UnicodeError):
        encode("홍", terms)


def test_texts_of_a_data_set_are_those_to_which_the_character_set_applies() -> None:
    assert list(texts_of(MODEL)) == ["Müller^*", "C1", "STEP1"]
