"""The beginning of a file: file meta information (PS3.10 section 7.1), and identifiers of the data set behind it."""

from functools import lru_cache
from struct import Struct, pack

from dimse.associations.negotiation import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dimse.associations.pdus import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED = 0xFFFFFFFF
_LITTLE, _BIG = (Struct("<HH"), Struct("<H"), Struct("<I")), (Struct(">HH"), Struct(">H"), Struct(">I"))


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and file meta information.

    They depend on these UIDs only, so that an instance that is sent again, also by another peer, has identical bytes.
    """
    before, after = _constant(sop_class_uid, transfer_syntax_uid)
    instance = _element(0x0003, b"UI", sop_instance_uid.encode("latin-1"))
    length = len(before) + len(instance) + len(after)
    return b"".join((_PREFIX, _element(0x0000, b"UL", pack("<I", length)), before, instance, after))


def identifiers(data: memoryview, transfer_syntax_uid: str) -> tuple[str, str] | None:
    """Return SOP Class UID and SOP Instance UID at the beginning of a data set.

    None if they are not there: the data set is deflated or unusual. The core decides then.
    """
    if transfer_syntax_uid in _DEFLATED:
        return None
    is_implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    tag_of, short_of, long_of = _BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else _LITTLE
    found: dict[int, str] = {}
    position, end = 0, len(data)
    while position + 12 <= end and len(found) < 2:
        group, number = tag_of.unpack_from(data, position)
        tag = group << 16 | number
        if tag > _SOP_INSTANCE_UID:
            return None
        if is_implicit:
            (length,) = long_of.unpack_from(data, position + 4)
            position += 8
        elif bytes(data[position + 4 : position + 6]) in _LONG_VRS:
            (length,) = long_of.unpack_from(data, position + 8)
            position += 12
        else:
            (length,) = short_of.unpack_from(data, position + 6)
            position += 8
        if length == _UNDEFINED or position + length > end:
            return None
        if tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID):
            found[tag] = bytes(data[position : position + length]).decode("latin-1").strip("\0 ")
        position += length
    if len(found) < 2:
        return None
    return found[_SOP_CLASS_UID], found[_SOP_INSTANCE_UID]


@lru_cache(256)
def _constant(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Return the elements before and after the SOP Instance UID."""
    before = _element(0x0001, b"OB", b"\0\1") + _element(0x0002, b"UI", sop_class_uid.encode("latin-1"))
    after = (
        _element(0x0010, b"UI", transfer_syntax_uid.encode("latin-1"))
        + _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode())
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode())
    )
    return before, after


_PREFIX = bytes(128) + b"DICM"


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr == b"SH" else b"\0"
    if vr == b"OB":
        return pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
    return pack("<HH2sH", 2, number, vr, len(value)) + value
