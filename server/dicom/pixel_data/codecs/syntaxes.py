"""Supported transfer syntaxes for decoding and encoding, and the Image Pixel attributes after transcoding.

The header of an instance is sent before any pixel is decoded, and single frames are sent without a header. Therefore
the new attributes are a function of the old ones, and as few as possible change.
"""

from dataclasses import replace

from server.dicom.elements.transfer_syntax import (
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from server.model.pixels import PixelDescription

RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEG_XL_JPEG = "1.2.840.10008.1.2.4.111"
JPEG_XL = "1.2.840.10008.1.2.4.112"

NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG})
# Native frames in fragments or deflated.
UNCODED = NATIVE | {ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAMES}
DCT = frozenset({JPEG_BASELINE, JPEG_EXTENDED})
LOSSLESS_JPEG = frozenset({JPEG_LOSSLESS, JPEG_LOSSLESS_SV1})
LS = frozenset({JPEG_LS, JPEG_LS_NEAR})
J2K = frozenset({JPEG_2000_LOSSLESS, JPEG_2000})
HT = frozenset({HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K})
XL = frozenset({JPEG_XL_LOSSLESS, JPEG_XL_JPEG, JPEG_XL})

DECODABLE: frozenset[str] = UNCODED | {RLE} | DCT | LOSSLESS_JPEG | LS | J2K | HT | XL

# In order of preference if the client has none.
ENCODABLE: tuple[str, ...] = (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    HTJ2K_LOSSLESS_RPCL,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_LS,
    JPEG_LOSSLESS_SV1,
    RLE,
    JPEG_XL_LOSSLESS,
    # These transfer syntaxes allow lossy compression; this encoder is lossless.
    HTJ2K,
    JPEG_2000,
    # The only lossy encoder.
    JPEG_BASELINE,
)

# Subsampled chroma; decoders interpolate it.
SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})

# Transfer syntaxes whose decoders do not convert colours.
_UNCONVERTED = UNCODED | {RLE} | LOSSLESS_JPEG | LS

_MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
_SINGLE = _MONOCHROME | {"PALETTE COLOR"}
_COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_RCT", "YBR_ICT"}) | SUBSAMPLED
_TRANSFORMED = frozenset({"YBR_RCT", "YBR_ICT"})
_WORD_BITS = frozenset({8, 16, 32, 64})
_MAX_CODEC_BITS = 16


def can_transcode(description: PixelDescription, source: str, target: str) -> bool:
    """Return whether frames with this description can be written in the transfer syntax `target`.

    Individual frames may still be damaged.
    """
    if target not in ENCODABLE or source not in DECODABLE:
        return False
    if source == target or (source in NATIVE and target in NATIVE):
        return True
    if description.sample_format != "integer":
        return source in UNCODED and target in NATIVE
    if not is_known(description):
        return False
    if description.has_embedded_overlays and not (source in UNCODED | {RLE} and target in NATIVE | {RLE}):
        return False
    if description.bits_allocated == 1:
        # Native frames may share bytes; frames that are written one by one must start at a byte.
        return target in NATIVE and description.rows * description.columns % 8 == 0
    is_partial = description.samples_per_pixel == 3 and description.photometric_interpretation.startswith("YBR_PARTIAL")
    if is_partial and target != JPEG_BASELINE and not (source in UNCODED and target in NATIVE):
        return False  # the samples would have to change
    if target in NATIVE:
        return True
    if target == RLE:
        return description.bits_allocated // 8 * description.samples_per_pixel <= 15
    if description.bits_allocated > _MAX_CODEC_BITS:
        return False
    if target == JPEG_BASELINE:
        is_plain = description.bits_stored == 8 and not description.is_signed
        return is_plain and description.photometric_interpretation in _MONOCHROME | _COLOURS
    if target == JPEG_XL_LOSSLESS:
        return not description.is_signed and decoded_photometric(description, source) != "YBR_FULL"
    return True


def described(description: PixelDescription, source: str, target: str) -> PixelDescription:
    """Return the description after transcoding from `source` to `target`.

    Requires `can_transcode(description, source, target)`.
    """
    if source == target or (source in UNCODED and target in NATIVE):
        return description
    photometric = decoded_photometric(description, source)
    if target in NATIVE or target == RLE:
        if source in UNCODED or source == RLE:
            return replace(description, photometric_interpretation=photometric)
        return replace(
            description, photometric_interpretation=photometric, high_bit=max(description.bits_stored - 1, 0)
        )
    if description.samples_per_pixel > 1:
        if target == JPEG_BASELINE:
            photometric = "YBR_FULL_422"
        elif target in J2K | HT and photometric == "RGB":
            photometric = "YBR_RCT"
    return replace(
        description,
        photometric_interpretation=photometric,
        high_bit=description.bits_stored - 1,
        planar_configuration=0,
    )


def decoded_photometric(description: PixelDescription, source: str) -> str:
    """Return the photometric interpretation of decoded samples, which have full chroma.

    Kept if possible: YBR_FULL is not converted to RGB, and repeated 4:2:2 chroma is YBR_FULL. YBR_RCT and YBR_ICT,
    which codecs undo, and the chroma that JPEG decoders interpolate, become RGB.
    """
    photometric = description.photometric_interpretation
    if description.samples_per_pixel == 1:
        return photometric
    if photometric == "YBR_FULL_422" and source in _UNCONVERTED:
        return "YBR_FULL"
    return "RGB" if photometric in SUBSAMPLED | _TRANSFORMED else photometric


def is_known(description: PixelDescription) -> bool:
    """Return whether the codecs support this pixel format."""
    if description.samples_per_pixel == 1:
        is_known = description.photometric_interpretation in _SINGLE
    else:
        is_known = description.samples_per_pixel == 3 and description.photometric_interpretation in _COLOURS
    return is_known and (description.bits_allocated in _WORD_BITS or description.bits_allocated == 1)
