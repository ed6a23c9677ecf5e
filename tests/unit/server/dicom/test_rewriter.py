"""Files that are written anew with changed elements and other pixel data: server/dicom/reencode.py."""

import struct
from io import BytesIO
from itertools import product
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from server.dicom.reencode import Rewriter
from server.model.errors import InvalidRequest
from tests.data import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    RLE_LOSSLESS,
    dataset,
    encapsulated,
    file_of,
    part10,
)

PIXEL_DATA = 0x7FE00010
UNCOMPRESSED = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG]


def rewritten(
    file: bytes,
    source: str,
    target: str,
    *,
    changes: dict[int, tuple[str, bytes] | None] | None = None,
    pixels: bytes = b"",
    chunk: int = 1 << 20,
) -> Dataset:
    """Write a file anew with other pixel data, fed in chunks, and read it."""
    rewriter = Rewriter(source, target, changes=changes, stop_at=PIXEL_DATA if pixels else None)
    out, position = [], 0
    while position < len(file):
        out.append(rewriter.feed(file[position : position + chunk]))
        position += chunk
        if pixels and rewriter.has_stopped:
            position = _end_of_pixels(file, source)
            out += [rewriter.resume("OB", len(pixels), position), pixels]
            pixels = b""
    out.append(rewriter.finish())
    return pydicom.dcmread(BytesIO(b"".join(out)))


def _end_of_pixels(file: bytes, source: str) -> int:
    if source == JPEG_BASELINE:
        return file.rindex(b"\xfe\xff\xdd\xe0")
    value = pydicom.dcmread(BytesIO(file)).PixelData
    return file.rindex(value) + len(value)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(("source", "target"), list(product(UNCOMPRESSED, [IMPLICIT_LITTLE, EXPLICIT_LITTLE])))
def test_elements_are_replaced_put_in_and_left_out_in_order_of_tag(source: str, target: str, chunk: int) -> None:
    file = part10(transfer_syntax=source, PatientWeight="70", Rows=3, PatientComments="x")
    changes: dict[int, tuple[str, bytes] | None] = {
        0x00080005: ("CS", b"ISO_IR 100"),  # before all others but one
        0x00101030: None,
        0x00280010: ("US", struct.pack("<H", 9)),
        0x00280011: ("US", struct.pack("<H", 8)),
        0x7FE00001: None,  # is not there
        0xFFFCFFFC: ("OB", b"\0\1"),  # after all others
    }
    new = rewritten(file, source, target, changes=changes, chunk=chunk)
    tags = [element.tag for element in new]
    assert tags == sorted(tags)
    assert (new.Rows, new.Columns, new.SpecificCharacterSet, new.PatientComments) == (9, 8, "ISO_IR 100", "x")
    assert "PatientWeight" not in new
    assert new.DataSetTrailingPadding == b"\0\1"


def test_elements_of_items_stay_as_they_are() -> None:
    file = part10(ReferencedImageSequence=[dataset(Rows=3)], Rows=3)
    new = rewritten(file, EXPLICIT_LITTLE, EXPLICIT_LITTLE, changes={0x00280010: ("US", b"\7\0")})
    assert (new.Rows, new.ReferencedImageSequence[0].Rows) == (7, 3)


def test_a_sequence_that_comes_first_is_not_overtaken() -> None:
    file = part10(IconImageSequence=[dataset()])
    new = rewritten(file, EXPLICIT_LITTLE, EXPLICIT_LITTLE, changes={0x00280010: ("US", b"\7\0")})
    assert [element.keyword for element in new][-2:] == ["Rows", "IconImageSequence"]


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
@pytest.mark.parametrize("source", [*UNCOMPRESSED, JPEG_BASELINE])
def test_pixel_data_is_put_in_anew_and_what_follows_stays(source: str, chunk: int) -> None:
    fields: dict[str, Any] = {"DataSetTrailingPadding": b"after1", "Rows": 2, "Columns": 4}
    if source == JPEG_BASELINE:
        file = part10(transfer_syntax=source, fragments=[[b"\xff\xd8\xff" + b"a" * 300, b"bb"]], **fields)
    else:
        file = part10(transfer_syntax=source, frames=[b"ABCDEFGH"], **fields)
    new = rewritten(file, source, EXPLICIT_LITTLE, pixels=b"12345678", chunk=chunk)
    assert new.PixelData == b"12345678"
    assert new.DataSetTrailingPadding == b"after1"


def test_compressed_icons_are_emptied_when_the_image_is_written_anew() -> None:
    icon = dataset(Rows=1, Columns=1)
    icon.PixelData = encapsulated([[b"\xff\xd8\xffabc"]])
    icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
    made = dataset(IconImageSequence=[icon], Rows=1)
    made.PixelData = encapsulated([[b"\xff\xd8\xffabc"]])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    new = rewritten(file_of(made, JPEG_BASELINE), JPEG_BASELINE, EXPLICIT_LITTLE, pixels=b"12")
    assert not new.IconImageSequence[0].PixelData
    assert new.PixelData == b"12"


def test_a_file_that_ends_in_the_head_of_its_pixel_data_is_not_whole() -> None:
    rewriter = Rewriter(EXPLICIT_LITTLE, RLE_LOSSLESS, stop_at=PIXEL_DATA)
    file = part10(frames=[b"ABCDEFGH"])
    rewriter.feed(file[:-9])
    with pytest.raises(InvalidRequest):
        rewriter.finish()
