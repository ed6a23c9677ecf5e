"""The description of an image for decoders and encoders, and the job of transcoding a frame.

Plain values that are sent to worker processes; only those import numpy and codecs.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel module of an instance (PS3.3 section C.7.6.3), as stored or after re-encoding.

    sample_format: "integer" for Pixel Data, "float" for Float Pixel Data, "double" for Double Float Pixel Data.
    planar_configuration: 0, colour by pixel; 1, colour by plane. Without meaning for one sample per pixel.
    has_embedded_overlays: unused bits of the pixel cells hold overlay planes (retired), which not every codec
        preserves.
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
    """The job of writing one frame in another transfer syntax.

    data: native frame, little endian (1-bit images start at the first bit), or the codestream of the frame.
    description: of the stored instance.
    """

    data: bytes
    description: PixelDescription
    source: str
    target: str
