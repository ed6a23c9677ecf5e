"""Positions of native and encapsulated frames."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from pydicom.encaps import generate_frames

from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.model.errors import Reason, WrongState
from server.model.instance import PixelLayout
from tests import data
from tests.data import EXPLICIT_BIG, JPEG_BASELINE, RLE_LOSSLESS, element, encapsulated, part10, part10_of
from tests.malformed import PIXEL_DATA, image, shorts, text
from tests.unit.server.dicom.reading import json_of, read

JPEG_2000 = "1.2.840.10008.1.2.4.90"
SOI = b"\xff\xd8\xff\xe0"


def _layout(file: bytes, chunk: int = 1 << 20) -> PixelLayout:
    layout = read(file, chunk=chunk).pixels
    assert layout is not None
    return layout


def _frames(file: bytes, layout: PixelLayout) -> list[bytes]:
    """Return the frames delimited by the table, fragments joined."""
    frames = []
    for start, stop in struct.iter_unpack("<QQ", layout.table):
        pieces, position = b"", start
        while position < stop:
            assert file[position : position + 4] == b"\xfe\xff\0\xe0"
            (length,) = struct.unpack_from("<I", file, position + 4)
            pieces += file[position + 8 : position + 8 + length]
            position += 8 + length
        assert position == stop
        frames.append(pieces)
    return frames


def test_native_frames_follow_one_another() -> None:
    frames = [b"abcdef", b"ghijkl", b"mnopqr"]
    file = part10(frames=frames, Rows=2, Columns=3)
    layout = _layout(file, chunk=50)
    assert (layout.number_of_frames, layout.frame_bits, layout.bits_allocated) == (3, 48, 8)
    assert not layout.is_encapsulated
    assert file[layout.offset : layout.offset + layout.length] == b"".join(frames)


@pytest.mark.parametrize(
    ("attributes", "bits"),
    [
        ({"BitsAllocated": 1, "Rows": 3, "Columns": 5}, 15),
        ({"BitsAllocated": 16, "Rows": 2, "Columns": 2}, 64),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "Rows": 1, "Columns": 4}, 96),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "Rows": 2, "Columns": 2}, 64),
    ],
)
def test_size_of_native_frames(attributes, bits: int) -> None:
    assert _layout(part10(frames=[bytes(-(-bits // 8))], **attributes)).frame_bits == bits


@pytest.mark.parametrize("vr", ["US", "UN", "OB", "OW", "SS", "IS"])
def test_rows_and_columns_are_read_with_any_vr(vr: str) -> None:
    value = text("8") if vr == "IS" else shorts(8)
    layout = _layout(image({0x00280010: (vr, value), 0x00280011: (vr, value), PIXEL_DATA: ("OW", bytes(128))}))
    assert (layout.number_of_frames, layout.frame_bits) == (2, 512)


@pytest.mark.parametrize(("tag", "vr", "bits"), [(0x7FE00008, "OF", 32), (0x7FE00009, "OD", 64)])
def test_float_pixel_data(tag: int, vr: str, bits: int) -> None:
    image = [element(0x00280010, "US", b"\1\0"), element(0x00280011, "US", b"\2\0")]
    file = part10_of([*data.required_elements(), *image, element(tag, vr, bytes(bits // 4))])
    layout = _layout(file)
    assert (layout.bits_allocated, layout.frame_bits, layout.number_of_frames) == (bits, 2 * bits, 1)


def test_pixel_data_is_always_bulk_data() -> None:
    found = read(part10(frames=[b"ab"]))
    assert json_of(found)["7FE00010"] == {"vr": "OB", "BulkDataURI": "bulkdata:7FE00010"}
    assert [bulk.path for bulk in found.bulk] == ["7FE00010"]


def test_no_pixel_data_no_layout() -> None:
    assert read(part10()).pixels is None
    assert read(part10(frames=[b""], Columns=8)).pixels is None


def test_native_pixel_data_without_dimensions_is_one_frame() -> None:
    layout = _layout(part10_of([*data.required_elements(), element(0x7FE00010, "OB", b"abcd")]))
    assert (layout.number_of_frames, layout.frame_bits) == (1, 32)


def test_native_pixel_data_may_lack_its_padding() -> None:
    file = part10(frames=[b"abc"])
    assert _layout(file[:-1]).length == 3
    assert [finding.tag for finding in read(file[:-1]).findings] == ["7FE00010"]


FRAMES = [SOI + b"one1", SOI + b"two2", SOI + b"three3"]


@pytest.mark.parametrize("chunk", [1 << 20, 30, 1])
@pytest.mark.parametrize("has_table", [True, False])
def test_as_many_fragments_as_frames_are_one_frame_each(chunk: int, has_table: bool) -> None:
    file = part10(transfer_syntax=RLE_LOSSLESS, fragments=[[frame] for frame in FRAMES], basic_offset_table=has_table)
    layout = _layout(file, chunk)
    assert layout.is_encapsulated
    assert _frames(file, layout) == FRAMES


def test_all_fragments_belong_to_the_only_frame() -> None:
    file = part10(transfer_syntax=RLE_LOSSLESS, fragments=[[b"ab", b"cd", b"ef"]], basic_offset_table=False)
    assert _frames(file, _layout(file)) == [b"abcdef"]


PIECES = [[SOI + b"a1", b"a2"], [SOI + b"b1"], [SOI + b"c1", b"c2", b"c3"]]
JOINED = [b"".join(pieces) for pieces in PIECES]


def test_basic_offset_table_groups_fragments() -> None:
    file = part10(transfer_syntax=RLE_LOSSLESS, fragments=PIECES)
    assert _frames(file, _layout(file, 7)) == JOINED


def test_extended_offset_table_groups_fragments() -> None:
    items = encapsulated(PIECES, basic_offset_table=False)
    (first,) = struct.unpack_from("<I", items, 4)
    offsets = struct.pack("<3Q", 0, 14 + 10, 24 + 14)
    file = _encapsulated(items, 3, RLE_LOSSLESS, extended=offsets)
    assert first == 0
    assert _frames(file, _layout(file, 7)) == JOINED


def test_markers_group_fragments_of_jpeg_without_tables() -> None:
    file = part10(transfer_syntax=JPEG_BASELINE, fragments=PIECES, basic_offset_table=False)
    assert _frames(file, _layout(file, 7)) == JOINED


@pytest.mark.parametrize("start", [b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x51x"])
def test_markers_group_fragments_of_jpeg_2000(start: bytes) -> None:
    file = part10(transfer_syntax=JPEG_2000, fragments=[[start, b"a2"], [start + b"b1"]], basic_offset_table=False)
    assert len(_frames(file, _layout(file))) == 2


@pytest.mark.parametrize("offsets", [(0, 1, 2), (0, 14, 14), (14, 0, 24), (0, 13), (0, 24, 1 << 31)])
def test_an_inconsistent_offset_table_is_ignored(offsets: Sequence[int]) -> None:
    items = encapsulated(PIECES, basic_offset_table=False)
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table + items[8:]
    layout = _layout(_encapsulated(items, 3, RLE_LOSSLESS))
    assert (layout.table, layout.number_of_frames, layout.is_encapsulated) == (b"", 3, True)


def test_frames_that_cannot_be_separated_are_not_addressable() -> None:
    file = part10(transfer_syntax=RLE_LOSSLESS, fragments=PIECES, basic_offset_table=False)
    assert _layout(file).table == b""


def test_a_missing_sequence_delimiter_is_accepted() -> None:
    file = part10(transfer_syntax=RLE_LOSSLESS, fragments=[[b"ab"], [b"cd"]])
    assert _frames(file, _layout(file[:-8])) == [b"ab", b"cd"]


def test_encapsulated_bulk_data_spans_all_items() -> None:
    file = part10(transfer_syntax=RLE_LOSSLESS, fragments=[[b"ab"], [b"cd"]])
    (bulk,) = read(file, chunk=11).bulk
    assert bulk.path == "7FE00010"
    assert list(generate_frames(file[bulk.offset : bulk.offset + bulk.length], number_of_frames=2)) == [b"ab", b"cd"]


def test_an_icon_is_not_pixel_data_of_the_instance() -> None:
    icon = data.sequence(0x00880200, [element(0x7FE00010, "OB", b"icon")])
    found = read(part10_of([*data.required_elements(), icon]))
    assert found.pixels is None
    assert [bulk.path for bulk in found.bulk] == ["00880200/1/7FE00010"]


def test_two_hundred_thousand_frames() -> None:
    count = 200_000
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + (struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"abcd") * count
    layout = _layout(_encapsulated(items, count, JPEG_BASELINE), 1 << 16)
    records = list(struct.iter_unpack("<QQ", layout.table))
    assert len(records) == count
    assert all(stop - start == 12 for start, stop in records)


def test_big_endian_pixel_data_has_the_same_layout() -> None:
    layout = _layout(part10(transfer_syntax=EXPLICIT_BIG, frames=[b"abcd"], BitsAllocated=16, Columns=2))
    assert (layout.frame_bits, layout.length) == (32, 4)


def _encapsulated(items: bytes, frames: int, syntax: str, *, extended: bytes = b"") -> bytes:
    number = str(frames).encode()
    return part10_of(
        [
            *data.required_elements(),
            element(0x00280008, "IS", number + b" " * (len(number) % 2)),
            *([element(0x7FE00001, "OV", extended)] if extended else []),
            element(0x7FE00010, "OB", items, length=0xFFFFFFFF),
            struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
        ],
        syntax,
    )


NATIVE = {"Rows": 4, "Columns": 6, "BitsStored": 8}
PIXELS = 24


def _native(length: int, frames: int | None = None, **attributes: Any) -> PixelLayout:
    more = {"NumberOfFrames": frames} if frames is not None else {}
    return _layout(part10(frames=[bytes(length)], **(NATIVE | more | attributes)))


COLOUR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(
    ("attributes", "frame_bytes", "bits"),
    [
        # the attributes as they are
        ({}, PIXELS, 8),
        (COLOUR, 2 * PIXELS, 8),
        ({**COLOUR, "PhotometricInterpretation": "YBR_PARTIAL_422"}, 2 * PIXELS, 8),
        ({**COLOUR, "PhotometricInterpretation": "YBR_PARTIAL_420"}, PIXELS * 3 // 2, 8),
        # Photometric Interpretation
        (COLOUR, 3 * PIXELS, 8),
        ({**COLOUR, "PhotometricInterpretation": "YBR_PARTIAL_422"}, 3 * PIXELS, 8),
        ({**COLOUR, "PhotometricInterpretation": "YBR_PARTIAL_420"}, 3 * PIXELS, 8),
        # Samples per Pixel
        ({"SamplesPerPixel": 3}, PIXELS, 8),
        ({"PhotometricInterpretation": "RGB"}, 3 * PIXELS, 8),
        ({"PhotometricInterpretation": "YBR_FULL"}, 3 * PIXELS, 8),
        # Bits Allocated
        ({"BitsAllocated": 8, "BitsStored": 12}, 2 * PIXELS, 16),
        ({"BitsAllocated": 12, "BitsStored": 12}, 2 * PIXELS, 16),
    ],
)
@pytest.mark.parametrize("frames", [None, 1, 2, 7])
def test_the_only_interpretation_that_fits_the_length_is_used(
    attributes: dict[str, Any], frame_bytes: int, bits: int, frames: int | None, padding: int
) -> None:
    attributes = {**attributes, "Rows": 4 + padding}
    frame_bytes = frame_bytes // 4 * (4 + padding)
    length = frame_bytes * (frames or 1)
    layout = _native(length + length % 2 * padding, frames, **attributes)
    assert (layout.number_of_frames, layout.frame_bits, layout.bits_allocated) == (frames or 1, 8 * frame_bytes, bits)


@pytest.mark.parametrize(
    ("attributes", "length"),
    [
        ({"BitsAllocated": 16}, PIXELS),
        ({**COLOUR, "PhotometricInterpretation": "YBR_FULL"}, 2 * PIXELS),
    ],
)
def test_one_frame_with_fewer_bits_or_less_chroma_than_declared(attributes: dict[str, Any], length: int) -> None:
    layout = _native(length, 1, **attributes)
    assert layout.number_of_frames == 1
    assert layout.is_understood
    assert layout.frame_bits == 8 * length


@pytest.mark.parametrize(("said", "there"), [(5, 3), (3, 5), (None, 3), (1, 2), (0, 4)])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"BitsAllocated": 16, "BitsStored": 12}, {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}],
)
def test_whole_frames_are_used_whatever_number_of_frames_says(
    said: int | None, there: int, attributes: dict[str, Any]
) -> None:
    frame_bits = PIXELS * attributes.get("BitsAllocated", 8) * attributes.get("SamplesPerPixel", 1)
    layout = _native(frame_bits // 8 * there, said, **attributes)
    assert (layout.number_of_frames, layout.frame_bits) == (there, frame_bits)


def test_bytes_after_the_frames_are_padding_unless_they_are_whole_frames() -> None:
    assert _native(PIXELS * 2 + 10, 2).number_of_frames == 2
    assert _native(PIXELS * 4 + 10, 2).number_of_frames == 2
    assert _native(PIXELS * 4, 2).number_of_frames == 4


@pytest.mark.parametrize(
    ("attributes", "length", "frames"),
    [
        ({"BitsAllocated": 16}, 2 * PIXELS, 2),  # two frames of 8 bits, or one of 16
        ({**COLOUR, "PhotometricInterpretation": "YBR_FULL"}, 6 * PIXELS, 3),  # three of subsampled chroma, or two
        ({"BitsAllocated": 1, "BitsStored": 1}, PIXELS, 1),  # eight frames of bits, or one of bytes
        ({}, PIXELS - 4, 1),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, PIXELS, 1),
    ],
)
def test_pixel_data_that_fits_no_single_interpretation_is_not_understood(
    attributes: dict[str, Any], length: int, frames: int
) -> None:
    layout = _native(length, frames, **attributes)
    assert not layout.is_understood
    assert (layout.number_of_frames, layout.frame_bits) == (1, 8 * length)
    with pytest.raises(WrongState) as refusal:
        describe_pixels(json_of(read(part10(frames=[bytes(length)], **(NATIVE | attributes)))), layout)
    assert refusal.value.reason is Reason.PIXEL_DATA_UNREADABLE


@pytest.mark.parametrize(("missing", "there"), [(1, 2), (PIXELS, 2), (PIXELS + 1, 1), (3 * PIXELS - 1, 0)])
def test_truncated_pixel_data_has_its_whole_frames(missing: int, there: int) -> None:
    file = part10(frames=[bytes(PIXELS)] * 3, **NATIVE)
    layout = _layout(file[:-missing])
    assert layout.is_understood
    assert layout.number_of_frames == there
    assert layout.length == 3 * PIXELS - missing
    assert "7FE00010" in [finding.tag for finding in read(file[:-missing]).findings]


def test_truncated_pixel_data_is_interpreted_by_its_declared_length() -> None:
    whole = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "NumberOfFrames": 2}
    layout = _layout(part10(frames=[bytes(6 * PIXELS)], **(NATIVE | whole))[: -PIXELS * 2])
    assert (layout.number_of_frames, layout.frame_bits) == (1, 24 * PIXELS)


@pytest.mark.parametrize(
    ("attributes", "length", "expected"),
    [
        (COLOUR, 3 * PIXELS, (3, "YBR_FULL", 8, 8)),
        (COLOUR, 2 * PIXELS, (3, "YBR_FULL_422", 8, 8)),
        ({"PhotometricInterpretation": "RGB"}, 3 * PIXELS, (3, "RGB", 8, 8)),
        ({"BitsAllocated": 16, "HighBit": 7}, PIXELS, (1, "MONOCHROME2", 8, 8)),
        ({"BitsStored": 12, "HighBit": 11}, 2 * PIXELS, (1, "MONOCHROME2", 16, 12)),
    ],
)
def test_the_description_matches_the_actual_pixel_data(
    attributes: dict[str, Any], length: int, expected: tuple[Any, ...]
) -> None:
    file = part10(frames=[bytes(length)], **(NATIVE | attributes))
    found = describe_pixels(json_of(read(file)), _layout(file))
    described = found.samples_per_pixel, found.photometric_interpretation, found.bits_allocated, found.bits_stored
    assert described == expected
    assert found.high_bit == found.bits_stored - 1


@pytest.mark.parametrize(
    ("attributes", "length", "tags"),
    [
        ({}, PIXELS, []),
        ({}, 2 * PIXELS, ["00280008"]),
        (COLOUR, 3 * PIXELS, ["7FE00010"]),
        ({}, 5, ["7FE00010"]),
        ({"Rows": 0}, PIXELS, []),
    ],
)
def test_a_length_mismatch_is_reported(attributes: dict[str, Any], length: int, tags: list[str]) -> None:
    found = read(part10(frames=[bytes(length)], **(NATIVE | attributes))).findings
    assert [finding.tag for finding in found if finding.tag in ("00280008", "7FE00010")] == tags
