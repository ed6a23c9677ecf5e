"""GIF and APNG animations as streams with one frame in memory: the bytes before, between and after the frames.

The frames are rendered elsewhere (`Output.format` GIF or APNG); each is complete in itself. Animations repeat forever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack

from server.dicom.elements.canonical_json import Attributes, number, numbers
from server.dicom.presentation.png_container import IMAGE_END, SIGNATURE, chunk, image_header
from server.model.rendering import ImageFormat

_RECOMMENDED_DISPLAY_FRAME_RATE = "00082144"
_CINE_RATE = "00180040"
_FRAME_TIME, _FRAME_TIME_VECTOR = "00181063", "00181065"

_USUAL_DELAY_MS = 100.0
_SHORTEST_DELAY_MS, _MAX_DELAY_MS = 20.0, 10_000.0
"""Lower limit because browsers show frames of less than 20 ms for 100 ms."""

_GIF_TRAILER = b";"
_LOOP_FOREVER = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
_KEEP = 1 << 2
_MAX_GIF_DELAY = 0xFFFF


@dataclass(frozen=True, slots=True)
class Animation:
    """The container of an animation whose frames all have the same size.

    format: GIF or APNG.
    is_color: for APNG, which has one pixel format; GIF frames have colour tables of their own.
    """

    format: ImageFormat
    width: int
    height: int
    is_color: bool
    number_of_frames: int

    def head(self) -> bytes:
        """Return the bytes before the first frame."""
        if self.format is ImageFormat.GIF:
            return b"GIF89a" + pack("<2H3B", self.width, self.height, 0x70, 0, 0) + _LOOP_FOREVER
        control = chunk(b"acTL", pack(">2I", self.number_of_frames, 0))
        return SIGNATURE + image_header(self.width, self.height, is_color=self.is_color) + control

    def frame(self, index: int, blocks: bytes, delay_ms: float) -> bytes:
        """Return frame `index` (from 0), shown for `delay_ms`, from its rendered blocks."""
        if self.format is ImageFormat.GIF:
            hundredths = min(round(delay_ms / 10), _MAX_GIF_DELAY)
            return b"!\xf9\x04" + pack("<BHBx", _KEEP, hundredths, 0) + blocks
        # Control and data chunks share one numbering; the data of the first frame, an ordinary IDAT, is not counted.
        sequence = max(2 * index - 1, 0)
        place = pack(">5I", sequence, self.width, self.height, 0, 0)
        control = chunk(b"fcTL", place, pack(">2H2B", round(delay_ms), 1000, 0, 0))
        data = chunk(b"fdAT", pack(">I", sequence + 1), blocks) if index else chunk(b"IDAT", blocks)
        return control + data

    def tail(self) -> bytes:
        """Return the bytes after the last frame."""
        return _GIF_TRAILER if self.format is ImageFormat.GIF else IMAGE_END


def delays_ms(attributes: Attributes, frames: Sequence[int]) -> list[float]:
    """Return the duration of each frame in ms (PS3.3 sections C.7.6.5 and C.7.6.6), 20 ms to 10 s.

    In order of precedence: Recommended Display Frame Rate, Cine Rate, Frame Time or Frame Time Vector; without these,
    100 ms.

    Args:
        attributes: canonical DICOM JSON of the instance.
        frames: their numbers, from 1.
    """
    for tag in (_RECOMMENDED_DISPLAY_FRAME_RATE, _CINE_RATE):
        if (rate := number(attributes, tag)) and rate > 0:
            return [_bounded(1000 / rate)] * len(frames)
    vector = numbers(attributes, _FRAME_TIME_VECTOR)
    if vector and max(frames, default=0) <= len(vector):
        # A value is the time since the previous frame; the last frame is shown for its own value.
        following = [*vector[1:], vector[-1]]
        return [_bounded(following[frame - 1]) for frame in frames]
    return [_bounded(number(attributes, _FRAME_TIME) or 0)] * len(frames)


def _bounded(delay_ms: float) -> float:
    return min(max(delay_ms, _SHORTEST_DELAY_MS), _MAX_DELAY_MS) if delay_ms > 0 else _USUAL_DELAY_MS
