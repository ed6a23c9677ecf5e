"""The file meta information of a Part 10 file (PS3.10 section 7.1)."""

from dataclasses import dataclass
from struct import Struct

PREFIX_END = 132
_TRANSFER_SYNTAX_UID = 0x00020010
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_head = Struct("<HH2sH").unpack_from
_u32 = Struct("<I").unpack_from


@dataclass(frozen=True, slots=True)
class FileMeta:
    """Where the data set begins, and the transfer syntax UID, "" if the file doesn't say."""

    end: int
    transfer_syntax_uid: str


def has_prefix(data: bytes) -> bool:
    """Say whether a file that begins with `data` has its preamble and prefix."""
    return data[128:PREFIX_END] == b"DICM"


def read_meta(data: bytes, *, is_whole: bool) -> FileMeta | int:
    """Return the meta information at the beginning of `data`, or how many bytes are needed to go on looking.

    Ends where the first element of another group begins; the group length is not relied upon. Like pydicom, reads
    meta information with implicit VR, too, which the standard forbids and some writers make.

    Args:
        is_whole: nothing comes after `data`.
    """
    position, uid = PREFIX_END, ""
    while len(data) - position >= 12 or (is_whole and len(data) - position >= 8):
        group, number, vr, length = _head(data, position)
        if group != 2:
            return FileMeta(position, uid)
        start = position + 8
        if not (vr.isalpha() and vr.isupper()):
            length = _u32(data, position + 4)[0]
        elif vr in _LONG_VRS:
            if len(data) - position < 12:
                break
            length, start = _u32(data, position + 8)[0], position + 12
        stop: int = start + length
        if stop > len(data):
            return stop
        if number == _TRANSFER_SYNTAX_UID & 0xFFFF:
            uid = data[start:stop].decode("latin-1").strip("\0 ")
        position = stop
    if is_whole:
        return FileMeta(position, uid)
    return position + 12


def guessed_transfer_syntax(data: bytes) -> str:
    """Return the transfer syntax of a data set whose file doesn't name one, by its first six bytes, as pydicom does."""
    group, _, vr, _ = _head(data.ljust(8, b"\0"))
    if not (vr.isalpha() and vr.isupper()):
        return "1.2.840.10008.1.2"
    # Big endian groups look like large ones.
    return "1.2.840.10008.1.2.2" if group >= 1024 else "1.2.840.10008.1.2.1"
