"""Pixel cells: unused bits, signs, single bits, floats."""

import zlib

import imagecodecs
import numpy
import pytest

from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.decode import decode
from server.dicom.worker_jobs import perform
from server.model.errors import Reason, WrongState
from server.model.pixels import TranscodeFrame
from tests.unit.server.dicom.second_decoders import describe, sample_image


def _native(values: list[int], word: str, **description: object):
    array = numpy.array([values], word)
    return decode(array.tobytes(), EXPLICIT_LITTLE, describe(rows=1, columns=len(values), **description))[0].tolist()


def test_bits_above_bits_stored_are_not_part_of_the_value() -> None:
    assert _native([0xF123, 0x0FFF], "<u2", allocated=16, stored=12) == [[0x123, 0xFFF]]


def test_values_in_high_bits_are_shifted_down() -> None:
    assert _native([0x123F, 0xFFF0], "<u2", allocated=16, stored=12, high_bit=15) == [[0x123, 0xFFF]]


def test_the_sign_is_the_highest_stored_bit() -> None:
    assert _native([0x0FFF, 0xF800, 0x07FF], "<u2", allocated=16, stored=12, signed=True) == [[-1, -2048, 2047]]


def test_pixel_cells_of_64_bits() -> None:
    assert _native([2**63 + 1], "<u8", allocated=64) == [[2**63 + 1]]


def test_single_bits_start_at_the_lowest_and_round_trip() -> None:
    description = describe(allocated=1, rows=2, columns=8)
    frame = b"\x05\x80"
    array, _ = decode(frame, EXPLICIT_LITTLE, description)
    assert array.tolist() == [[1, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(frame) + deflater.flush()
    assert perform(TranscodeFrame(deflated, description, syntaxes.DEFLATED_FRAMES, EXPLICIT_LITTLE)) == frame


@pytest.mark.parametrize(("sample_format", "word", "bits"), [("float", "<f4", 32), ("double", "<f8", 64)])
def test_floats(sample_format: str, word: str, bits: int) -> None:
    array = numpy.array([[1.5, -2.25]], word)
    description = describe(allocated=bits, rows=1, columns=2, sample_format=sample_format)
    decoded, _ = decode(array.tobytes(), EXPLICIT_LITTLE, description)
    assert decoded.dtype == word
    assert decoded.tolist() == [[1.5, -2.25]]


def test_unused_bits_round_trip_between_native_and_rle() -> None:
    description = describe(allocated=16, stored=12, rows=2, columns=2, has_embedded_overlays=True)
    native = bytes([0x23, 0xF1, 0xFF, 0x1F, 0, 0x80, 1, 2])
    frame = perform(TranscodeFrame(native, description, EXPLICIT_LITTLE, syntaxes.RLE))
    assert perform(TranscodeFrame(frame, description, syntaxes.RLE, IMPLICIT_LITTLE)) == native


def test_bytes_after_an_encapsulated_uncompressed_frame_are_removed() -> None:
    description = describe(rows=1, columns=3)
    source = syntaxes.ENCAPSULATED_UNCOMPRESSED
    assert perform(TranscodeFrame(b"abc\0", description, source, EXPLICIT_LITTLE)) == b"abc"


def test_unsigned_jpeg_2000_of_signed_pixels_is_taken_as_signed() -> None:
    signed = sample_image(describe(allocated=16, stored=13, signed=True))
    unsigned = signed.view("<u2") & 0x1FFF
    frame = imagecodecs.jpeg2k_encode(unsigned, level=0, codecformat="J2K", reversible=True, bitspersample=13)
    description = describe(allocated=16, stored=13, signed=True)
    assert numpy.array_equal(decode(frame, syntaxes.JPEG_2000_LOSSLESS, description)[0], signed)


def test_signed_jpeg_2000_of_unsigned_pixels_is_taken_as_unsigned() -> None:
    unsigned = sample_image(describe(allocated=16, stored=16))
    frame = imagecodecs.jpeg2k_encode(unsigned.view("<i2"), level=0, codecformat="J2K", reversible=True)
    assert numpy.array_equal(decode(frame, syntaxes.JPEG_2000_LOSSLESS, describe(allocated=16))[0], unsigned)


@pytest.mark.parametrize("precision", [12, 16])
def test_signed_pixels_of_codestreams_without_sign(precision: int) -> None:
    description = describe(allocated=16, stored=12, signed=True)
    signed = sample_image(description)
    words = signed.view("<u2") & ((1 << precision) - 1)
    frame = imagecodecs.jpeg8_encode(words, lossless=True, predictor=1, bitspersample=precision)
    assert numpy.array_equal(decode(frame, syntaxes.JPEG_LOSSLESS_SV1, description)[0], signed)


def test_a_codestream_with_fewer_bits_than_bits_stored_is_accepted() -> None:
    array = sample_image(describe())
    frame = imagecodecs.jpeg2k_encode(array, level=0, codecformat="J2K", reversible=True)
    decoded, _ = decode(frame, syntaxes.JPEG_2000_LOSSLESS, describe(allocated=16, stored=12))
    assert decoded.dtype == "<u2"
    assert numpy.array_equal(decoded, array)


def test_values_beyond_bits_stored_are_kept_natively_and_refused_by_codecs() -> None:
    array = numpy.full((21, 34), 5000, "<u2")
    frame = imagecodecs.jpeg2k_encode(array, level=0, codecformat="J2K", reversible=True)
    description = describe(allocated=16, stored=12)
    source = syntaxes.JPEG_2000_LOSSLESS
    assert perform(TranscodeFrame(frame, description, source, EXPLICIT_LITTLE)) == array.tobytes()
    with pytest.raises(WrongState) as caught:
        perform(TranscodeFrame(frame, description, source, syntaxes.HTJ2K_LOSSLESS))
    assert caught.value.reason is Reason.PIXEL_DATA_UNREADABLE
