"""Length of an element whose VR is not defined in PS3.5.

Since 2016 any new VR has a 32-bit length (PS3.5 section 7.1.2, note of table 7.1-1), so that readers can skip it. Some
writers use VRs of their own with a 16-bit length; the bytes after the value show which of the two it is.
"""

from collections.abc import Container
from itertools import product
from string import ascii_uppercase

from server.dicom.elements import element_headers
from server.dicom.elements.element_headers import LONG_VRS, SHORT_VRS, UNDEFINED_LENGTH, ElementTable, Entry

_HEAD_BYTES = 8
_LONG_HEAD_BYTES = 12
_MAX_AHEAD_BYTES = 1 << 16
"""Maximum 32-bit length that is followed; 16-bit lengths always are."""

_DEFINED = LONG_VRS | SHORT_VRS
_TWO_LETTERS = frozenset(map("".join, product(ascii_uppercase, repeat=2)))


class NeedsMore(Exception):
    """The decision needs that many bytes from the start of the element."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class UnknownVr:
    """An element with an undefined VR, and the available bytes after it.

    Args:
        entry: of the element, with a 16-bit length.
        data: contains the element at `position`.
        table: of the encoding.
        available_bytes: number of bytes from the start of the element to the end of its data set.
        is_item: the data set is an item.
        is_last: nothing follows `data`.
    """

    def __init__(
        self,
        entry: Entry,
        data: bytes,
        position: int,
        *,
        table: ElementTable,
        available_bytes: float,
        is_item: bool,
        is_last: bool,
    ) -> None:
        self._entry = entry
        self._data = data
        self._position = position
        self._table = table
        self._available_bytes = available_bytes
        self._is_item = is_item
        self._is_last = is_last

    def form(self) -> Entry | None:
        """Return the entry to read the element with; None if neither length leads to an element.

        Raises:
            NeedsMore
        """
        table, short_form = self._table, self._entry
        long_form = short_form._replace(unpack=table.u32, length_at=8, value_at=_LONG_HEAD_BYTES)
        short = table.u16(self._data, self._position + 6)[0]
        if short and self._has_next(_HEAD_BYTES + short):
            return short_form
        if not self._has(_LONG_HEAD_BYTES):
            return None if short else short_form
        length = table.u32(self._data, self._position + 8)[0]
        if length == UNDEFINED_LENGTH or (length <= _MAX_AHEAD_BYTES and self._has_next(_LONG_HEAD_BYTES + length)):
            return long_form
        if short:
            return None
        # The reserved bytes of the 32-bit form, or an empty value directly followed by the next element.
        is_empty = self._has(2 * _HEAD_BYTES) and self._starts_element(_HEAD_BYTES, _DEFINED)
        return short_form if is_empty else long_form

    def _has_next(self, at: int) -> bool:
        """True if the data set ends at offset `at` from the start of the element, or continues with an element."""
        if self._available_bytes - at < _HEAD_BYTES:
            return at <= self._available_bytes  # fewer bytes than a header are padding
        if not self._has(at + _HEAD_BYTES):
            return at <= len(self._data) - self._position
        return self._starts_element(at, _TWO_LETTERS)

    def _starts_element(self, at: int, vrs: Container[str]) -> bool:
        """Return whether an element of one of these VRs, or the end of a data set, is at `at`."""
        tag, start = self._tag_at(at), self._position + at
        if tag in (element_headers.ITEM_DELIMITER, element_headers.SEQUENCE_DELIMITER):
            return self._is_item
        vr = self._data[start + 4 : start + 6].decode("latin-1")
        if not any(self._data[start : start + _HEAD_BYTES]):
            return not self._is_item
        return tag > self._entry.tag and vr in vrs and (vr == "UL" or not element_headers.is_group_length(tag))

    def _has(self, count: int) -> bool:
        """Return whether `count` bytes from the start of the element exist. Raises NeedsMore."""
        if count > self._available_bytes:
            return False
        has_arrived = len(self._data) - self._position >= count
        if not has_arrived and not self._is_last:
            raise NeedsMore(count)
        return has_arrived

    def _tag_at(self, at: int) -> int:
        u16, start = self._table.u16, self._position + at
        return int(u16(self._data, start)[0]) << 16 | int(u16(self._data, start + 2)[0])
