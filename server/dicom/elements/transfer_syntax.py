"""Properties of transfer syntaxes (PS3.5 section 10 and Annex A)."""

from dataclasses import dataclass
from struct import pack

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
GE_BIG_ENDIAN_PIXELS = "1.2.840.113619.5.2"
"""Private to GE: implicit VR little endian, except for Pixel Data in big-endian words."""
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"

_JPEG_START = b"\xff\xd8\xff"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JPEG_2000_BOX = b"\0\0\0\x0cjP  \r\n\x87\n"  # occurs, against PS3.5 section A.4.4
_JPEG_XL_START, _JPEG_XL_BOX = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"


@dataclass(frozen=True, slots=True)
class CodestreamMarks:
    """Byte patterns that identify the codestreams of a transfer syntax.

    starts: possible first bytes of a codestream; empty if there are no fixed ones.
    has_end: the last bytes are an end marker of the JPEG family.
    is_stream: all fragments are one stream, as for video.
    is_one_fragment: a frame never spans several fragments.
    """

    starts: tuple[bytes, ...] = ()
    has_end: bool = False
    is_stream: bool = False
    is_one_fragment: bool = False


_JPEG = CodestreamMarks(starts=(_JPEG_START,), has_end=True)
_JPEG_2000 = CodestreamMarks(starts=(_JPEG_2000_START, _JPEG_2000_BOX), has_end=True)
_JPEG_XL = CodestreamMarks(starts=(_JPEG_XL_START, _JPEG_XL_BOX))
_RLE = CodestreamMarks(starts=tuple(pack("<II", count, 64) for count in range(1, 16)))
"""Start of the RLE header (PS3.5 section G.5): number of segments, and the offset of the first, which equals the header
size."""
_ANY = CodestreamMarks(starts=(_JPEG_START, _JPEG_2000_START, _JPEG_2000_BOX, _JPEG_XL_BOX), has_end=True)
"""For private transfer syntaxes, most of which are a standard one under another UID."""


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """The encoding of a data set.

    has_big_endian_pixels: words of pixel data are big endian, independent of the data set.
    is_encapsulated: pixel data is compressed, in fragments.
    marks: identify the codestreams of frames.
    """

    uid: str
    is_implicit: bool = False
    is_big_endian: bool = False
    has_big_endian_pixels: bool = False
    is_deflated: bool = False
    is_encapsulated: bool = False
    marks: CodestreamMarks = _ANY


_NATIVE = (
    TransferSyntax(IMPLICIT_LITTLE, is_implicit=True),
    TransferSyntax(EXPLICIT_LITTLE),
    TransferSyntax(DEFLATED, is_deflated=True),
    TransferSyntax(EXPLICIT_BIG, is_big_endian=True, has_big_endian_pixels=True),
    TransferSyntax(GE_BIG_ENDIAN_PIXELS, is_implicit=True, has_big_endian_pixels=True),
)

_STANDARD = "1.2.840.10008.1.2"
_MARKS = {
    # .50 to .70: JPEG; .80 and .81: JPEG-LS, which begins with the same marker
    **{f"{_STANDARD}.4.{number}": _JPEG for number in (*range(50, 71), 80, 81)},
    **{f"{_STANDARD}.4.{number}": _JPEG_2000 for number in (90, 91, 201, 202, 203)},
    **{f"{_STANDARD}.4.{number}": _JPEG_XL for number in (110, 111, 112)},
    f"{_STANDARD}.5": _RLE,
    f"{_STANDARD}.8.1": CodestreamMarks(is_one_fragment=True),
    # JPEG 2000 Part 2, whose codestreams may contain several frames, and native frames in fragments
    **{uid: CodestreamMarks() for uid in (f"{_STANDARD}.4.92", f"{_STANDARD}.4.93", ENCAPSULATED_UNCOMPRESSED)},
}
_STREAM = CodestreamMarks(is_stream=True)

_KNOWN = {syntax.uid: syntax for syntax in _NATIVE} | {
    uid: TransferSyntax(uid, is_encapsulated=True, marks=marks) for uid, marks in _MARKS.items()
}


def transfer_syntax(uid: str) -> TransferSyntax:
    """Return the transfer syntax of a UID; an unknown one is assumed to be compressed and explicit little endian.

    Standard ones without an entry here are videos, or refer to external pixel data.
    """
    if known := _KNOWN.get(uid):
        return known
    is_standard = uid.startswith(f"{_STANDARD}.")
    return TransferSyntax(uid, is_encapsulated=True, marks=_STREAM if is_standard else _ANY)


def is_defined(uid: str) -> bool:
    """Return whether the data set encoding of a transfer syntax is known; private ones may use any."""
    return uid.startswith(_STANDARD) or uid in _KNOWN
