"""The files that tests build (tests/data.py)."""

from io import BytesIO
from typing import Any

import pydicom
import pytest

from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    RLE_LOSSLESS,
    dataset,
    encapsulated,
    file_of,
)

NATIVE = {"Rows": 1, "Columns": 2, "BitsAllocated": 8, "PixelData": b"ab"}
ENCAPSULATED = NATIVE | {"PixelData": encapsulated([[b"abc"], [b"de"]])}


@pytest.mark.parametrize(
    ("transfer_syntax", "attributes"),
    [
        (EXPLICIT_LITTLE, {"SOPInstanceUID": "1.2"}),
        (EXPLICIT_LITTLE, {"SOPClassUID": ["1.2", "1.3"], "SOPInstanceUID": ["1.2.3", "1.3"]}),
        (EXPLICIT_LITTLE, {"SOPClassUID": None, "SOPInstanceUID": None}),
        (EXPLICIT_LITTLE, {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Größe"}),
        *((transfer_syntax, NATIVE) for transfer_syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG)),
        (RLE_LOSSLESS, ENCAPSULATED),
    ],
)
def test_a_file_has_the_bytes_that_pydicom_writes(transfer_syntax: str, attributes: dict[str, Any]) -> None:
    made = dataset(**attributes)
    if "PixelData" in made:
        made["PixelData"].VR = "OB"
    written = file_of(made, transfer_syntax)
    expected = BytesIO()
    pydicom.dcmwrite(expected, made, enforce_file_format=True)
    assert written == expected.getvalue()
