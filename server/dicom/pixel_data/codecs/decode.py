"""Decoding of frames to arrays."""

import zlib
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from server.dicom.elements.transfer_syntax import ENCAPSULATED_UNCOMPRESSED
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.codestreams import decode_codestream
from server.dicom.pixel_data.codecs.colour import to_rgb, to_ybr_full, upsample_422
from server.dicom.pixel_data.codecs.rle import decode_rle
from server.dicom.pixel_data.codecs.samples import cells_from_bytes, frame_bytes, stored_values_of, unreadable
from server.dicom.pixel_data.codecs.syntaxes import decoded_photometric
from server.model.pixels import PixelDescription

_SUBSAMPLED = syntaxes.SUBSAMPLED | {"YBR_PARTIAL_420"}


def decode(data: bytes, syntax: str, description: PixelDescription) -> tuple[NDArray[Any], PixelDescription]:
    """Decode a frame; return an array and its description.

    The array has shape (rows, columns) or (rows, columns, samples). It contains stored values (PS3.5 section 8.1.1),
    shifted to bit 0 and sign-extended, in integers of the size of the pixel cell; 1-bit images have one byte per pixel.
    Colour is RGB or YBR_FULL, by pixel. The array may be read-only.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, the frame is damaged, contradicts the Image Pixel attributes, or is not
            supported.
    """
    if syntax not in syntaxes.DECODABLE:
        raise unreadable("Decoding of this transfer syntax is not supported.")
    if syntax in syntaxes.UNCODED and _is_subsampled(description):
        return _decode_subsampled(native_bytes(data, syntax, description), description)
    if syntax in syntaxes.UNCODED | {syntaxes.RLE}:
        array, described = stored_values_of(decode_cells(data, syntax, description), description)
        # RLE frames have full chroma, whatever Photometric Interpretation says.
        colour = "YBR_FULL" if _is_subsampled(description) else description.photometric_interpretation
    else:
        if description.sample_format != "integer":
            raise unreadable("Float pixel data cannot be compressed.")
        array, colour = decode_codestream(data, syntax, description)
        described = replace(description, high_bit=description.bits_stored - 1)
    wanted = decoded_photometric(description, syntax)
    described = replace(described, photometric_interpretation=wanted, planar_configuration=0)
    return _coloured(array, colour, described), described


def decode_cells(data: bytes, syntax: str, description: PixelDescription) -> NDArray[Any]:
    """Return an uncompressed or RLE frame as stored pixel cells, colour by pixel, including unused bits.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, see `decode`.
    """
    if syntax == syntaxes.RLE:
        return decode_rle(data, description)
    return cells_from_bytes(native_bytes(data, syntax, description), description)


def native_bytes(data: bytes, syntax: str, description: PixelDescription) -> bytes:
    """Return exactly the bytes of an uncompressed frame: inflated, and without padding.

    A frame of another size is rejected, as a codestream in fragments under an uncompressed transfer syntax.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, see `decode`.
    """
    wanted = frame_bytes(description)
    if syntax == syntaxes.DEFLATED_FRAMES:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, wanted)
        except zlib.error as exc:
            raise unreadable("The deflated frame is damaged.") from exc
    elif syntax == ENCAPSULATED_UNCOMPRESSED:
        data = data[:wanted]
    if len(data) < wanted:
        raise unreadable("The frame has fewer bytes than the Image Pixel attributes require.")
    largest = wanted if not _is_subsampled(description) else _whole_chroma_bytes(description)
    if len(data) > largest + largest % 2:
        raise unreadable("The frame has more bytes than the Image Pixel attributes require.")
    return data


def _whole_chroma_bytes(description: PixelDescription) -> int:
    return frame_bytes(replace(description, photometric_interpretation="YBR_FULL"))


def _coloured(array: NDArray[Any], has: str, described: PixelDescription) -> NDArray[Any]:
    """Convert the array to the photometric interpretation of its description, if necessary."""
    wanted = described.photometric_interpretation
    if described.samples_per_pixel != 3 or (has == wanted) or {has, wanted} != {"RGB", "YBR_FULL"}:
        return array
    if described.is_signed:
        raise unreadable("Signed colour samples cannot be converted.")
    bits = described.bits_stored
    return to_rgb(array, bits) if wanted == "RGB" else to_ybr_full(array, bits)


def _is_subsampled(description: PixelDescription) -> bool:
    return description.samples_per_pixel == 3 and description.photometric_interpretation in _SUBSAMPLED


def _decode_subsampled(data: bytes, description: PixelDescription) -> tuple[NDArray[Any], PixelDescription]:
    """Decode native 4:2:2 chroma; also accepts full chroma with a wrong Photometric Interpretation.

    Chroma samples are repeated, so no sample changes. YBR_PARTIAL is converted to RGB, because no full-chroma
    photometric interpretation exists for it.
    """
    columns = description.columns
    if len(data) >= _whole_chroma_bytes(description):
        array = cells_from_bytes(data, description)
    elif description.photometric_interpretation not in syntaxes.SUBSAMPLED:
        raise unreadable("Native pixel data with 4:2:0 chroma subsampling is not supported.")
    elif columns % 2:
        raise unreadable("Chroma-subsampled pixel data requires an even number of columns.")
    else:
        packed = replace(description, samples_per_pixel=1, columns=2 * columns)
        array = upsample_422(cells_from_bytes(data, packed))
    array, _ = stored_values_of(array, description)
    is_partial = description.photometric_interpretation.startswith("YBR_PARTIAL")
    if is_partial:
        array = to_rgb(array, description.bits_stored, is_partial=True)
    return array, replace(
        description,
        photometric_interpretation="RGB" if is_partial else "YBR_FULL",
        planar_configuration=0,
        high_bit=description.bits_stored - 1,
    )
