"""Where frames lie in native pixel data (PS3.5 sections 8.1.1 and 8.2; PS3.3 section C.7.6.3)."""

from server.model.instance import PixelLayout


def native_layout(
    *, number_of_frames: int, offset: int, length: int, bits_allocated: int, frame_bits: int
) -> PixelLayout:
    """Return the layout of uncompressed pixel data; if no frame of the known size fits in, all of it is one frame."""
    if not 0 < frame_bits <= length * 8:
        return PixelLayout(1, offset, length, bits_allocated, length * 8)
    return PixelLayout(number_of_frames, offset, length, bits_allocated, frame_bits)
