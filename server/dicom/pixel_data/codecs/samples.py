"""Native frames as arrays: pixel cells, and the stored values in them (PS3.5 sections 8.1 and 8.2)."""

from dataclasses import replace
from typing import Any

import numpy
from numpy.typing import NDArray

from server.dicom.pixel_data.codecs.syntaxes import SUBSAMPLED
from server.model.errors import Reason, WrongState
from server.model.pixels import PixelDescription

_FLOATS = {"float": "<f4", "double": "<f8"}


def unreadable(message: str) -> WrongState:
    """Return the error for pixel data that cannot be decoded."""
    return WrongState(Reason.PIXEL_DATA_UNREADABLE, message)


def shape_of(description: PixelDescription) -> tuple[int, ...]:
    """Return the array shape of a frame: (rows, columns) or (rows, columns, samples)."""
    size = (description.rows, description.columns)
    return size if description.samples_per_pixel == 1 else (*size, description.samples_per_pixel)


def cell_type(description: PixelDescription) -> numpy.dtype[Any]:
    """Return the type of a pixel cell, unsigned; a byte for 1-bit pixels.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, Bits Allocated is not supported.
    """
    if description.sample_format != "integer":
        return numpy.dtype(_FLOATS[description.sample_format])
    if description.bits_allocated not in (1, 8, 16, 32, 64):
        raise unreadable(f"Bits Allocated {description.bits_allocated} is not supported.")
    return numpy.dtype(f"<u{max(description.bits_allocated // 8, 1)}")


def stored_value_type(description: PixelDescription) -> numpy.dtype[Any]:
    """Return the type of stored values, with their sign."""
    cells = cell_type(description)
    return numpy.dtype(f"<i{cells.itemsize}") if description.is_signed and cells.kind == "u" else cells


def frame_bytes(description: PixelDescription) -> int:
    """Return the number of bytes of a native frame; with 4:2:2 chroma, two pixels have four samples."""
    samples = description.samples_per_pixel
    if samples == 3 and description.photometric_interpretation in SUBSAMPLED:
        samples = 2
    bits = description.rows * description.columns * samples * description.bits_allocated
    return -(-bits // 8)


def cells_from_bytes(data: bytes, description: PixelDescription) -> NDArray[Any]:
    """Return native bytes as an array of pixel cells with the shape `shape_of`.

    Bytes after the frame, such as padding, are ignored.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, the frame is truncated.
    """
    cells, shape = cell_type(description), shape_of(description)
    count = int(numpy.prod(shape))
    wanted = -(-count // 8) if description.bits_allocated == 1 else count * cells.itemsize
    if len(data) < wanted:
        raise unreadable("The frame has fewer bytes than the Image Pixel attributes require.")
    if description.bits_allocated == 1:
        bits = numpy.unpackbits(numpy.frombuffer(data, numpy.uint8, wanted), count=count, bitorder="little")
        return bits.reshape(shape)
    array = numpy.frombuffer(data, cells, count)
    if len(shape) == 3 and description.planar_configuration == 1:
        return array.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
    return array.reshape(shape)


def cells_to_bytes(array: NDArray[Any], description: PixelDescription) -> bytes:
    """Return an array with the shape `shape_of` as native bytes in the planar configuration of `description`."""
    if description.bits_allocated == 1:
        return numpy.packbits(array.astype(numpy.uint8).ravel(), bitorder="little").tobytes()
    if array.ndim == 3 and description.planar_configuration == 1:
        array = array.transpose(2, 0, 1)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def stored_values_of(cells: NDArray[Any], description: PixelDescription) -> tuple[NDArray[Any], PixelDescription]:
    """Extract stored values from pixel cells: unused bits are removed, the sign is extended."""
    if description.sample_format != "integer" or description.bits_allocated == 1:
        return cells, description
    above = description.bits_allocated - 1 - description.high_bit
    unused = description.bits_allocated - description.bits_stored
    described = replace(description, high_bit=description.bits_stored - 1)
    if not unused:
        return cells.view(stored_value_type(description)), described
    shifted = (cells << cells.dtype.type(above)).view(stored_value_type(description))
    return shifted >> shifted.dtype.type(unused), described
