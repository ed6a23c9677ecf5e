"""Encoded codestreams conform to DICOM: no boxes, no foreign headers, the required markers."""

import struct

import pytest

from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.worker_jobs import perform
from server.model.pixels import PixelDescription, TranscodeFrame
from tests.unit.server.dicom.second_decoders import describe, sample_image

HT = sorted(syntaxes.HT)


def _written(description: PixelDescription, target: str) -> bytes:
    return perform(TranscodeFrame(sample_image(description).tobytes(), description, EXPLICIT_LITTLE, target))


def _segments(frame: bytes) -> dict[int, bytes]:
    """Return the marker segments of a header, up to the first tile or scan."""
    found, at = {}, 2
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        found[marker] = frame[at + 4 : at + 2 + length]
        if marker in (0xFF90, 0xFFDA):
            return found
        at += 2 + length


@pytest.mark.parametrize("size", [(21, 34), (512, 512), (3000, 40)], ids=str)
@pytest.mark.parametrize("target", HT)
def test_htj2k_is_rpcl_with_tile_part_lengths_and_a_small_lowest_resolution(target: str, size: tuple[int, int]) -> None:
    rows, columns = size
    frame = _written(describe(allocated=16, stored=12, rows=rows, columns=columns), target)
    segments = _segments(frame)
    progression, levels, wavelet = segments[0xFF52][1], segments[0xFF52][5], segments[0xFF52][9]
    assert progression == 2
    assert wavelet == 1, "reversible"
    assert -(-max(size) >> levels) <= 64
    assert 0xFF55 in segments
    assert 0xFF50 in segments


@pytest.mark.parametrize("target", [*HT, *sorted(syntaxes.J2K)])
@pytest.mark.parametrize(("stored", "signed"), [(12, False), (12, True), (16, False), (16, True), (10, False)])
def test_wavelet_codestreams_declare_bits_stored_and_sign(target: str, stored: int, signed: bool) -> None:
    frame = _written(describe(allocated=16, stored=stored, signed=signed), target)
    assert frame.startswith(b"\xff\x4f\xff\x51")
    assert frame.endswith(b"\xff\xd9")
    assert _segments(frame)[0xFF51][36] == (stored - 1) | (0x80 if signed else 0)


@pytest.mark.parametrize("target", [*HT, *sorted(syntaxes.J2K)])
def test_wavelet_codestreams_transform_only_rgb(target: str) -> None:
    assert _segments(_written(describe("RGB"), target))[0xFF52][4] == 1
    assert _segments(_written(describe("YBR_FULL"), target))[0xFF52][4] == 0


@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 10), (16, 12), (16, 16)])
def test_jpeg_ls_declares_bits_stored_and_has_no_spiff_header(allocated: int, stored: int) -> None:
    frame = _written(describe(allocated=allocated, stored=stored), syntaxes.JPEG_LS)
    assert frame.startswith(b"\xff\xd8\xff\xf7")
    assert _segments(frame)[0xFFF7][0] == stored


def test_jpeg_ls_of_tiny_frames_has_no_spiff_header_either() -> None:
    assert _written(describe(allocated=16, rows=1, columns=1), syntaxes.JPEG_LS).startswith(b"\xff\xd8\xff\xf7")


def test_lossless_jpeg_has_the_first_selection_value() -> None:
    segments = _segments(_written(describe(allocated=16, stored=12), syntaxes.JPEG_LOSSLESS_SV1))
    assert segments[0xFFC3][0] == 12
    assert segments[0xFFDA][3] == 1


def test_baseline_declares_ycbcr_and_halves_chroma_horizontally() -> None:
    segments = _segments(_written(describe("RGB"), syntaxes.JPEG_BASELINE))
    assert segments[0xFFE0].startswith(b"JFIF")
    assert [segments[0xFFC0][7 + 3 * number] for number in range(3)] == [0x21, 0x11, 0x11]


def test_jpeg_xl_is_a_bare_codestream() -> None:
    assert _written(describe("RGB"), syntaxes.JPEG_XL_LOSSLESS).startswith(b"\xff\x0a")


def test_rle_runs_end_with_rows_and_segments_are_even() -> None:
    description = describe(rows=3, columns=5)
    frame = perform(TranscodeFrame(bytes(15), description, EXPLICIT_LITTLE, syntaxes.RLE))
    assert struct.unpack_from("<2I", frame) == (1, 64)
    assert frame[64:] == bytes([257 - 5, 0] * 3)
    assert len(_written(describe("RGB", rows=3, columns=3), syntaxes.RLE)) % 2 == 0
