"""Pictures as PNG.

One filter for all lines (the difference to the pixel on the left) and run lengths with Huffman codes instead of a
search for repetitions: see docs/decisions/0021-rendering.md for what it costs and saves.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from server.dicom.png import IMAGE_END, SIGNATURE, chunk, image_header

_SUB = 1


def png_of(picture: NDArray[np.uint8], profile: bytes) -> bytes:
    """Return a PNG file, with a colour profile unless it is empty."""
    height, width = picture.shape[:2]
    header = image_header(width, height, is_color=picture.ndim == 3)
    profile_chunk = chunk(b"iCCP", b"ICC profile\0\0", zlib.compress(profile)) if profile else b""
    return b"".join((SIGNATURE, header, profile_chunk, chunk(b"IDAT", image_data(picture)), IMAGE_END))


def image_data(picture: NDArray[np.uint8]) -> bytes:
    """Return filtered and compressed lines, the content of IDAT chunks."""
    height, width = picture.shape[:2]
    samples = picture.shape[2] if picture.ndim == 3 else 1
    pixels = picture.reshape(height, width * samples)
    lines = np.empty((height, 1 + width * samples), np.uint8)
    lines[:, 0] = _SUB
    lines[:, 1 : 1 + samples] = pixels[:, :samples]
    np.subtract(pixels[:, samples:], pixels[:, :-samples], out=lines[:, 1 + samples :])
    compressor = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return compressor.compress(lines.data) + compressor.flush()
