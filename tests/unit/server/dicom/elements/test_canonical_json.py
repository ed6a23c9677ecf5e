"""Access to values in metadata, including values that violate their VR."""

from base64 import b64encode
from typing import Any

import pytest

from server.dicom.elements.canonical_json import integer, number, numbers, numeric_values, text
from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.dicom.presentation.presentation import presentation_of
from server.model.rendering import Window


def element(*found: Any, vr: str = "DS") -> dict[str, Any]:
    return {"vr": vr, "Value": list(found)}


def of_bytes(raw: bytes, vr: str = "UN") -> dict[str, Any]:
    return {"vr": vr, "InlineBinary": b64encode(raw).decode()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), ("5", 5), (" -1024.000000000000 ", -1024), ("+.5e1", 5), ("512.0\0", 512), ("1.", 1)],
)
def test_a_number_may_be_written_as_a_string(value: Any, expected: float) -> None:
    assert number({"00281052": element(value)}, "00281052") == expected


@pytest.mark.parametrize(
    "value", ["", "x", "1,5", "1_000", "inf", "NaN", "1e999", "0x10", None, True, {"Alphabetic": "1"}]
)
def test_values_that_are_not_finite_numbers_are_ignored(value: Any) -> None:
    attributes = {"00281052": element(value, 7)}
    assert number(attributes, "00281052") is None
    assert numbers(attributes, "00281052") == [7]
    assert numeric_values(attributes, "00281052") == [None, 7]


@pytest.mark.parametrize(("value", "expected"), [("512.0", 512), ("3.5", None), (4.0, 4), ("16 ", 16)])
def test_an_integer_may_have_a_decimal_point(value: Any, expected: int | None) -> None:
    assert integer({"00280008": element(value, vr="IS")}, "00280008") == expected


def test_image_attributes_may_have_a_vr_of_bytes() -> None:
    attributes = {
        "00280004": of_bytes(b"RGB "),
        "00280010": of_bytes(b"\x02\x01"),
        "00281051": of_bytes(b"400\\80 "),
        "00281101": of_bytes(b"\0\1\0\0\x10\0", "OW"),
    }
    assert text(attributes, "00280004") == "RGB"
    assert integer(attributes, "00280010") == 258
    assert numbers(attributes, "00281051") == [400, 80]
    assert numbers(attributes, "00281101") == [256, 0, 16]


def test_image_attributes_that_violate_their_vr_are_understood() -> None:
    described = describe_pixels(
        {
            "00280002": element("1", vr="IS"),
            "00280004": element("Monochrome2", vr="LO"),
            "00280010": element("4.0", vr="DS"),
            "00280011": of_bytes(b"\5\0"),
            "00280100": element("16 ", vr="IS"),
            "00280101": element("12", vr="IS"),
            "00280103": element(1),
        }
    )
    assert (described.rows, described.columns, described.bits_allocated, described.bits_stored) == (4, 5, 16, 12)
    assert (described.samples_per_pixel, described.photometric_interpretation) == (1, "MONOCHROME2")
    assert (described.high_bit, described.is_signed) == (11, True)


def test_windows_stay_paired_if_one_value_is_not_a_number() -> None:
    presentation = presentation_of({"00281050": element("x", "40.0000000000000000"), "00281051": element(1, "400")}, {})
    assert presentation.windows == (Window(40, 400),)
