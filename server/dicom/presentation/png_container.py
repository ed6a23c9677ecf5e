"""Signature and chunks of PNG files (ISO/IEC 15948)."""

from struct import pack
from zlib import crc32

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_BIT_DEPTH = 8
_GREY, _RGB = 0, 2


def chunk(kind: bytes, *data: bytes) -> bytes:
    """Return a chunk with the joined data."""
    body = b"".join((kind, *data))
    return b"".join((pack(">I", len(body) - len(kind)), body, pack(">I", crc32(body))))


def image_header(width: int, height: int, *, is_color: bool) -> bytes:
    """Return the IHDR chunk of an image of 8-bit samples."""
    return chunk(b"IHDR", pack(">2I5B", width, height, _BIT_DEPTH, _RGB if is_color else _GREY, 0, 0, 0))


IMAGE_END = chunk(b"IEND")
