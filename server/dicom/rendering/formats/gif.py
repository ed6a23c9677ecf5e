"""Frames of GIF animations."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_HEAD_BYTES, _FLAGS_AT = 13, 10
_DESCRIPTOR_BYTES = 10
_EXTENSION, _DESCRIPTOR = 0x21, 0x2C
_HAS_TABLE = 0x80
_MAX_COLORS = 256


def frame_blocks(rendered: NDArray[np.uint8]) -> bytes:
    """Return image descriptor, colour table and data of one frame.

    Shades of grey are exact; more than 256 colours are reduced to the best 256.
    """
    image = Image.fromarray(np.ascontiguousarray(rendered))
    if image.mode == "RGB":
        image = image.quantize(_MAX_COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    out = BytesIO()
    image.save(out, "GIF", optimize=False, interlace=False)
    return _blocks_of(out.getvalue())


def _blocks_of(gif: bytes) -> bytes:
    """Return the only frame of a GIF file, with the file's colour table as its local one."""
    flags, at = gif[_FLAGS_AT], _HEAD_BYTES
    table = gif[at : at + _table_bytes(flags)]
    at += len(table)
    while gif[at] == _EXTENSION:
        at = _after_blocks(gif, at + 2)
    descriptor, data = bytearray(gif[at : at + _DESCRIPTOR_BYTES]), gif[at + _DESCRIPTOR_BYTES : -1]
    if not descriptor[-1] & _HAS_TABLE:
        descriptor[-1] |= flags & 0x87
        return b"".join((descriptor, table, data))
    return bytes(descriptor) + data


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & _HAS_TABLE else 0


def _after_blocks(gif: bytes, at: int) -> int:
    while gif[at]:
        at += 1 + gif[at]
    return at + 1
