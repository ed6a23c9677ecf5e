"""What decoders and encoders have to know of an image, and the work that is done on single frames.

These are plain values, so that they can cross to another process; numpy and codecs are for those who do the work.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel module of an instance (PS3.3 section C.7.6.3), or what becomes of it after re-encoding.

    sample_format: "integer" for Pixel Data, "float" for Float Pixel Data, "double" for Double Float Pixel Data.
    planar_configuration: 0, colour by pixel; 1, colour by plane. Of no meaning with one sample per pixel.
    has_embedded_overlays: bits beyond the stored ones are overlay planes (retired), which not every codec can carry.
    """

    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    planar_configuration: int
    sample_format: str = "integer"
    has_embedded_overlays: bool = False


@dataclass(frozen=True, slots=True)
class TranscodeFrame:
    """Write one frame in another transfer syntax.

    data: native, little endian (of 1-bit images beginning with the first bit), or the frame's codestream.
    description: of the instance as it is stored.
    """

    data: bytes
    description: PixelDescription
    source: str
    target: str
