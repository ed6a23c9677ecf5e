"""Bytes after the last element of a data set, which belong to no element.

Writers and transfers append megabytes of zeros, 0xFF or spaces, or a second file. Recognised as trailing bytes:

* eight or more bytes that are all 0x00, 0xFF or 0x20 where an element should start. Other bytes after them must be a
  second file, recognised by `DICM`; after zeros they may also be elements;
* a second file with a non-zero preamble;
* after Pixel Data or Data Set Trailing Padding, everything from the first bytes that are not an element.
"""

import re

from server.dicom.elements import element_headers
from server.dicom.elements.element_headers import ElementTable, Entry
from server.dicom.elements.unknown_vr import NeedsMore
from server.dicom.part10.nesting import DataSet
from server.model.errors import InvalidRequest, Reason

_BLOCK = 8
_PREFIX = b"DICM"
_PREFIX_AT = 128
_MAX_AHEAD_BYTES = 1 << 16
_RUNS = {filler: re.compile(b"%b*" % re.escape(bytes([filler]))) for filler in (0x00, 0xFF, 0x20)}


class TrailingBytes:
    """Skips trailing bytes without storing them; see `server.dicom.part10.parser.Inner`.

    Args:
        filler: the value of all bytes so far; None if no element can follow, whatever the bytes are.

    Attributes:
        has_others: there were bytes other than zeros.
        is_last: nothing follows the fed data.
    """

    def __init__(self, filler: int | None) -> None:
        self.needed = _BLOCK
        self.is_done = False
        self.kept_bytes = 0
        self.is_last = False
        self.has_others = bool(filler)
        self._filler = filler

    def advance(self, data: bytes, base: int, position: int) -> int:
        """Continue at `position` in `data`; return the position reached.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, 0xFF or spaces are followed by other bytes.
        """
        if self._filler is not None:
            position = self._pass_filler(data, position, self._filler)
        if self._filler is None:
            self.has_others = self.has_others or data.count(0, position) < len(data) - position
            return len(data)
        return position

    def _pass_filler(self, data: bytes, position: int, filler: int) -> int:
        """Skip whole blocks of filler, so that the offsets of following elements are preserved."""
        run = _RUNS[filler].match(data, position)
        assert run is not None
        stop = run.end()
        position += (stop - position) // _BLOCK * _BLOCK
        if stop == len(data):
            self.needed = _BLOCK
        elif data.startswith(_PREFIX, stop):
            self._filler = None
        elif len(data) - stop < len(_PREFIX) and not self.is_last:
            self.needed = stop + len(_PREFIX) - position
        elif filler:
            raise InvalidRequest(Reason.UNREADABLE_INSTANCE, "The data set contains bytes that are not a data element.")
        else:
            self.is_done = True
        return position


def trailing_bytes(
    data: bytes, position: int, entry: Entry, *, data_set: DataSet, last_tag: int, is_last: bool
) -> TrailingBytes | None:
    """Return a `TrailingBytes` for the bytes from `position` on; None if an element starts there.

    Args:
        data: contains at least the header of an element at `position`.
        entry: of that header; of an unknown VR, or with one of `FILLER_TAGS`.
        data_set: the top-level one.
        last_tag: the processed tag of `LAST_ELEMENTS`; 0 for none.
        is_last: nothing follows `data`.

    Raises:
        NeedsMore
    """
    filler = data[position]
    if filler in _RUNS and data.startswith(bytes([filler]) * _BLOCK, position):
        return TrailingBytes(None if last_tag else filler)
    if entry.vr not in (element_headers.MISSING, element_headers.UNDEFINED):
        return None
    prefix_end = position + _PREFIX_AT + len(_PREFIX)
    if len(data) < prefix_end and not is_last:
        raise NeedsMore(prefix_end - position)
    if data.startswith(_PREFIX, position + _PREFIX_AT):
        return TrailingBytes(None)
    if not last_tag or entry.vr == element_headers.UNDEFINED:
        return None
    return None if _is_element(data, position, entry, data_set, last_tag, is_last) else TrailingBytes(None)


def _is_element(data: bytes, position: int, entry: Entry, data_set: DataSet, last_tag: int, is_last: bool) -> bool:
    """Return whether an unknown tag after the last certain element is an element."""
    tag, table = entry.tag, data_set.table
    if tag <= last_tag:
        return False
    if table.is_implicit and element_headers.is_private(tag) and data_set.creator_of(tag):
        return True
    length = entry.unpack(data, position + entry.length_at)[0]
    stop = position + entry.value_at + length
    if length > _MAX_AHEAD_BYTES:
        return False
    if len(data) - stop < _BLOCK:
        if not is_last:
            raise NeedsMore(stop + _BLOCK - position)
        return bool(stop <= len(data))
    return _tag_at(table, data, stop) > tag or not any(data[stop : stop + _BLOCK])


def _tag_at(table: ElementTable, data: bytes, position: int) -> int:
    return int(table.u16(data, position)[0]) << 16 | int(table.u16(data, position + 2)[0])
