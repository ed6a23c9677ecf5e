"""RLE Lossless (PS3.5 Annex G): one segment for each byte of a pixel cell, of each sample."""

from struct import pack, unpack_from
from typing import Any

import imagecodecs
import numpy
from numpy.typing import NDArray

from server.dicom.pixel_data.codecs.samples import cell_type, shape_of, unreadable
from server.model.pixels import PixelDescription

_HEADER_BYTES = 64
_MAX_SEGMENTS = 15
# Writers that exceed a segment by less than a row are common; a larger excess is an error.
_EXCESS_BYTES = 1 << 10


def decode_rle(data: bytes, description: PixelDescription) -> NDArray[Any]:
    """Decode a frame to pixel cells, colour by pixel.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, see `decode`.
    """
    cells, shape = cell_type(description), shape_of(description)
    samples, width = description.samples_per_pixel, cells.itemsize
    segments = _segments(data)
    if len(segments) != samples * width or description.bits_allocated == 1:
        raise unreadable("The number of RLE segments does not match the Image Pixel attributes.")
    size = description.rows * description.columns
    planes = numpy.empty((size, samples, width), numpy.uint8)
    for number, segment in enumerate(segments):
        sample, byte = divmod(number, width)
        # The most significant byte is first.
        planes[:, sample, width - 1 - byte] = _plane(segment, size)
    return planes.view(cells).reshape(shape)


def encode_rle(cells: NDArray[Any]) -> bytes:
    """Encode pixel cells, colour by pixel, as a frame."""
    rows, columns = cells.shape[:2]
    little = numpy.ascontiguousarray(cells, cells.dtype.newbyteorder("<"))
    width = cells.dtype.itemsize
    planes = little.view(numpy.uint8).reshape(rows, columns, -1, width)
    segments = [
        _segment(planes[:, :, sample, byte]) for sample in range(planes.shape[2]) for byte in reversed(range(width))
    ]
    offsets, at = [], _HEADER_BYTES
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    offsets += [0] * (_MAX_SEGMENTS - len(offsets))
    return pack("<16I", len(segments), *offsets) + b"".join(segments)


def _segments(data: bytes) -> list[bytes]:
    if len(data) < _HEADER_BYTES:
        raise unreadable("The frame ends within its RLE header.")
    count, *offsets = unpack_from("<16I", data)
    if not 0 < count <= _MAX_SEGMENTS:
        raise unreadable("The frame has an invalid number of RLE segments.")
    ends = [*offsets[1:count], len(data)]
    spans = list(zip(offsets[:count], ends, strict=True))
    if any(not _HEADER_BYTES <= start < end <= len(data) for start, end in spans):
        raise unreadable("The segment offsets in the frame's RLE header are invalid.")
    return [data[start:end] for start, end in spans]


def _plane(segment: bytes, size: int) -> NDArray[numpy.uint8]:
    try:
        decoded = imagecodecs.packbits_decode(segment, out=size + _EXCESS_BYTES)
    except imagecodecs.PackbitsError as exc:
        raise unreadable("An RLE segment of the frame is damaged.") from exc
    if len(decoded) < size:
        raise unreadable("An RLE segment of the frame is too short.")
    return numpy.frombuffer(decoded, numpy.uint8, size)


def _segment(plane: NDArray[numpy.uint8]) -> bytes:
    """Encode a byte plane; runs end at rows (PS3.5 section G.3.1), segments have even length."""
    encoded = bytes(imagecodecs.packbits_encode(plane.copy(), axis=1))
    return encoded + bytes(len(encoded) % 2)
