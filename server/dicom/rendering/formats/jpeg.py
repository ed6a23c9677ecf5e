"""Images as JPEG."""

from struct import pack

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_START = b"\xff\xd8"
_APP0, _APP2 = b"\xff\xe0", b"\xff\xe2"
PROFILE_HEAD = b"ICC_PROFILE\0"
_MAX_SEGMENT_BYTES = 65533 - len(PROFILE_HEAD) - 2
_MAX_SEGMENTS = 255


def jpeg_of(rendered: NDArray[np.uint8], quality: int, profile: bytes) -> bytes:
    """Return a JPEG file, with an ICC profile if one is given.

    Chroma subsampling is 4:4:4 from quality 90, 4:2:2 from 75, and 4:2:0 below.
    """
    if rendered.ndim == 2:
        return bytes(imagecodecs.jpeg8_encode(rendered, level=quality))
    subsampling = "444" if quality >= 90 else "422" if quality >= 75 else "420"
    return with_profile(bytes(imagecodecs.jpeg8_encode(rendered, level=quality, subsampling=subsampling)), profile)


def with_profile(jpeg: bytes, profile: bytes) -> bytes:
    """Return a JPEG file with an ICC profile (ICC.1:2001-04 section B.4) after its JFIF segment."""
    if not profile or len(profile) > _MAX_SEGMENTS * _MAX_SEGMENT_BYTES:
        return jpeg
    parts = [profile[at : at + _MAX_SEGMENT_BYTES] for at in range(0, len(profile), _MAX_SEGMENT_BYTES)]
    segments = [
        _APP2 + pack(">H", 2 + len(PROFILE_HEAD) + 2 + len(part)) + PROFILE_HEAD + bytes((index, len(parts))) + part
        for index, part in enumerate(parts, 1)
    ]
    at = len(_START)
    if jpeg[at : at + 2] == _APP0:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return b"".join((jpeg[:at], *segments, jpeg[at:]))
