"""The file meta information of a Part 10 file (PS3.10 section 7.1).

The group length is ignored: the meta information ends at the first element of another group. As in pydicom, meta
information with implicit VR is accepted, which the standard forbids and some writers produce.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct, pack

from server.dicom.elements import dictionary
from server.dicom.elements.element_headers import LONG_VRS
from server.dicom.elements.transfer_syntax import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE

PREFIX_END = 132
NEXT_HEADER_BYTES = 12
"""Number of bytes that `read_meta` requires after an element, to find out whether the next one is of another group."""

_GROUP = 2
_GROUP_LENGTH_HEAD = b"\2\0\0\0UL\4\0"
_MASK = b"#"
_MIN_MASKED_LENGTH = 16  # a sequence of so many digits and dots is part of a value, not of a header
_MAX_CACHED_BYTES = 4096
_TRANSFER_SYNTAX_UID = 0x0010
_PRIVATE_INFORMATION = (0x0100, 0x0102)
_MAX_SHORT_LENGTH = 0xFFFF
_IMPLEMENTATION_CLASS_UID = b"2.25.152405951230771313210763692461971624025"
"""Identifies files written by this program (PS3.7 section D.3.3.2); derived from a random UUID."""

_IMPLEMENTATION_VERSION_NAME = b"DICOMSTORE"
_LONG = frozenset(vr.encode() for vr in LONG_VRS)
_head = Struct("<HH2sH").unpack_from
_u32 = Struct("<I").unpack_from


@dataclass(frozen=True, slots=True)
class FileMeta:
    """Offset of the data set, and the transfer syntax UID; "" if the file does not state it."""

    end: int
    transfer_syntax_uid: str


def has_prefix(data: bytes) -> bool:
    """Return whether a file that starts with `data` has preamble and prefix."""
    return data[128:PREFIX_END] == b"DICM"


def read_meta(data: bytes, *, is_whole: bool) -> FileMeta | int:
    """Return the meta information at the start of `data`, or the number of bytes needed to continue.

    Args:
        data: from the start of the file.
        is_whole: nothing follows `data`.
    """
    position, uid = PREFIX_END, ""
    while len(data) - position >= (8 if is_whole else NEXT_HEADER_BYTES):
        group, number, _, start, stop = _element(data, position)
        if group != _GROUP:
            return FileMeta(position, uid)
        if stop > len(data):
            return stop
        if number == _TRANSFER_SYNTAX_UID:
            uid = data[start:stop].decode("latin-1").strip("\0 ")
        position = stop
    return FileMeta(position, uid) if is_whole and position == len(data) else position + NEXT_HEADER_BYTES


def meta_elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield element number, VR and value of each element of the meta information in `data`."""
    position = PREFIX_END
    while position < len(data):
        _, number, vr, start, stop = _element(data, position)
        known = vr or (dictionary.public_vr(_GROUP << 16 | number) or "UN").encode()
        yield number, known, data[start:stop]
        position = stop


def new_file_meta(old: bytes, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and file meta information for a data set that is re-encoded (PS3.10 section 7.1).

    All Type 1 elements are present and match the data set. The other elements of Table 7.1-1 are copied (the first of
    each); elements not in the table are omitted, as is incomplete private information.

    Args:
        old: the stored file up to the end of its file meta information.
        sop_class_uid, sop_instance_uid: of the data set.
        transfer_syntax_uid: of the new file.
    """
    kept: dict[int, tuple[str, bytes]] = {}
    for number, _, value in meta_elements(old):
        vr = dictionary.public_vr(_GROUP << 16 | number)
        if vr and number not in kept and (vr in LONG_VRS or len(value) <= _MAX_SHORT_LENGTH):
            kept[number] = (vr, value)
    if not all(number in kept for number in _PRIVATE_INFORMATION):
        for number in _PRIVATE_INFORMATION:
            kept.pop(number, None)
    kept.pop(0x0000, None)
    kept |= {
        0x0001: ("OB", b"\0\1"),
        0x0002: ("UI", sop_class_uid.encode()),
        0x0003: ("UI", sop_instance_uid.encode()),
        _TRANSFER_SYNTAX_UID: ("UI", transfer_syntax_uid.encode()),
        0x0012: ("UI", _IMPLEMENTATION_CLASS_UID),
        0x0013: ("SH", _IMPLEMENTATION_VERSION_NAME),
    }
    body = b"".join(_element_of(number, *kept[number]) for number in sorted(kept))
    return bytes(128) + b"DICM" + _element_of(0x0000, "UL", pack("<I", len(body))) + body


def replaced_file_meta(
    data: bytes, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> tuple[int, bytes] | None:
    """Return the offset of the data set in a file that starts with `data`, and `new_file_meta`; None if it has no end.

    The meta information of the instances of a series mostly differs in the SOP Instance UID only. The results are
    therefore cached with a placeholder of the same length, which contains no digits, instead of this UID.
    """
    end = _end_by_group_length(data)
    uid = sop_instance_uid.encode()
    mask = _MASK * len(uid)
    is_cacheable = 0 < end <= _MAX_CACHED_BYTES and len(uid) >= _MIN_MASKED_LENGTH and mask not in data[:end]
    if is_cacheable and _begins_another_group(data, end):
        text = _masked_file_meta(data[:end].replace(uid, mask), sop_class_uid, len(uid), transfer_syntax_uid)
        if text is not None:
            return end, text.replace(mask, uid)
    found = read_meta(data, is_whole=False)
    if not isinstance(found, FileMeta):
        return None
    uids = {"sop_class_uid": sop_class_uid, "sop_instance_uid": sop_instance_uid}
    return found.end, new_file_meta(data[: found.end], **uids, transfer_syntax_uid=transfer_syntax_uid)


@lru_cache(maxsize=256)
def _masked_file_meta(data: bytes, sop_class_uid: str, uid_length: int, transfer_syntax_uid: str) -> bytes | None:
    """Return `new_file_meta` for masked meta information; None if it does not end with `data`."""
    found = read_meta(data, is_whole=True)
    if not isinstance(found, FileMeta) or found.end != len(data):
        return None
    mask = (_MASK * uid_length).decode()
    return new_file_meta(
        data, sop_class_uid=sop_class_uid, sop_instance_uid=mask, transfer_syntax_uid=transfer_syntax_uid
    )


def _end_by_group_length(data: bytes) -> int:
    """Return the end of the meta information according to its group length; 0 if it does not begin with one."""
    if data[PREFIX_END : PREFIX_END + 8] != _GROUP_LENGTH_HEAD:
        return 0
    start = PREFIX_END + 12
    return start + int(_u32(data, start - 4)[0]) if len(data) >= start else 0


def _begins_another_group(data: bytes, position: int) -> bool:
    """Return whether a whole header follows, of an element that is not part of the meta information."""
    return len(data) - position >= NEXT_HEADER_BYTES and _head(data, position)[0] != _GROUP


def guessed_transfer_syntax(data: bytes) -> str:
    """Guess the transfer syntax of a data set without meta information from its first six bytes, as pydicom does."""
    group, _, vr, _ = _head(data.ljust(8, b"\0"))
    if not (vr.isalpha() and vr.isupper()):
        return IMPLICIT_LITTLE
    # A big-endian group number reads as a large one.
    return EXPLICIT_BIG if group >= 1024 else EXPLICIT_LITTLE


def _element_of(number: int, vr: str, value: bytes) -> bytes:
    """Return an encoded element, with the value padded to even length (PS3.5 section 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    head = pack("<HH", _GROUP, number) + vr.encode()
    return head + (pack("<HI", 0, len(value)) if vr in LONG_VRS else pack("<H", len(value))) + value


def _element(data: bytes, position: int) -> tuple[int, int, bytes, int, int]:
    """Return group, element number, VR (empty if implicit), and start and end of the value of an element."""
    group, number, vr, length = _head(data, position)
    start = position + 8
    if not (vr.isalpha() and vr.isupper()):
        vr, length = b"", _u32(data, position + 4)[0]
    elif vr in _LONG:
        # A truncated header ends after the data.
        start = position + 12
        length = _u32(data, position + 8)[0] if start <= len(data) else 0
    return group, number, vr, start, start + length
