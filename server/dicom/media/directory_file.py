"""Writing a DICOMDIR (PS3.3 Annex F, PS3.10 section 8.6), with only the open records in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any, BinaryIO

import orjson

from server.dicom.elements.element_headers import LONG_VRS
from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE
from server.dicom.media.directory_records import INSTANCE, PATIENT, SERIES, STUDY, Key
from server.dicom.part10.file_meta import new_file_meta

_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBERS = {"US": "H", "UL": "I"}
_CHARACTER_SET = 0x00080005
_UTF_8 = b"ISO_IR 192"
_IN_USE = pack("<H", 0xFFFF)
_MAX_OFFSET = 0xFFFFFFFF

# From the start of a record: its item header and the headers of its first elements have 8 bytes each.
_NEXT_AT = 16
_LOWER_AT = 38


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A file of the file-set.

    patient: the same text for all files of a patient.
    path: file ID, with `/` between its components (PS3.10 section 8.2).
    keys: as `directory_records.keys_of` returns them.
    """

    patient: str
    study: str
    series: str
    instance: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    keys: str


class TooLarge(Exception):
    """The DICOMDIR would have more than 4 GiB."""


class DirectoryWriter:
    """Writes a DICOMDIR to a file, which is empty at first and can be changed at any place.

    Args:
        uid: identifies the file-set.
    """

    def __init__(self, file: BinaryIO, uid: str) -> None:
        self._file = file
        meta = new_file_meta(
            b"", sop_class_uid=_MEDIA_STORAGE_DIRECTORY, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT_LITTLE
        )
        file.write(meta + _element(0x00041130, "CS", b""))
        self._first_at = file.tell() + 8
        file.write(_element(0x00041200, "UL", bytes(4)))
        self._last_at = file.tell() + 8
        file.write(_element(0x00041202, "UL", bytes(4)) + _element(0x00041212, "US", bytes(2)))
        file.write(pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, 0xFFFFFFFF))
        self._open: list[tuple[str, int]] = []
        """The open records of patient, study and series: what identifies them, and their offsets."""
        self._last = [0, 0, 0, 0]
        """Offset of the last record at each level below the open one above it."""
        self._counts = [0, 0, 0, 0]

    def add(self, entry: DirectoryEntry) -> None:
        """Add the record of a file. Files of a patient, of a study and of a series must follow each other.

        Raises: TooLarge, OSError.
        """
        kind, *keys = orjson.loads(entry.keys)
        levels = (("PATIENT", PATIENT, entry.patient), ("STUDY", STUDY, entry.study), ("SERIES", SERIES, entry.series))
        for depth, (name, wanted, identity) in enumerate(levels):
            if len(self._open) > depth and self._open[depth][0] == identity:
                continue
            del self._open[depth:]
            self._last[depth + 1 :] = [0] * (3 - depth)
            self._counts[depth + 1 :] = [0] * (3 - depth)
            self._open.append((identity, self._record(depth, name, b"", wanted, keys[depth])))
        file_id = entry.path.replace("/", "\\").encode()
        reference = (
            _element(0x00041500, "CS", file_id)
            + _element(0x00041510, "UI", entry.sop_class_uid.encode())
            + _element(0x00041511, "UI", entry.instance.encode())
            + _element(0x00041512, "UI", entry.transfer_syntax_uid.encode())
        )
        self._record(3, kind, reference, INSTANCE[kind], keys[3])

    def finish(self) -> None:
        """Write the end. Raises: OSError."""
        self._file.write(pack("<HHI", 0xFFFE, 0xE0DD, 0))
        self._patch(self._last_at, self._last[0])

    def _record(self, depth: int, kind: str, reference: bytes, wanted: Sequence[Key], keys: Mapping[str, Any]) -> int:
        """Write a record, refer to it from the record before it, and return its offset."""
        self._counts[depth] += 1
        content = (
            _element(0x00041400, "UL", bytes(4))
            + _element(0x00041410, "US", _IN_USE)
            + _element(0x00041420, "UL", bytes(4))
            + _element(0x00041430, "CS", kind.encode())
            + reference
            + _encoded(wanted, keys, self._counts[depth])
        )
        offset = self._file.tell()
        if offset > _MAX_OFFSET:
            raise TooLarge
        self._file.write(pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)
        if before := self._last[depth]:
            self._patch(before + _NEXT_AT, offset)
        else:
            self._patch(self._open[depth - 1][1] + _LOWER_AT if depth else self._first_at, offset)
        self._last[depth] = offset
        return offset

    def _patch(self, at: int, offset: int) -> None:
        end = self._file.tell()
        self._file.seek(at)
        self._file.write(pack("<I", offset))
        self._file.seek(end)


def _encoded(wanted: Sequence[Key], keys: Mapping[str, Any], number: int) -> bytes:
    """Return the keys of a record as elements."""
    values: dict[int, tuple[str, bytes]] = {}
    for tag, vr, type_, default in wanted:
        value = _value(vr, keys.get(tag, {}).get("Value", ()))
        if not value and type_ == 1:
            value = _value(vr, [str(number) if default is None else default])
        values[int(tag, 16)] = (vr, value)
    if not all(value.isascii() for vr, value in values.values() if vr not in _NUMBERS):
        values[_CHARACTER_SET] = ("CS", _UTF_8)
    return b"".join(_element(tag, *values[tag]) for tag in sorted(values))


def _value(vr: str, values: Sequence[Any]) -> bytes:
    """Return the values of an element of a DICOM JSON data set, in UTF-8."""
    if vr == "SQ":
        return b"".join(map(_item, values))
    if vr in _NUMBERS:
        return b"".join(pack(f"<{_NUMBERS[vr]}", int(value)) for value in values)
    return "\\".join(_text(value) for value in values).encode()


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "=".join(str(value.get(group, "")) for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value)


def _item(item: Mapping[str, Any]) -> bytes:
    """Return an item of a code sequence: elements with other than text values are left out."""
    content = b"".join(
        _element(int(tag, 16), element["vr"], _value(element["vr"], element["Value"]))
        for tag, element in sorted(item.items())
        if element["vr"] in _CODED and element.get("Value")
    )
    return pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


_CODED = frozenset({"CS", "DA", "DT", "LO", "PN", "SH", "SQ", "TM", "UC", "UI", "UR"})


def _element(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element in Explicit VR Little Endian, padded to even length (PS3.5 section 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    head = pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (pack("<HI", 0, len(value)) if vr in LONG_VRS else pack("<H", len(value))) + value
