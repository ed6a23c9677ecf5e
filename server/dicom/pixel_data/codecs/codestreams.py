"""Decoding of JPEG family codestreams, in the colour model that the decoder returns."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy
from numpy.typing import NDArray

from server.dicom.pixel_data.codecs import headers, syntaxes
from server.dicom.pixel_data.codecs.headers import CodedFrame
from server.dicom.pixel_data.codecs.samples import shape_of, stored_value_type, unreadable
from server.dicom.pixel_data.codecs.syntaxes import decoded_photometric, is_known
from server.model.pixels import PixelDescription

# Decoders hold four or more bytes per sample.
_MAX_SAMPLES = 1 << 28
_COLOUR_SPACES = {"RGB": "RGB", "YBR_FULL": "YCBCR"}


def decode_codestream(data: bytes, syntax: str, description: PixelDescription) -> tuple[NDArray[Any], str]:
    """Decode a frame of the JPEG family; return the array and its colour model: "RGB", "YBR_FULL", or that of one
    sample.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, see `decode`.
    """
    if not is_known(description):
        raise unreadable(
            "The Samples per Pixel, Photometric Interpretation or Bits Allocated of the frame is not supported."
        )
    if description.rows * description.columns * description.samples_per_pixel > _MAX_SAMPLES:
        raise unreadable("The frame exceeds the size limit of the decoder.")
    array, colour = _DECODERS[syntax](data, description)
    if array.shape != shape_of(description):
        raise unreadable("The dimensions of the codestream do not match the Image Pixel attributes.")
    return array, colour


def _decode_jpeg(data: bytes, description: PixelDescription) -> tuple[NDArray[Any], str]:
    """The colour model stated in the codestream takes precedence over Photometric Interpretation, which some software
    does not correct on compression and decompression."""
    coded = headers.read_jpeg(data)
    _check(coded, description)
    if coded.samples == 1:
        array, colour = _run(imagecodecs.jpeg8_decode, data), description.photometric_interpretation
    elif coded.is_lossless:
        array, colour = _run(imagecodecs.jpeg8_decode, data, colorspace="RGB", outcolorspace="RGB"), _label(description)
    else:
        has = coded.colour or _label(description)
        colour = has if has == "RGB" else decoded_photometric(description, syntaxes.JPEG_BASELINE)
        spaces = {"colorspace": _COLOUR_SPACES[has], "outcolorspace": _COLOUR_SPACES[colour]}
        array = _run(imagecodecs.jpeg8_decode, data, **spaces)
    return _numbers(array, coded, description, min(coded.precision, description.bits_stored)), colour


def _decode_jpeg_ls(data: bytes, description: PixelDescription) -> tuple[NDArray[Any], str]:
    coded = headers.read_jpeg(data)
    _check(coded, description)
    array = _run(imagecodecs.jpegls_decode, data)
    return _numbers(array, coded, description, min(coded.precision, description.bits_stored)), _label(description)


def _decode_jpeg_2000(data: bytes, description: PixelDescription) -> tuple[NDArray[Any], str]:
    """The same decoder supports the block coder of HTJ2K; the HTJ2K package ignores errors."""
    codestream = headers.jpeg_2000_codestream(data)
    coded = headers.read_jpeg_2000(codestream)
    _check(coded, description)
    array = _run(imagecodecs.jpeg2k_decode, codestream, numthreads=1)
    is_rgb = coded.is_subsampled or (coded.is_transformed and description.photometric_interpretation != "YBR_FULL")
    colour = "RGB" if is_rgb and coded.samples == 3 else _label(description)
    return _numbers(array, coded, description, coded.precision), colour


def _decode_jpeg_xl(data: bytes, description: PixelDescription) -> tuple[NDArray[Any], str]:
    """The decoder writes bytes or 16-bit words, depending on the precision of the codestream, into a prepared array,
    and rejects a codestream that does not fit before decoding."""
    shape = shape_of(description)
    if description.is_signed:
        raise unreadable("JPEG XL does not support signed samples.")
    types = [numpy.uint8, numpy.uint16] if description.bits_stored <= 8 else [numpy.uint16, numpy.uint8]
    for word in types[: 1 if description.bits_allocated == 8 else 2]:
        try:
            array = imagecodecs.jpegxl_decode(
                data, index=0, keeporientation=True, numthreads=1, out=numpy.empty(shape, word)
            )
        except ValueError:
            continue
        except RuntimeError as exc:
            raise unreadable("The frame's codestream is damaged.") from exc
        return array.astype(stored_value_type(description), copy=False), _rgb_or_single(description)
    raise _contradiction()


_DECODERS = (
    dict.fromkeys(syntaxes.DCT | syntaxes.LOSSLESS_JPEG, _decode_jpeg)
    | dict.fromkeys(syntaxes.LS, _decode_jpeg_ls)
    | dict.fromkeys(syntaxes.J2K | syntaxes.HT, _decode_jpeg_2000)
    | dict.fromkeys(syntaxes.XL, _decode_jpeg_xl)
)


def _run(decoder: Callable[..., NDArray[Any]], data: bytes, **options: Any) -> NDArray[Any]:
    try:
        return decoder(data, **options)
    except (RuntimeError, ValueError) as exc:
        raise unreadable("The frame's codestream is damaged.") from exc


def _check(coded: CodedFrame, description: PixelDescription) -> None:
    """Reject a codestream that does not match the Image Pixel attributes before memory is allocated for it."""
    expected = (description.rows, description.columns, description.samples_per_pixel)
    if (coded.rows, coded.columns, coded.samples) != expected or not 0 < coded.precision <= description.bits_allocated:
        raise _contradiction()


def _numbers(array: NDArray[Any], coded: CodedFrame, description: PixelDescription, bits: int) -> NDArray[Any]:
    """Return decoded samples as stored values.

    Only JPEG 2000 supports signed samples, and some writers do not declare them; then the lowest `bits` are taken as a
    signed number.
    """
    wanted = stored_value_type(description)
    if coded.is_signed == description.is_signed:
        return array.astype(wanted, copy=False)
    unused = 8 * wanted.itemsize - bits
    shifted = array.astype(wanted) << wanted.type(unused)
    numbers: NDArray[Any] = shifted >> wanted.type(unused)
    return numbers


def _label(description: PixelDescription) -> str:
    """Return the photometric interpretation of the samples after the decoder has undone all transformations."""
    photometric = description.photometric_interpretation
    if description.samples_per_pixel == 1 or photometric == "RGB":
        return photometric
    return "YBR_FULL" if photometric in {"YBR_FULL", *syntaxes.SUBSAMPLED} else "RGB"


def _rgb_or_single(description: PixelDescription) -> str:
    return "RGB" if description.samples_per_pixel > 1 else description.photometric_interpretation


def _contradiction() -> Exception:
    return unreadable("The dimensions or the bit depth of the codestream do not match the Image Pixel attributes.")
