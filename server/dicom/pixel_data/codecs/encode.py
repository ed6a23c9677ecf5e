"""Encoding of arrays as frames."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy
from jpeg_ls.CharLS import encode_buffer
from numpy.typing import NDArray

from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.rle import encode_rle
from server.dicom.pixel_data.codecs.samples import cells_to_bytes, unreadable
from server.model.pixels import PixelDescription

_JPEG_QUALITY = 90
_BY_PIXEL = 2
_JPEG_LS_FRAME = b"\xff\xf7"
_LEVELS = 5
_MAX_BASE = 64
_FIRST_COMPONENT = 42


def encode(array: NDArray[Any], description: PixelDescription, target: str) -> bytes:
    """Encode an array as a frame in the transfer syntax `target`.

    Args:
        array: stored values, colour by pixel, as `decode` returns them.
        description: of the array, as `decode` returns it; native frames get its planar configuration.
        target: one of `ENCODABLE`, accepted by `can_transcode`.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, values do not fit into Bits Stored.
    """
    if target in syntaxes.NATIVE:
        return cells_to_bytes(array, description)
    if target == syntaxes.RLE:
        return encode_rle(array)
    _check_range(array, description)
    return _ENCODERS[target](numpy.ascontiguousarray(array), description)


def _encode_jpeg(array: NDArray[Any], description: PixelDescription) -> bytes:
    """Baseline with 4:2:2 chroma; the JFIF header declares YCbCr."""
    if array.ndim == 2:
        return bytes(imagecodecs.jpeg8_encode(array, level=_JPEG_QUALITY))
    space = "RGB" if description.photometric_interpretation == "RGB" else "YCBCR"
    return bytes(
        imagecodecs.jpeg8_encode(array, level=_JPEG_QUALITY, colorspace=space, outcolorspace="YCBCR", subsampling="422")
    )


def _encode_lossless_jpeg(array: NDArray[Any], description: PixelDescription) -> bytes:
    bits = _precision(description)
    space = None if array.ndim == 2 else "RGB"
    return bytes(
        imagecodecs.jpeg8_encode(
            _words(array, bits),
            lossless=True,
            predictor=1,
            bitspersample=bits,
            colorspace=space,
            outcolorspace=space,
        )
    )


def _encode_jpeg_ls(array: NDArray[Any], description: PixelDescription) -> bytes:
    """The encoder with a precision parameter has a fixed output buffer that is too small for frames which double in
    size, as very small ones do. These are encoded with the precision of the whole pixel cell, without the SPIFF header.
    """
    size = (description.rows, description.columns, description.samples_per_pixel)
    try:
        return bytes(encode_buffer(array.tobytes(), *size, _precision(description), interleave_mode=_BY_PIXEL))
    except RuntimeError:
        spiff = imagecodecs.jpegls_encode(array.view(f"u{array.itemsize}"))
        return bytes(spiff[:2] + spiff[spiff.index(_JPEG_LS_FRAME) :])


def _encode_jpeg_2000(array: NDArray[Any], description: PixelDescription) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            array,
            level=0,
            codecformat="J2K",
            reversible=True,
            mct=description.photometric_interpretation == "RGB",
            bitspersample=description.bits_stored,
            numthreads=1,
        )
    )


def _encode_htj2k(array: NDArray[Any], description: PixelDescription) -> bytes:
    """Reversible, in RPCL progression, with TLM markers, and with a lowest resolution of at most 64 pixels per side:
    the constraints of PS3.5 section A.4.9 for RPCL suit all variants.

    The encoder only supports whole words. The level shift of unsigned samples is therefore done here, and the header is
    patched to the true precision.
    """
    bits = description.bits_stored
    levels = _LEVELS
    while -(-max(array.shape[:2]) >> levels) > _MAX_BASE:
        levels += 1
    is_whole = bits == 8 * array.itemsize
    if not is_whole and not description.is_signed:
        array = array.astype(f"i{array.itemsize}") - (1 << bits - 1)
    encoded = bytearray(
        imagecodecs.htj2k_encode(
            array,
            reversible=True,
            tlm=True,
            planar=False,
            resolutions=levels,
            rgb=description.photometric_interpretation == "RGB",
        )
    )
    if not is_whole:
        for number in range(description.samples_per_pixel):
            encoded[_FIRST_COMPONENT + 3 * number] = bits - 1 | description.is_signed << 7
    return bytes(encoded)


def _encode_jpeg_xl(array: NDArray[Any], description: PixelDescription) -> bytes:
    bits = description.bits_stored
    return bytes(
        imagecodecs.jpegxl_encode(_words(array, bits), lossless=True, bitspersample=bits, numthreads=1, effort=3)
    )


_ENCODERS: dict[str, Callable[[NDArray[Any], PixelDescription], bytes]] = {
    syntaxes.JPEG_BASELINE: _encode_jpeg,
    syntaxes.JPEG_LOSSLESS_SV1: _encode_lossless_jpeg,
    syntaxes.JPEG_LS: _encode_jpeg_ls,
    syntaxes.JPEG_2000_LOSSLESS: _encode_jpeg_2000,
    syntaxes.JPEG_2000: _encode_jpeg_2000,
    syntaxes.HTJ2K_LOSSLESS: _encode_htj2k,
    syntaxes.HTJ2K_LOSSLESS_RPCL: _encode_htj2k,
    syntaxes.HTJ2K: _encode_htj2k,
    syntaxes.JPEG_XL_LOSSLESS: _encode_jpeg_xl,
}


def _precision(description: PixelDescription) -> int:
    """Return the precision for codestreams without sign.

    Signed values are encoded as whole pixel cells, so that readers need not extend the sign. Fewer than 8 bits are
    encoded as 8, because many readers do not support less.
    """
    return description.bits_allocated if description.is_signed else max(description.bits_stored, 8)


def _words(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return values as unsigned integers, in bytes if `bits` is at most 8."""
    cells = array.view(f"u{array.itemsize}")
    return cells.astype(numpy.uint8) if bits <= 8 else cells


def _check_range(array: NDArray[Any], description: PixelDescription) -> None:
    """Reject values beyond Bits Stored, which the codec would truncate."""
    bits = description.bits_stored
    if bits == 8 * array.itemsize:
        return
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if description.is_signed else (0, (1 << bits) - 1)
    if int(array.min()) < low or int(array.max()) > high:
        raise unreadable("The frame has sample values that do not fit into Bits Stored.")
