"""Positions of frames in native pixel data, and the form of its samples (PS3.5 sections 8.1.1 and 8.2; PS3.3 C.7.6.3).

The length of native pixel data may contradict the Image Pixel attributes. If exactly one interpretation fits the
length, it
is used: the attributes as they are, one of them corrected, or another number of frames. Otherwise frames cannot be
    separated, and the pixel data is only returned as stored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from server.model.instance import PixelLayout

_SAMPLES_OF_TWO_PIXELS = {"YBR_FULL_422": 4, "YBR_PARTIAL_422": 4, "YBR_PARTIAL_420": 3}
_SAMPLES_OF_COLOURS = {"ARGB": 4, "CMYK": 4}
_WORD_BITS = (8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class SampleForm:
    """The form in which pixels of a frame are stored.

    has_whole_chroma: there are three samples for every pixel, although the photometric interpretation means fewer.
    is_likely: the corrected attribute resolves an existing contradiction, or the error is common; preferred to another
        number of frames.
    """

    samples_per_pixel: int
    photometric_interpretation: str
    bits_allocated: int
    has_whole_chroma: bool = False
    is_likely: bool = False

    @property
    def label(self) -> str:
        """Return the photometric interpretation of the samples."""
        is_full = self.has_whole_chroma and self.photometric_interpretation == "YBR_FULL_422"
        return "YBR_FULL" if is_full else self.photometric_interpretation

    def frame_bits(self, rows: int, columns: int) -> int:
        """Return the size of a frame in bits; 0 if it cannot be determined."""
        of_two = 2 * self.samples_per_pixel
        if self.samples_per_pixel == 3 and not self.has_whole_chroma:
            of_two = _SAMPLES_OF_TWO_PIXELS.get(self.photometric_interpretation, of_two)
        return rows * columns * self.bits_allocated * of_two // 2


@lru_cache(maxsize=256)
def sample_forms(
    samples_per_pixel: int, photometric_interpretation: str, bits_allocated: int, bits_stored: int
) -> tuple[SampleForm, ...]:
    """Return the form given by the attributes, then forms with one attribute corrected.

    bits_stored: 0 if absent.
    """
    return tuple(_sample_forms(samples_per_pixel, photometric_interpretation, bits_allocated, bits_stored))


def _sample_forms(
    samples_per_pixel: int, photometric_interpretation: str, bits_allocated: int, bits_stored: int
) -> Iterator[SampleForm]:
    declared = SampleForm(samples_per_pixel, photometric_interpretation, bits_allocated)
    yield declared
    if samples_per_pixel == 3 and photometric_interpretation in _SAMPLES_OF_TWO_PIXELS:
        # Some software does not correct Photometric Interpretation on decompression.
        yield replace(declared, has_whole_chroma=True, is_likely=True)
    if samples_per_pixel == 3 and photometric_interpretation == "YBR_FULL":
        yield replace(declared, photometric_interpretation="YBR_FULL_422")
    samples = _samples_of(photometric_interpretation)
    if samples not in (0, samples_per_pixel):
        yield replace(declared, samples_per_pixel=samples, is_likely=True)
    for bits in _WORD_BITS:
        is_contradiction = bits_stored > bits_allocated or bits_allocated not in (1, *_WORD_BITS)
        if (
            bits != bits_allocated
            and bits >= bits_stored
            and (bits < bits_allocated or is_contradiction or bits_allocated == 1)
        ):
            yield replace(declared, bits_allocated=bits, is_likely=is_contradiction)


def native_layout(
    forms: Sequence[SampleForm],
    *,
    size: tuple[int, int],
    number_of_frames: int,
    offset: int,
    length: int,
    missing: int = 0,
) -> tuple[PixelLayout, SampleForm | None]:
    """Return the layout of native pixel data, and the only form that fits its length; None if none or several fit.

    Args:
        forms: as returned by `sample_forms`.
        size: rows and columns.
        number_of_frames: Number of Frames, at least 1.
        offset, length: of the value, as far as it is present.
        missing: number of bytes missing because the file is truncated.
    """
    form, count, whole = forms[0], number_of_frames, length + missing
    frame_bits = form.frame_bits(*size)
    if not _fits(frame_bits, count, whole):
        fitting = [other for other in forms[1:] if _fits(other.frame_bits(*size), count, whole)]
        fitting = [other for other in fitting if other.is_likely] or fitting
        frames = whole * 8 // frame_bits if frame_bits else 0
        has_whole_frames = bool(frames) and _fits(frame_bits, frames, whole)
        if len(fitting) > 1 or (fitting and has_whole_frames and not fitting[0].is_likely):
            return _opaque(offset, length), None
        if fitting:
            form = fitting[0]
        else:
            # Bytes after the last whole frame are padding.
            count = frames if has_whole_frames else min(frames, number_of_frames)
        frame_bits = form.frame_bits(*size)
    if not frame_bits or not count:
        return _opaque(offset, length), None
    if missing:
        count = min(count, length * 8 // frame_bits)  # possibly 0
    return PixelLayout(count, offset, length, form.bits_allocated, frame_bits), form


def _fits(frame_bits: int, number_of_frames: int, length: int) -> bool:
    """Return whether the frames fill the value, with or without padding to even length (PS3.5 section 7.1.1)."""
    wanted = -(-frame_bits * number_of_frames // 8)
    return frame_bits > 0 and wanted <= length <= wanted + wanted % 2


def _samples_of(photometric_interpretation: str) -> int:
    """Return the samples per pixel of a photometric interpretation; 0 if it is unknown."""
    if photometric_interpretation.startswith(("MONOCHROME", "PALETTE")):
        return 1
    if photometric_interpretation.startswith(("RGB", "YBR", "HSV")):
        return 3
    return _SAMPLES_OF_COLOURS.get(photometric_interpretation, 0)


def _opaque(offset: int, length: int) -> PixelLayout:
    """Return the layout of pixel data whose frames cannot be separated: all of it is one frame."""
    return PixelLayout(1, offset, length, 0, length * 8)
