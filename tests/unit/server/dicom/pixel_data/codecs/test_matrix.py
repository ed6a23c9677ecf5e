"""Every encoder and decoder × colours × bits × signs × frames, compared with independent decoders."""

import itertools

import imagecodecs
import numpy
import pytest

from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.decode import decode
from server.dicom.pixel_data.codecs.syntaxes import ENCODABLE, NATIVE, can_transcode, described
from server.dicom.worker_jobs import perform
from server.model.pixels import PixelDescription, TranscodeFrame
from tests.unit.server.dicom.second_decoders import (
    by_pydicom,
    decoded_by_others,
    describe,
    largest_difference,
    sample_image,
    smooth_image,
)

LOSSLESS = [target for target in ENCODABLE if target not in NATIVE | {syntaxes.JPEG_BASELINE}]
COLOURS = ("MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")
BITS = ((8, 8), (8, 6), (16, 8), (16, 10), (16, 12), (16, 16), (32, 32))
FRAMES = 2


def _matrix() -> list[tuple[str, PixelDescription]]:
    everything = itertools.product(LOSSLESS, COLOURS, BITS, (False, True))
    cases = (
        (target, describe(colours, allocated=allocated, stored=stored, signed=signed))
        for target, colours, (allocated, stored), signed in everything
    )
    return [(target, case) for target, case in cases if can_transcode(case, EXPLICIT_LITTLE, target)]


def _name(value: object) -> str:
    if isinstance(value, PixelDescription):
        sign = "s" if value.is_signed else "u"
        return f"{value.photometric_interpretation}-{value.bits_allocated}-{value.bits_stored}{sign}"
    return str(value).removeprefix("1.2.840.10008.1.2.")


@pytest.mark.parametrize(("target", "description"), _matrix(), ids=_name)
def test_lossless_frames_decode_equally_in_every_decoder(target: str, description: PixelDescription) -> None:
    for number in range(FRAMES):
        array = sample_image(description, seed=number)
        frame = perform(TranscodeFrame(array.tobytes(), description, EXPLICIT_LITTLE, target))
        after = described(description, EXPLICIT_LITTLE, target)
        actual, _ = decode(frame + b"\0", target, after)
        assert actual.dtype == array.dtype
        assert numpy.array_equal(actual, array)
        for expected in decoded_by_others(frame, target, after):
            assert numpy.array_equal(expected, array)
        assert perform(TranscodeFrame(frame, after, target, IMPLICIT_LITTLE)) == array.tobytes()


def test_the_matrix_has_every_encoder_with_signs_colours_and_bits() -> None:
    cases = _matrix()
    assert {target for target, _ in cases} == set(LOSSLESS)
    for target in set(LOSSLESS) - {syntaxes.JPEG_XL_LOSSLESS}:
        mine = [case for of, case in cases if of == target]
        assert {case.is_signed for case in mine} == {False, True}
        assert {case.photometric_interpretation for case in mine} == set(COLOURS)
        assert {case.bits_allocated for case in mine} >= {8, 16}


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 5), (129, 64)], ids=str)
@pytest.mark.parametrize("target", LOSSLESS, ids=_name)
def test_frames_of_odd_sizes_and_pure_noise(target: str, size: tuple[int, int]) -> None:
    for colours, allocated in (("MONOCHROME2", 16), ("RGB", 8)):
        description = describe(colours, allocated=allocated, rows=size[0], columns=size[1])
        shape = sample_image(description).shape
        array = numpy.random.default_rng(5).integers(0, 1 << allocated, shape).astype(f"<u{allocated // 8}")
        frame = perform(TranscodeFrame(array.tobytes(), description, EXPLICIT_LITTLE, target))
        after = described(description, EXPLICIT_LITTLE, target)
        assert numpy.array_equal(decode(frame, target, after)[0], array)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB", "YBR_FULL"])
def test_baseline_is_near_the_original_for_every_decoder(photometric: str) -> None:
    description = describe(photometric)
    array = smooth_image(description)
    frame = perform(TranscodeFrame(array.tobytes(), description, EXPLICIT_LITTLE, syntaxes.JPEG_BASELINE))
    after = described(description, EXPLICIT_LITTLE, syntaxes.JPEG_BASELINE)
    actual, actual_description = decode(frame, syntaxes.JPEG_BASELINE, after)
    expected = array
    if photometric == "YBR_FULL":
        expected = imagecodecs.jpeg8_decode(frame)
        assert largest_difference(decode(frame, syntaxes.JPEG_BASELINE, description)[0], array) <= 6
    assert actual_description.photometric_interpretation == ("MONOCHROME2" if photometric == "MONOCHROME2" else "RGB")
    assert largest_difference(actual, expected) <= 6
    for plugin in ("gdcm", "pillow"):
        expected = by_pydicom(frame, syntaxes.JPEG_BASELINE, after, plugin)
        raw = actual if expected.ndim == 2 else decode(frame, syntaxes.JPEG_BASELINE, describe("YBR_FULL"))[0]
        assert largest_difference(expected, raw) <= 1


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 12), (16, 16)])
def test_every_predictor_of_lossless_jpeg(predictor: int, allocated: int, stored: int) -> None:
    description = describe(allocated=allocated, stored=stored)
    array = sample_image(description)
    frame = imagecodecs.jpeg8_encode(array, lossless=True, predictor=predictor, bitspersample=stored)
    assert numpy.array_equal(decode(frame, syntaxes.JPEG_LOSSLESS, description)[0], array)
    assert numpy.array_equal(by_pydicom(frame, syntaxes.JPEG_LOSSLESS, description, "gdcm"), array)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB"])
def test_extended_jpeg_of_12_bits(photometric: str) -> None:
    description = describe(photometric, allocated=16, stored=12)
    array = smooth_image(description)
    frame = imagecodecs.jpeg8_encode(array, level=95, bitspersample=12)
    actual, _ = decode(frame, syntaxes.JPEG_EXTENDED, description)
    assert largest_difference(actual, array) <= (24 if photometric == "MONOCHROME2" else 80)


@pytest.mark.parametrize("interleave", [0, 1, 2])
@pytest.mark.parametrize("near", [0, 2])
def test_jpeg_ls_in_every_interleave_mode(interleave: int, near: int) -> None:
    from jpeg_ls.CharLS import encode_buffer

    description = describe("RGB")
    array = sample_image(description)
    arranged = array.transpose(2, 0, 1) if interleave == 0 else array
    frame = bytes(encode_buffer(arranged.tobytes(), 21, 34, 3, 8, near, interleave))
    syntax = syntaxes.JPEG_LS_NEAR if near else syntaxes.JPEG_LS
    actual, _ = decode(frame, syntax, description)
    assert largest_difference(actual, array) <= near
    assert numpy.array_equal(by_pydicom(frame, syntax, description, "gdcm"), actual)


@pytest.mark.parametrize(("photometric", "label"), [("MONOCHROME2", "MONOCHROME2"), ("RGB", "YBR_ICT")])
def test_irreversible_wavelets_are_the_same_for_every_decoder(photometric: str, label: str) -> None:
    description = describe(photometric, rows=64, columns=70)
    array = smooth_image(description)
    j2k = imagecodecs.jpeg2k_encode(array, level=55, codecformat="J2K", reversible=False)
    htj2k = imagecodecs.htj2k_encode(array, level=0.01, reversible=False)
    labelled = describe(label, rows=64, columns=70)
    for syntax, frame in ((syntaxes.JPEG_2000, j2k), (syntaxes.HTJ2K, htj2k)):
        actual, after = decode(frame, syntax, labelled)
        assert after.photometric_interpretation == photometric
        assert largest_difference(actual, array) <= 8
        for expected in decoded_by_others(frame, syntax, labelled):
            assert largest_difference(expected, actual) <= 1


@pytest.mark.parametrize("stored", [20, 24])
def test_jpeg_2000_of_more_than_16_bits(stored: int) -> None:
    description = describe(allocated=32, stored=stored)
    array = sample_image(description)
    frame = imagecodecs.jpeg2k_encode(array, level=0, codecformat="J2K", reversible=True, bitspersample=stored)
    assert numpy.array_equal(decode(frame, syntaxes.JPEG_2000_LOSSLESS, description)[0], array)


def test_lossy_jpeg_xl_and_jpeg_inside_of_jpeg_xl() -> None:
    description = describe("RGB", rows=64, columns=70)
    array = smooth_image(description)
    lossy = imagecodecs.jpegxl_encode(array, lossless=False, distance=0.5)
    jpeg = imagecodecs.jpeg8_encode(array, level=95, subsampling="444")
    inside = imagecodecs.jpegxl_encode_jpeg(jpeg)
    for syntax, frame in ((syntaxes.JPEG_XL, lossy), (syntaxes.JPEG_XL_JPEG, inside)):
        actual, _ = decode(frame, syntax, description)
        assert largest_difference(actual, array) <= 8
    of_jpeg = imagecodecs.jpeg8_decode(jpeg)
    assert largest_difference(decode(inside, syntaxes.JPEG_XL_JPEG, description)[0], of_jpeg) <= 4
