"""Colour models: the codestream takes precedence over the data set."""

import imagecodecs
import numpy
import pytest

from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.decode import decode
from server.dicom.pixel_data.codecs.rle import encode_rle
from server.dicom.worker_jobs import perform
from server.model.errors import Reason, WrongState
from server.model.pixels import TranscodeFrame
from tests.unit.server.dicom.second_decoders import describe, largest_difference, sample_image, smooth_image

RGB = smooth_image(describe("RGB"))
AS_YBR = imagecodecs.jpeg8_encode(RGB, level=98, subsampling="444")
AS_RGB = imagecodecs.jpeg8_encode(RGB, level=98, outcolorspace="RGB")
YBR = imagecodecs.jpeg8_decode(AS_YBR, colorspace="YCBCR", outcolorspace="YCBCR")
NEAR = 6


def _without(frame: bytes, marker: int) -> bytes:
    """Return a JPEG frame without its first segment with this marker."""
    at = frame.index(bytes([0xFF, marker]))
    length = int.from_bytes(frame[at + 2 : at + 4], "big")
    return frame[:at] + frame[at + 2 + length :]


def _with_component_ids(frame: bytes, names: bytes) -> bytes:
    """Return a JPEG frame with other component identifiers."""
    out = bytearray(frame)
    for marker, first, step in ((0xC0, 10, 3), (0xDA, 5, 2)):
        at = frame.index(bytes([0xFF, marker]))
        for number, name in enumerate(names):
            out[at + first + step * number] = name
    return bytes(out)


def _jpeg(frame: bytes, label: str):
    array, description = decode(frame, syntaxes.JPEG_BASELINE, describe(label))
    return array, description.photometric_interpretation


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"])
def test_jpeg_becomes_rgb_for_any_photometric_interpretation(label: str) -> None:
    for frame in (AS_YBR, AS_RGB, imagecodecs.jpeg8_encode(RGB, level=98, subsampling="420")):
        array, colours = _jpeg(frame, label)
        assert colours == "RGB"
        assert largest_difference(array, RGB) <= NEAR


def test_jpeg_with_ybr_full_stays_ybr_full() -> None:
    for frame in (AS_YBR, AS_RGB):
        array, colours = _jpeg(frame, "YBR_FULL")
        assert colours == "YBR_FULL"
        assert largest_difference(array, YBR) <= NEAR


def test_jpeg_with_a_jfif_header_is_ybr_even_if_photometric_interpretation_is_rgb() -> None:
    assert b"JFIF" in AS_YBR
    assert largest_difference(_jpeg(AS_YBR, "RGB")[0], RGB) <= NEAR


def test_jpeg_with_an_adobe_marker_has_its_colour_model() -> None:
    assert b"Adobe" in AS_RGB
    plain = _with_component_ids(AS_RGB, b"\1\2\3")
    assert largest_difference(_jpeg(plain, "YBR_FULL_422")[0], RGB) <= NEAR
    at = plain.index(b"Adobe") + 11
    called_ybr = plain[:at] + b"\1" + plain[at + 1 :]
    assert largest_difference(_jpeg(called_ybr, "RGB")[0], RGB) > NEAR


def test_jpeg_components_with_the_names_rgb_are_rgb() -> None:
    frame = _with_component_ids(_without(AS_RGB, 0xEE), b"RGB")
    assert largest_difference(_jpeg(frame, "YBR_FULL_422")[0], RGB) <= NEAR


def test_jpeg_without_a_declared_colour_model_has_that_of_the_data_set() -> None:
    rgb, ybr = _with_component_ids(_without(AS_RGB, 0xEE), b"\1\2\3"), _without(AS_YBR, 0xE0)
    assert largest_difference(_jpeg(rgb, "RGB")[0], RGB) <= NEAR
    assert largest_difference(_jpeg(ybr, "YBR_FULL_422")[0], RGB) <= NEAR


def test_jpeg_with_subsampled_components_is_ybr() -> None:
    frame = _without(imagecodecs.jpeg8_encode(RGB, level=98, subsampling="422"), 0xE0)
    assert largest_difference(_jpeg(frame, "RGB")[0], RGB) <= NEAR


def test_lossless_jpeg_is_not_converted() -> None:
    frame = imagecodecs.jpeg8_encode(YBR, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB")
    for label in ("RGB", "YBR_FULL"):
        array, description = decode(frame, syntaxes.JPEG_LOSSLESS_SV1, describe(label))
        assert description.photometric_interpretation == label
        assert numpy.array_equal(array, YBR)


@pytest.mark.parametrize("syntax", [syntaxes.JPEG_LS, syntaxes.RLE, syntaxes.JPEG_LOSSLESS_SV1])
def test_full_chroma_declared_as_subsampled_is_not_changed(syntax: str) -> None:
    frame = perform(TranscodeFrame(YBR.tobytes(), describe("YBR_FULL"), EXPLICIT_LITTLE, syntax))
    array, description = decode(frame, syntax, describe("YBR_FULL_422"))
    assert description.photometric_interpretation == "YBR_FULL"
    assert numpy.array_equal(array, YBR)


@pytest.mark.parametrize("label", ["RGB", "YBR_RCT", "YBR_ICT", "YBR_FULL_422"])
def test_the_transformation_of_jpeg_2000_is_undone(label: str) -> None:
    frame = imagecodecs.jpeg2k_encode(RGB, level=0, codecformat="J2K", reversible=True, mct=True)
    array, description = decode(frame, syntaxes.JPEG_2000_LOSSLESS, describe(label))
    assert description.photometric_interpretation == "RGB"
    assert numpy.array_equal(array, RGB)


def test_jpeg_2000_without_a_transformation_has_the_colour_model_of_the_data_set() -> None:
    frame = imagecodecs.jpeg2k_encode(YBR, level=0, codecformat="J2K", reversible=True, mct=False)
    same, _ = decode(frame, syntaxes.JPEG_2000_LOSSLESS, describe("YBR_FULL"))
    assert numpy.array_equal(same, YBR)
    rgb, description = decode(frame, syntaxes.JPEG_2000, describe("YBR_FULL_422"))
    assert description.photometric_interpretation == "RGB"
    assert largest_difference(rgb, RGB) <= NEAR


def test_jpeg_2000_in_boxes_is_accepted() -> None:
    frame = imagecodecs.jpeg2k_encode(RGB, level=0, codecformat="JP2", reversible=True)
    assert not frame.startswith(b"\xff\x4f")
    assert numpy.array_equal(decode(frame, syntaxes.JPEG_2000_LOSSLESS, describe("YBR_RCT"))[0], RGB)


def test_the_chroma_of_native_ybr_full_422_is_repeated() -> None:
    packed = numpy.empty((21, 34 * 2), numpy.uint8)
    packed[:, 0::4], packed[:, 1::4] = YBR[:, 0::2, 0], YBR[:, 1::2, 0]
    packed[:, 2::4], packed[:, 3::4] = YBR[:, 0::2, 1], YBR[:, 0::2, 2]
    array, description = decode(packed.tobytes(), EXPLICIT_LITTLE, describe("YBR_FULL_422"))
    assert description.photometric_interpretation == "YBR_FULL"
    assert numpy.array_equal(array[:, :, 0], YBR[:, :, 0])
    assert numpy.array_equal(array[:, :, 1:], YBR[:, 0::2, 1:].repeat(2, axis=1))


def test_ybr_partial_is_converted_to_full_range() -> None:
    black_and_white = bytes([16, 235, 128, 128])
    array, _ = decode(black_and_white, EXPLICIT_LITTLE, describe("YBR_PARTIAL_422", rows=1, columns=2))
    assert array.tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_subsampled_pixels_in_an_odd_number_of_columns_are_refused() -> None:
    with pytest.raises(WrongState) as caught:
        decode(bytes(2 * 3), EXPLICIT_LITTLE, describe("YBR_FULL_422", rows=1, columns=3))
    assert caught.value.reason is Reason.PIXEL_DATA_UNREADABLE


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, syntaxes.RLE])
def test_colour_by_plane_and_by_pixel_give_the_same_image(syntax: str) -> None:
    frame = encode_rle(RGB) if syntax == syntaxes.RLE else RGB.transpose(2, 0, 1).tobytes()
    array, description = decode(frame, syntax, describe("RGB", planar_configuration=1))
    assert description.planar_configuration == 0
    assert numpy.array_equal(array, RGB)


def test_native_frames_keep_the_planar_configuration_of_the_data_set() -> None:
    by_plane = describe("RGB", planar_configuration=1)
    frame = perform(TranscodeFrame(RGB.tobytes(), describe("RGB"), EXPLICIT_LITTLE, syntaxes.JPEG_LS))
    native = perform(TranscodeFrame(frame, by_plane, syntaxes.JPEG_LS, EXPLICIT_LITTLE))
    assert syntaxes.described(by_plane, syntaxes.JPEG_LS, EXPLICIT_LITTLE).planar_configuration == 1
    assert native == RGB.transpose(2, 0, 1).tobytes()


def test_palette_indices_are_never_changed() -> None:
    description = describe("PALETTE COLOR")
    array = sample_image(description)
    for target in (syntaxes.JPEG_2000_LOSSLESS, syntaxes.RLE, syntaxes.JPEG_LS):
        frame = perform(TranscodeFrame(array.tobytes(), description, EXPLICIT_LITTLE, target))
        assert syntaxes.described(description, EXPLICIT_LITTLE, target).photometric_interpretation == "PALETTE COLOR"
        assert numpy.array_equal(decode(frame, target, description)[0], array)
