"""Encapsulated frames whose Number of Frames, offset tables and fragments contradict each other."""

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.dicom.pixel_data.codecs.rle import encode_rle
from server.model.instance import PixelLayout
from tests import data
from tests.data import JPEG_BASELINE, RLE_LOSSLESS, element, part10_of
from tests.unit.server.dicom.reading import read

JPEG_LS, JPEG_2000, HTJ2K, JPEG_XL = (f"1.2.840.10008.1.2.4.{number}" for number in (80, 90, 201, 110))
DEFLATED_FRAMES, UNCOMPRESSED = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"
MPEG2, PRIVATE = "1.2.840.10008.1.2.4.100", "1.2.3.4.5"
SOI, EOI = b"\xff\xd8", b"\xff\xd9"

ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    JPEG_BASELINE: lambda image: bytes(imagecodecs.jpeg8_encode(image)),
    JPEG_LS: lambda image: bytes(imagecodecs.jpegls_encode(image)),
    JPEG_2000: lambda image: bytes(imagecodecs.jpeg2k_encode(image, codecformat="J2K")),
    HTJ2K: lambda image: bytes(imagecodecs.htj2k_encode(image)),
    JPEG_XL: lambda image: bytes(imagecodecs.jpegxl_encode(image, lossless=True)),
    RLE_LOSSLESS: encode_rle,
    PRIVATE: lambda image: bytes(imagecodecs.jpeg8_encode(image)),
}
SYNTAXES = sorted(ENCODERS)


def codestreams(syntax: str, count: int = 5) -> list[bytes]:
    """Return distinct codestreams of even length."""
    noise = np.random.default_rng(5).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    encoded = [ENCODERS[syntax](image) for image in noise]
    return [frame + bytes(len(frame) % 2) for frame in encoded]


def file_with(
    fragments: Sequence[bytes],
    number: int | None,
    syntax: str = JPEG_BASELINE,
    *,
    offsets: Sequence[int] = (),
    extended: Sequence[int] = (),
    delimiter: bytes = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0),
    size: tuple[int, int] = (16, 16),
) -> bytes:
    parts = [struct.pack(f"<{len(offsets)}I", *offsets), *fragments]
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in parts)
    text = b"" if number is None else str(number).encode()
    table = struct.pack(f"<{len(extended)}Q", *extended)
    return part10_of(
        [
            *data.required_elements(),
            *([element(0x00280008, "IS", text + b" " * (len(text) % 2))] if text else []),
            *(
                element(tag, "US", struct.pack("<H", side))
                for tag, side in zip((0x00280010, 0x00280011), size, strict=True)
            ),
            element(0x00280100, "US", b"\x08\0"),
            *([element(0x7FE00001, "OV", table)] if table else []),
            element(0x7FE00010, "OB", items, length=0xFFFFFFFF) + delimiter,
        ],
        syntax,
    )


def frames_of(file: bytes, chunk: int = 1 << 20) -> list[bytes] | None:
    """Return the frames delimited by the table, None for a missing one; None if frames cannot be separated."""
    layout = read(file, chunk=chunk).pixels
    assert layout is not None
    if not layout.table:
        return None
    assert len(layout.table) == layout.number_of_frames * PixelLayout.RECORD_BYTES
    frames = []
    for position, stop in struct.iter_unpack("<QQ", layout.table):
        pieces = b""
        while position < stop:
            assert file[position : position + 4] == b"\xfe\xff\0\xe0"
            (length,) = struct.unpack_from("<I", file, position + 4)
            pieces += file[position + 8 : position + 8 + length]
            position += 8 + length
        assert position == stop
        frames.append(pieces)
    return frames


def items_at(fragments: Sequence[bytes]) -> list[int]:
    """Return the offsets of fragment items as in an offset table."""
    return [sum(8 + len(part) for part in fragments[:index]) for index in range(len(fragments))]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("number", "count"), [(5, 3), (3, 5), (1, 3), (None, 3), (0, 2), (1, 1), (None, 1), (7, 1)])
def test_each_codestream_is_a_frame_whatever_number_of_frames_says(syntax: str, number: int | None, count: int) -> None:
    frames = codestreams(syntax, count)
    assert frames_of(file_with(frames, number, syntax)) == frames
    split = [part for frame in frames for part in (frame[:66], frame[66:])]
    assert frames_of(file_with(split, number, syntax), 50) == frames


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("number", [5, 2, 1])
@pytest.mark.parametrize("is_extended", [True, False])
@pytest.mark.parametrize("kind", ["off by 8", "relative to the file", "descending", "past the end", "zeros", "right"])
def test_codestreams_take_precedence_over_offset_tables(syntax: str, number: int, is_extended: bool, kind: str) -> None:
    frames = codestreams(syntax)
    parts = [part for frame in frames for part in (frame[:70], frame[70:])]
    right = items_at(parts)[::2]
    offsets = {
        "off by 8": [offset + 8 for offset in right],
        "relative to the file": [offset + 300 for offset in right],
        "descending": right[::-1],
        "past the end": [offset + (1 << 20) for offset in right],
        "zeros": [0] * len(right),
        "right": right,
    }[kind]
    tables = {"extended": offsets} if is_extended else {"offsets": offsets}
    assert frames_of(file_with(parts, number, syntax, **tables), 90) == frames


@pytest.mark.parametrize("chunk", [1 << 20, 61, 1])
def test_the_end_of_a_codestream_may_lie_between_two_chunks(chunk: int) -> None:
    first, second = codestreams(JPEG_BASELINE, 2)
    damaged = b"\0\0" + second[2:]
    assert frames_of(file_with([first, damaged], 2), chunk) == [first, damaged]
    assert frames_of(file_with([first[:40], first[40:], second], 3), chunk) == [first, second]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_empty_fragments_are_not_frames(syntax: str) -> None:
    a, b, c = codestreams(syntax, 3)
    for parts in ([a, b"", b, c, b""], [b"", b"", a, b, b"", c], [a[:80], b"", a[80:], b, b"", c, b"", b""]):
        assert frames_of(file_with(parts, 3, syntax)) == [a, b, c]
        assert frames_of(file_with(parts, 9, syntax)) == [a, b, c]


def test_an_empty_fragment_in_place_of_a_frame_is_a_missing_frame() -> None:
    a, b = codestreams(JPEG_BASELINE, 2)
    assert frames_of(file_with([a, b"", b], 3)) == [a, b"", b]
    assert frames_of(file_with([a, b"", b, b"", b""], 5)) == [a, b"", b]
    assert frames_of(file_with([b"x1", b"", b"x3"], 3, UNCOMPRESSED, size=(0, 0))) == [b"x1", b"", b"x3"]


def test_fragments_of_markers_or_padding_belong_to_the_surrounding_frame() -> None:
    a, b = (frame.rstrip(b"\0") for frame in codestreams(JPEG_BASELINE, 2))
    parts = [SOI, a[2:-2], EOI, SOI, b[2:-2], EOI + b"\0\0", bytes(4), b"\xff" * 6]
    for number in (2, 8, 1, 3):
        assert frames_of(file_with(parts, number)) == [a, b + b"\0\0"]
    assert frames_of(file_with([SOI, a, SOI, b], 2)) == [a, b]
    assert frames_of(file_with([a[:-2], EOI], 2)) == [a]


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, RLE_LOSSLESS, JPEG_XL])
def test_a_frame_whose_start_is_damaged_keeps_its_number(syntax: str) -> None:
    a, b, c = codestreams(syntax, 3)
    b = b"\1\2\3\4" + b[4:]
    assert frames_of(file_with([a, b, c], 3, syntax)) == [a, b, c]
    assert frames_of(file_with([b, a, c], 3, syntax)) == [b, a, c]
    assert frames_of(file_with([a, b, c], 7, syntax, offsets=items_at([a, b, c]))) == [a, b, c]


def test_a_codestream_in_jp2_boxes_is_a_frame() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2, 16, 16), dtype=np.uint8)
    frames = [bytes(imagecodecs.jpeg2k_encode(image, codecformat="JP2")) for image in noise]
    frames = [frame + bytes(len(frame) % 2) for frame in frames]
    assert frames_of(file_with(frames, 5, JPEG_2000)) == frames


@pytest.mark.parametrize("number", [1, 2, 3, 9, None])
def test_uncompressed_frames_are_separated_by_size(number: int | None) -> None:
    frames = [bytes([value]) * 15 for value in (1, 2, 3)]
    parts = [frames[0] + b"\0", frames[1][:4], frames[1][4:] + b"\0", b"", frames[2] + b"\0", b"xx"]
    found = frames_of(file_with(parts, number, UNCOMPRESSED, size=(3, 5)))
    assert found is not None
    assert [frame[:15] for frame in found] == frames


def test_frames_that_have_one_fragment_each_need_no_table() -> None:
    assert frames_of(file_with([b"a1", b"", b"b2", b"c3"], 7, DEFLATED_FRAMES)) == [b"a1", b"b2", b"c3"]


def test_a_consistent_offset_table_is_used_as_a_last_resort() -> None:
    parts = [b"a1", b"a2", b"b1", b"c1", b"c2"]
    table = [items_at(parts)[index] for index in (0, 2, 3)]
    for number in (3, 2, 7):
        assert frames_of(file_with(parts, number, PRIVATE, offsets=table)) == [b"a1a2", b"b1", b"c1c2"]


def test_the_frames_of_a_video_are_not_separated() -> None:
    parts = [b"\0\0\1\xb3", b"more", SOI + b"\xff\0"]
    assert frames_of(file_with(parts, 100, MPEG2, offsets=items_at(parts))) is None
    assert frames_of(file_with(parts, 1, MPEG2)) == [b"".join(parts)]
    layout = read(file_with(parts, 100, MPEG2)).pixels
    assert layout is not None
    assert layout.number_of_frames == 100


@pytest.mark.parametrize("delimiter", [b"", element(0xFFFCFFFC, "OB", b"\0\0")])
def test_a_delimiter_may_be_missing(delimiter: bytes) -> None:
    frames = codestreams(JPEG_BASELINE, 2)
    for chunk in (1 << 20, 7):
        assert frames_of(file_with(frames, 2, delimiter=delimiter), chunk) == frames


@pytest.mark.parametrize("missing", range(1, 6))
def test_pixel_data_that_ends_within_a_fragment_is_refused(missing: int) -> None:
    file = file_with(codestreams(JPEG_BASELINE, 2), 2, delimiter=b"")
    for chunk in (1 << 20, 7):
        with pytest.raises(Exception, match="ends within its last element"):
            read(file[:-missing], chunk=chunk)


@pytest.mark.parametrize(("number", "tags"), [(5, ["00280008"]), (1, ["00280008"]), (None, ["00280008"]), (3, [])])
def test_a_frame_count_mismatch_is_reported(number: int | None, tags: list[str]) -> None:
    found = read(file_with(codestreams(JPEG_BASELINE, 3), number))
    assert [finding.tag for finding in found.findings if finding.tag == "00280008"] == tags


@settings(max_examples=150, deadline=None)
@given(
    syntax=st.sampled_from(SYNTAXES),
    cuts=st.lists(st.lists(st.integers(66, 120), max_size=3), min_size=1, max_size=4),
    empty=st.lists(st.integers(0, 20), max_size=4),
    number=st.integers(0, 9),
    offsets=st.lists(st.integers(0, 3000), max_size=6),
    chunk=st.sampled_from([1 << 20, 100, 9]),
)
def test_frames_are_found_for_any_chunk_size(
    syntax: str, cuts: list[list[int]], empty: list[int], number: int, offsets: list[int], chunk: int
) -> None:
    frames = codestreams(syntax, len(cuts))
    parts = []
    for frame, places in zip(frames, cuts, strict=True):
        ends = [0, *sorted(set(places)), len(frame)]
        parts += [frame[start:stop] for start, stop in pairwise(ends) if stop <= len(frame)]
    for place in empty:
        parts.insert(min(place, len(parts)), b"")
    found = frames_of(file_with(parts, number, syntax, offsets=offsets), chunk)
    has_ends = syntax not in (RLE_LOSSLESS, JPEG_XL)
    if has_ends and len(parts) != number:
        assert found == frames
    assert found is not None
    assert b"".join(found) == b"".join(parts)
