"""Transfer syntaxes as data (PS3.5 section 10 and Annex A)."""

from dataclasses import dataclass

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

_JPEG = (b"\xff\xd8\xff",)
_JPEG_2000 = (b"\xff\x4f\xff\x51",)
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a data set is encoded.

    is_encapsulated: pixel data is compressed and lies in fragments.
    frame_starts: what the bytes of a compressed frame begin with; empty where that can't be told.
    """

    uid: str
    is_implicit: bool = False
    is_big_endian: bool = False
    is_deflated: bool = False
    is_encapsulated: bool = False
    frame_starts: tuple[bytes, ...] = ()


_NATIVE = (
    TransferSyntax(IMPLICIT_LITTLE, is_implicit=True),
    TransferSyntax(EXPLICIT_LITTLE),
    TransferSyntax(DEFLATED, is_deflated=True),
    TransferSyntax(EXPLICIT_BIG, is_big_endian=True),
)

_FRAME_STARTS = {
    # .50 to .70: JPEG; .80 and .81: JPEG-LS, which begins with the same marker
    **{f"1.2.840.10008.1.2.4.{number}": _JPEG for number in (*range(50, 71), 80, 81)},
    **{f"1.2.840.10008.1.2.4.{number}": _JPEG_2000 for number in (90, 91, 92, 93, 201, 202, 203)},
    **{f"1.2.840.10008.1.2.4.{number}": _JPEG_XL for number in (110, 111, 112)},
}

_KNOWN = {syntax.uid: syntax for syntax in _NATIVE} | {
    uid: TransferSyntax(uid, is_encapsulated=True, frame_starts=starts) for uid, starts in _FRAME_STARTS.items()
}


def transfer_syntax(uid: str) -> TransferSyntax:
    """Return the transfer syntax; an unknown one is taken for compressed, and so for explicit little endian."""
    return _KNOWN.get(uid) or TransferSyntax(uid, is_encapsulated=True)
