"""Damaged, truncated, inconsistent and malicious frames are refused without other effects."""

import random
import struct
import tracemalloc
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import imagecodecs
import numpy
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.decode import decode
from server.dicom.pixel_data.codecs.syntaxes import ENCODABLE, NATIVE, can_transcode, described
from server.dicom.worker_jobs import perform
from server.model.errors import Reason, WrongState
from server.model.pixels import PixelDescription, TranscodeFrame
from tests.unit.server.dicom.second_decoders import describe, sample_image

thorough = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)


def _frames() -> list[tuple[str, PixelDescription, bytes]]:
    """Return a frame of every encodable syntax, and of some others, in grey and in colour."""
    made = []
    for before in (describe(allocated=16, stored=12), describe("RGB"), describe(allocated=16, signed=True)):
        native = sample_image(before).tobytes()
        for target in ENCODABLE:
            if target not in NATIVE and can_transcode(before, EXPLICIT_LITTLE, target):
                after = described(before, EXPLICIT_LITTLE, target)
                made.append((target, after, perform(TranscodeFrame(native, before, EXPLICIT_LITTLE, target))))
    grey = describe(allocated=16, stored=12)
    extended = imagecodecs.jpeg8_encode(sample_image(grey), level=90, bitspersample=12)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(sample_image(grey).tobytes()) + deflater.flush()
    return [*made, (syntaxes.JPEG_EXTENDED, grey, extended), (syntaxes.DEFLATED_FRAMES, grey, deflated)]


FRAMES = _frames()
IDS = [f"{syntax.removeprefix('1.2.840.10008.1.2.')}-{of.photometric_interpretation}" for syntax, of, _ in FRAMES]


def _is_refused(frame: bytes, syntax: str, description: PixelDescription) -> bool:
    """Any exception other than the expected one fails the test."""
    reason = None
    try:
        array, after = decode(frame, syntax, description)
        assert array.shape[:2] == (after.rows, after.columns)
    except WrongState as error:
        reason = error.reason
    assert reason in (None, Reason.PIXEL_DATA_UNREADABLE)
    return reason is not None


@seed(4)
@thorough
@given(st.integers(0, len(FRAMES) - 1), st.integers(0, 2**32), st.sampled_from(["head", "flip", "insert", "zero"]))
def test_damage_anywhere_is_refused_or_gives_pixels(which: int, chance: int, kind: str) -> None:
    syntax, description, frame = FRAMES[which]
    damaged, dice = bytearray(frame), random.Random(chance)
    end = min(len(frame), 120) if kind == "head" else len(frame)
    at = dice.randrange(end)
    if kind == "insert":
        damaged[at:at] = dice.randbytes(dice.randrange(1, 9))
    elif kind == "zero":
        damaged[at : at + 30] = bytes(len(damaged[at : at + 30]))
    else:
        for _ in range(dice.choice((1, 2, 6))):
            damaged[dice.randrange(end)] = dice.choice((0, 0xFF, dice.randrange(256)))
    _is_refused(bytes(damaged), syntax, description)


@seed(4)
@thorough
@given(st.sampled_from(sorted(syntaxes.DECODABLE)), st.binary(max_size=200))
def test_any_bytes_for_any_syntax(syntax: str, frame: bytes) -> None:
    assert _is_refused(frame, syntax, describe(allocated=16))


@pytest.mark.parametrize(("syntax", "description", "frame"), FRAMES, ids=IDS)
def test_truncation_is_always_detected(syntax: str, description: PixelDescription, frame: bytes) -> None:
    for end in {*range(0, 130, 7), *range(130, len(frame) - 12, 61), len(frame) // 2}:
        if end < len(frame) - 12:
            assert _is_refused(frame[:end], syntax, description), end


@pytest.mark.parametrize(("syntax", "description", "frame"), FRAMES, ids=IDS)
@pytest.mark.parametrize("change", [{"rows": 22}, {"columns": 35}, {"rows": 34, "columns": 21}], ids=str)
def test_dimensions_that_differ_from_the_data_set_are_refused(
    syntax: str, description: PixelDescription, frame: bytes, change: dict[str, int]
) -> None:
    # RLE and deflated frames determine the number of bytes, but not the shape.
    knows_shape = syntax not in {syntaxes.DEFLATED_FRAMES, syntaxes.RLE}
    if knows_shape or change != {"rows": 34, "columns": 21}:
        assert _is_refused(frame, syntax, replace(description, **change))


@pytest.mark.parametrize(("syntax", "description", "frame"), FRAMES, ids=IDS)
def test_samples_and_bit_depths_that_differ_from_the_data_set_are_refused(
    syntax: str, description: PixelDescription, frame: bytes
) -> None:
    if description.samples_per_pixel == 1:
        changed = replace(description, samples_per_pixel=3, photometric_interpretation="RGB")
        narrow = replace(description, bits_allocated=8, bits_stored=8, high_bit=7)
        assert _is_refused(frame, syntax, narrow) or syntax == syntaxes.DEFLATED_FRAMES
    else:
        changed = replace(description, samples_per_pixel=1, photometric_interpretation="MONOCHROME2")
    assert _is_refused(frame, syntax, changed)


def _patched(frame: bytes, at: int, layout: str, *values: int) -> bytes:
    return frame[:at] + struct.pack(layout, *values) + frame[at + struct.calcsize(layout) :]


DECLARED = (
    syntaxes.JPEG_2000,
    syntaxes.HTJ2K,
    syntaxes.JPEG_BASELINE,
    syntaxes.JPEG_LOSSLESS,
    syntaxes.JPEG_LS,
    syntaxes.JPEG_XL,
)
"""Transfer syntaxes whose frames declare their size."""


@cache
def _bombs() -> Mapping[str, bytes]:
    """Return small frames that declare some gigabytes, by transfer syntax."""
    grey = sample_image(describe())
    j2k = imagecodecs.jpeg2k_encode(grey, level=0, codecformat="J2K", reversible=True)
    j2k = _patched(_patched(j2k, 8, ">2I", 60000, 60000), 24, ">2I", 60000, 60000)
    jpeg, lossless = imagecodecs.jpeg8_encode(grey), imagecodecs.jpeg8_encode(grey, lossless=True)
    jls = imagecodecs.jpegls_encode(grey)
    xl = imagecodecs.jpegxl_encode(numpy.zeros((8, 8), numpy.uint8), lossless=True)
    # not small, height in 30 bits, no ratio, width in 30 bits
    size = 0 | 3 << 1 | 60000 << 3 | 0 << 33 | 3 << 36 | 60000 << 38
    return {
        syntaxes.JPEG_2000: j2k,
        syntaxes.HTJ2K: j2k,
        syntaxes.JPEG_BASELINE: _patched(jpeg, jpeg.index(b"\xff\xc0") + 5, ">2H", 60000, 60000),
        syntaxes.JPEG_LOSSLESS: _patched(lossless, lossless.index(b"\xff\xc3") + 5, ">2H", 60000, 60000),
        syntaxes.JPEG_LS: _patched(jls, jls.index(b"\xff\xf7") + 5, ">2H", 60000, 60000),
        syntaxes.JPEG_XL: xl[:2] + size.to_bytes(9, "little") + xl[4:],
        syntaxes.DEFLATED_FRAMES: zlib.compress(bytes(1 << 26), wbits=-15),
    }


@pytest.mark.parametrize("syntax", [*DECLARED, syntaxes.DEFLATED_FRAMES], ids=lambda syntax: syntax[18:])
def test_a_codestream_larger_than_declared_allocates_no_memory(syntax: str) -> None:
    frame = _bombs()[syntax]
    tracemalloc.start()
    try:
        refused = _is_refused(frame, syntax, describe())
        assert refused or syntax == syntaxes.DEFLATED_FRAMES
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", DECLARED, ids=lambda syntax: syntax[18:])
def test_a_frame_over_the_decoder_limit_is_refused(syntax: str) -> None:
    assert _is_refused(_bombs()[syntax], syntax, describe(rows=60000, columns=60000))


def test_a_codestream_with_very_many_tiles_is_refused() -> None:
    grey = sample_image(describe(rows=200, columns=200))
    frame = imagecodecs.jpeg2k_encode(grey, level=0, codecformat="J2K", reversible=True)
    tiny = _patched(frame, 24, ">2I", 1, 1)
    assert _is_refused(tiny, syntaxes.JPEG_2000, describe(rows=200, columns=200))


def test_components_that_differ_are_refused() -> None:
    frame = imagecodecs.jpeg2k_encode(sample_image(describe("RGB")), level=0, codecformat="J2K", reversible=True)
    assert _is_refused(_patched(frame, 45, "B", 0x8B), syntaxes.JPEG_2000, describe("RGB"))


def test_overlapping_rle_segments_are_refused() -> None:
    frame = struct.pack("<16I", 1, 32, *[0] * 14) + bytes(100)
    assert _is_refused(frame, syntaxes.RLE, describe())


def test_an_unsupported_transfer_syntax_is_refused() -> None:
    assert _is_refused(b"", "1.2.840.10008.1.2.4.102", describe())


@pytest.mark.parametrize("photometric", ["HSV", "ARGB", "CMYK", "YBR_PARTIAL_420", "nonsense"])
def test_unsupported_colour_conversions_are_refused(photometric: str) -> None:
    frame = imagecodecs.jpeg8_encode(sample_image(describe("RGB")))
    assert _is_refused(frame, syntaxes.JPEG_BASELINE, describe(photometric))
