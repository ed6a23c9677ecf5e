"""Re-encoded files with changed elements and replaced pixel data: server/dicom/part10/rewriter.py."""

import struct
from io import BytesIO
from itertools import product
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from server.dicom.part10.rewriter import Rewriter
from server.model.errors import InvalidRequest
from tests.data import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    RLE_LOSSLESS,
    dataset,
    element,
    encapsulated,
    file_of,
    padded_uid,
    part10,
    part10_of,
    required_elements,
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
    """Rewrite a file, fed in chunks, with other pixel data, and parse the result."""
    rewriter = Rewriter(
        source,
        target,
        sop_class_uid="1.2",
        sop_instance_uid="1.2.3",
        changes=changes,
        stop_at=PIXEL_DATA if pixels else None,
    )
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
def test_elements_are_replaced_inserted_and_removed_in_order_of_tag(source: str, target: str, chunk: int) -> None:
    file = part10(transfer_syntax=source, PatientWeight="70", Rows=3, PatientComments="x")
    changes: dict[int, tuple[str, bytes] | None] = {
        0x00080005: ("CS", b"ISO_IR 100"),  # before all others but one
        0x00101030: None,
        0x00280010: ("US", struct.pack("<H", 9)),
        0x00280011: ("US", struct.pack("<H", 8)),
        0x7FE00001: None,  # does not exist
        0xFFFCFFFC: ("OB", b"\0\1"),  # after all others
    }
    new = rewritten(file, source, target, changes=changes, chunk=chunk)
    tags = [element.tag for element in new]
    assert tags == sorted(tags)
    assert (new.Rows, new.Columns, new.SpecificCharacterSet, new.PatientComments) == (9, 8, "ISO_IR 100", "x")
    assert "PatientWeight" not in new
    assert new.DataSetTrailingPadding == b"\0\1"


def test_elements_of_items_are_not_changed() -> None:
    file = part10(ReferencedImageSequence=[dataset(Rows=3)], Rows=3)
    new = rewritten(file, EXPLICIT_LITTLE, EXPLICIT_LITTLE, changes={0x00280010: ("US", b"\7\0")})
    assert (new.Rows, new.ReferencedImageSequence[0].Rows) == (7, 3)


def test_an_inserted_element_stays_behind_a_sequence_of_lower_tag() -> None:
    file = part10(IconImageSequence=[dataset()])
    new = rewritten(file, EXPLICIT_LITTLE, EXPLICIT_LITTLE, changes={0x00280010: ("US", b"\7\0")})
    assert [element.keyword for element in new][-2:] == ["Rows", "IconImageSequence"]


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
@pytest.mark.parametrize("source", [*UNCOMPRESSED, JPEG_BASELINE])
def test_pixel_data_is_replaced_and_later_elements_are_kept(source: str, chunk: int) -> None:
    fields: dict[str, Any] = {"DataSetTrailingPadding": b"after1", "Rows": 2, "Columns": 4}
    if source == JPEG_BASELINE:
        file = part10(transfer_syntax=source, fragments=[[b"\xff\xd8\xff" + b"a" * 300, b"bb"]], **fields)
    else:
        file = part10(transfer_syntax=source, frames=[b"ABCDEFGH"], **fields)
    new = rewritten(file, source, EXPLICIT_LITTLE, pixels=b"12345678", chunk=chunk)
    assert new.PixelData == b"12345678"
    assert new.DataSetTrailingPadding == b"after1"


def with_pixels(made: Dataset, pixels: bytes | list[bytes]) -> Dataset:
    """Return the data set with pixel data: native bytes, or fragments of one frame."""
    made.PixelData = pixels if isinstance(pixels, bytes) else encapsulated([pixels])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", not isinstance(pixels, bytes)
    return made


JPEG = [b"\xff\xd8\xffabc"]


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
def test_an_icon_image_sequence_with_compressed_pixel_data_is_removed_at_any_depth(chunk: int) -> None:
    image = dataset(IconImageSequence=[with_pixels(dataset(Rows=1), JPEG)], PatientComments="stays")
    deep = dataset(ReferencedImageSequence=[image])
    made = dataset(
        ReferencedSeriesSequence=[deep],
        IconImageSequence=[with_pixels(dataset(Rows=1), b"12"), with_pixels(dataset(Rows=1), JPEG)],
        TextComments="stays",
    )
    file = file_of(with_pixels(made, JPEG), JPEG_BASELINE)
    new = rewritten(file, JPEG_BASELINE, EXPLICIT_LITTLE, pixels=b"12", chunk=chunk)

    inner = new.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    assert "IconImageSequence" not in new
    assert "IconImageSequence" not in inner
    assert (inner.PatientComments, new.PixelData) == ("stays", b"12")


@pytest.mark.parametrize("target", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE_LOSSLESS])
def test_an_icon_with_native_pixel_data_is_kept(target: str) -> None:
    icon = with_pixels(dataset(Rows=1, Columns=2), b"12")
    file = file_of(with_pixels(dataset(IconImageSequence=[icon]), JPEG), JPEG_BASELINE)
    new = rewritten(file, JPEG_BASELINE, target, pixels=b"12")
    assert new.IconImageSequence[0].PixelData == b"12"


def test_compressed_pixel_data_in_another_sequence_is_removed_without_its_item() -> None:
    made = dataset(ReferencedImageSequence=[with_pixels(dataset(Rows=1), JPEG)])
    new = rewritten(file_of(with_pixels(made, JPEG), JPEG_BASELINE), JPEG_BASELINE, EXPLICIT_LITTLE, pixels=b"12")
    assert new.ReferencedImageSequence[0].Rows == 1
    assert "PixelData" not in new.ReferencedImageSequence[0]


def test_an_icon_over_the_size_limit_is_removed() -> None:
    rewriter = Rewriter(EXPLICIT_LITTLE, IMPLICIT_LITTLE, sop_class_uid="1.2", sop_instance_uid="1.2.3")
    file = file_of(dataset(IconImageSequence=[with_pixels(dataset(), bytes(3 << 20))], TextComments="stays"))
    written = [rewriter.feed(file[start : start + 4096]) for start in range(0, len(file), 4096)]
    new = pydicom.dcmread(BytesIO(b"".join([*written, rewriter.finish()])))
    assert "IconImageSequence" not in new


def meta_of(stored_meta: bytes) -> tuple[Dataset, bytes]:
    """Rewrite a file with this file meta information; return the new one, parsed and encoded."""
    body = file_of(dataset())[132:]
    data_set = body[12 + int.from_bytes(body[8:12], "little") :]
    rewriter = Rewriter(EXPLICIT_LITTLE, IMPLICIT_LITTLE, sop_class_uid="1.2.3", sop_instance_uid="1.2.3.4")
    written = rewriter.feed(bytes(128) + b"DICM" + stored_meta + data_set) + rewriter.finish()
    return pydicom.dcmread(BytesIO(written)).file_meta, written


TRANSFER_SYNTAX = element(0x00020010, "UI", padded_uid(EXPLICIT_LITTLE))


@pytest.mark.parametrize(
    "stored_meta",
    [
        b"",
        TRANSFER_SYNTAX,
        element(0x00020001, "OB", b"\7") + element(0x00020002, "UI", b"") + TRANSFER_SYNTAX,
        element(0x00020000, "UL", b"\xff\xff\xff\0")
        + element(0x00020002, "UI", b"1.9.9\0")
        + element(0x00020003, "UI", b"1.9.8\0")
        + TRANSFER_SYNTAX,
        element(0x00020003, "UI", b"1.9.8\0", IMPLICIT_LITTLE)
        + element(0x00020010, "UI", padded_uid(EXPLICIT_LITTLE), IMPLICIT_LITTLE),
    ],
)
def test_file_meta_information_is_complete_and_agrees_with_the_data_set(stored_meta: bytes) -> None:
    """PS3.10 section 7.1."""
    meta, written = meta_of(stored_meta)

    assert [element.tag.element for element in meta] == [0x00, 0x01, 0x02, 0x03, 0x10, 0x12, 0x13]
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == ("1.2.3", "1.2.3.4")
    assert meta.TransferSyntaxUID == IMPLICIT_LITTLE
    assert meta.ImplementationVersionName == "DICOMSTORE"
    assert written.index(struct.pack("<HH", 0x0008, 0x0016)) == 144 + meta.FileMetaInformationGroupLength


def test_optional_and_private_file_meta_information_is_kept_and_undefined_elements_are_removed() -> None:
    meta, _ = meta_of(
        b"".join(
            [
                TRANSFER_SYNTAX,
                element(0x00020016, "AE", b"FIRST"),
                element(0x00020016, "AE", b"SECOND"),
                element(0x00020050, "UN", b"nothing "),
                element(0x00020100, "UI", b"1.2.9\0"),
                element(0x00020102, "OB", b"\1\2\3\4"),
            ]
        )
    )
    assert meta.SourceApplicationEntityTitle == "FIRST"
    assert (meta.PrivateInformationCreatorUID, meta.PrivateInformation) == ("1.2.9", b"\1\2\3\4")
    assert 0x00020050 not in meta


def test_private_file_meta_information_without_a_creator_is_removed() -> None:
    meta, _ = meta_of(TRANSFER_SYNTAX + element(0x00020102, "OB", b"\1\2"))
    assert "PrivateInformation" not in meta


def test_a_file_that_ends_in_the_header_of_its_pixel_data_is_incomplete() -> None:
    rewriter = Rewriter(
        EXPLICIT_LITTLE, RLE_LOSSLESS, sop_class_uid="1.2", sop_instance_uid="1.2.3", stop_at=PIXEL_DATA
    )
    file = part10(frames=[b"ABCDEFGH"])
    rewriter.feed(file[:-9])
    with pytest.raises(InvalidRequest):
        rewriter.finish()


_JPEG = b"\xff\xd8ab"
_DELIMITER = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def compressed(items: bytes, after: bytes = b"") -> bytes:
    """Return a file labelled as Explicit VR Little Endian whose Pixel Data consists of `items`."""
    return part10_of([*required_elements(), element(PIXEL_DATA, "OB", items, length=0xFFFFFFFF), after])


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("end", "after"),
    [
        (b"", b""),
        (_DELIMITER, b""),
        (b"not an item" + _DELIMITER, b""),
        (b"", element(0xFFFCFFFC, "OB", bytes(4))),
    ],
)
def test_fragments_end_with_a_delimiter_whatever_follows_them_in_the_file(end: bytes, after: bytes, chunk: int) -> None:
    items = encapsulated([[_JPEG], [_JPEG]])
    written = rewritten(compressed(items + end, after), EXPLICIT_LITTLE, EXPLICIT_LITTLE, chunk=chunk)
    assert written.PixelData == items
    assert ("DataSetTrailingPadding" in written) == bool(after)


@pytest.mark.parametrize("target", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_fragments_outside_pixel_data_are_removed(target: str) -> None:
    """PS3.5 section A.4: only Pixel Data may be encapsulated."""
    document = element(0x00420011, "OB", encapsulated([[b"%PDF"]]) + _DELIMITER, length=0xFFFFFFFF)
    file = part10_of([*required_elements(), document, element(0x00420012, "LO", b"application/pdf ")])
    written = rewritten(file, EXPLICIT_LITTLE, target)
    assert "EncapsulatedDocument" not in written
    assert written.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_text_in_an_attribute_that_is_a_sequence_is_removed_in_implicit_vr() -> None:
    """Its VR is not written, and readers would parse the text as items."""
    elements = required_elements()
    file = part10_of([*elements[:2], element(0x00081140, "LT", b"text"), *elements[2:]])
    assert "ReferencedImageSequence" not in rewritten(file, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    assert rewritten(file, EXPLICIT_LITTLE, EXPLICIT_LITTLE)[0x00081140].VR == "LT"
