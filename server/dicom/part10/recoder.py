"""Re-encodes a data set element by element (PS3.5 sections 7 and A.1 to A.4); pixel data is left to the caller.

Sequences and items get undefined length, so that no length must be known in advance. Group lengths, which would be
wrong, and command elements are omitted. So are fragments in elements other than pixel data, and, in implicit VR, values
of another VR in attributes that are sequences, because readers would parse them as items.
"""

from collections.abc import Callable, Mapping
from struct import Struct, pack

from server.dicom.elements import dictionary, element_headers
from server.dicom.elements.element_headers import ElementTable, Entry
from server.dicom.part10.nesting import DataSet, Items
from server.dicom.part10.parser import Walk
from server.dicom.part10.trailing_bytes import TrailingBytes
from server.dicom.pixel_data.fragments import AFTER_PIXEL_DATA, find_delimiter
from server.dicom.pixel_data.frames import swapped, word_bytes

_LONG_VRS = element_headers.LONG_VRS
_UNDEFINED = element_headers.UNDEFINED_LENGTH
_MAX_HELD_BYTES = 1 << 16
_MAX_SHORT_LENGTH = 0xFFFF
_BITS_ALLOCATED = 0x00280100
_LAST_TAG = 0xFFFFFFFF
_ICON_IMAGE_SEQUENCE = 0x00880200
_MAX_ICON_BYTES = 1 << 20
"""A larger Icon Image Sequence is omitted: it must be buffered until its end shows whether it can be kept."""

_VALUE_UNITS = {
    **dict.fromkeys(("AT", "SS", "US"), 2),
    **dict.fromkeys(("FL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "SV", "UV"), 8),
}


class Recoder(Walk):
    """Re-encoding of one data set in little-endian byte order.

    Args:
        at, explicit, implicit, is_implicit: of the input, see `Walk`.
        to_implicit: write implicit VR instead of explicit VR.
        changes: top-level elements by tag, as VR and little-endian value, that replace existing ones or are inserted;
            None removes an element. Sequences cannot be changed.
        stop_at: tag of the pixel data to be replaced: at this top-level element the recoder stops, until `resume`.
        keeps_compressed_icons: False omits compressed pixel data in items, which would not have the new transfer
            syntax: an Icon Image Sequence as a whole (it is Type 3, PS3.3 section C.7.6.1), elsewhere the element.
        has_big_endian_pixels: words of pixel data are big endian.
        size_bytes: of the file, if known: truncated pixel data gets its actual length, and an apparent element after it
            that exceeds the file is omitted.

    Attributes:
        has_stopped: the element `stop_at` was reached.
    """

    def __init__(
        self,
        at: int,
        *,
        explicit: ElementTable,
        implicit: ElementTable,
        is_implicit: bool,
        to_implicit: bool,
        changes: Mapping[int, tuple[str, bytes] | None] | None = None,
        stop_at: int | None = None,
        keeps_compressed_icons: bool = False,
        has_big_endian_pixels: bool = False,
        size_bytes: int | None = None,
    ) -> None:
        super().__init__(at, explicit=explicit, implicit=implicit, is_implicit=is_implicit)
        self.has_stopped = False
        self._to_implicit = to_implicit
        self._changed = frozenset(changes or ())
        self._coming = sorted((changes or {}).items(), reverse=True)
        self._stop_at = stop_at
        self._keeps_compressed_icons = keeps_compressed_icons
        self._has_big_endian_pixels = has_big_endian_pixels
        self._size_bytes = size_bytes
        self._padding = b""
        self._out: list[bytes] = []
        self._icon: _Icon | None = None
        self._bits_allocated = 0

    def taken(self) -> bytes:
        """Return the output since the last call."""
        written = b"".join(self._out)
        self._out.clear()
        return written

    def write_pixels(self, vr: str, length: int | None) -> None:
        """Write the header of the new pixel data; a length of None means encapsulated."""
        assert self._stop_at is not None, "there are pixels to write"
        self._write(self._head(self._stop_at, vr, _UNDEFINED if length is None else length))

    def resume(self, at: int) -> None:
        """Continue with the bytes fed next, from position `at` in the file."""
        self._inner = None
        self.at = at

    def finish(self, end: int, rest: bytes) -> None:
        """Check that the data set is complete; the last value may be truncated.

        Args:
            end: end of the data set in the file.
            rest: the last bytes, from `at` on; empty if `at` is beyond.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE.
        """
        self._end_at(end, rest)
        if isinstance(self._inner, _CopyFragments) and self._inner.can_end and self._open is self._top:
            self._inner.finish()
            self._inner = None
        self._write_changes(_LAST_TAG)
        if not (isinstance(self._inner, _Copy) and self._open is self._top):
            self._check_end(end)

    def _run(self, data_set: DataSet) -> None:
        """There is no faster path."""

    def _passed(self, count: int) -> None:
        """Not counted."""

    def _irregular(self, tag: int, vr: str, message: str) -> None:
        """Already reported when the instance was stored."""

    def _take_value(self, data_set: DataSet, entry: Entry, vr: str, length: int) -> bool:
        start, tag = self._pos + entry.value_at, entry.tag
        if data_set is self._top:
            if self._is_cut_trailer(tag, start + length):
                self._inner = TrailingBytes(None)  # trailing bytes that resemble an element
                return True
            self._write_changes(tag)
            if tag == self._stop_at:
                self._stop()
                return True
            length = self._existing(tag, start, length)
        is_held = length <= _MAX_HELD_BYTES
        if is_held and start + length > len(self._data):
            return self._wait(entry.value_at + length)
        is_left_out = (
            not tag & 0xFFFF
            or not tag >> 16
            or (data_set is self._top and tag in self._changed)
            or (self._to_implicit and length > 0 and dictionary.public_vr(tag) == element_headers.SEQUENCE)
        )
        vr = self._written_vr(data_set, entry, vr)
        unit = self._unit(data_set, tag, vr)
        write = _nothing if is_left_out else self._write
        write(self._head(tag, vr, length + len(self._padding)))
        self._pos = start
        if is_held:
            raw = self._data[start : start + length]
            write(swapped(raw, unit))
            self._inner_done()
            self._note_value(data_set, tag, raw)
            self._pos += length
        else:
            self._inner = _Copy(length, unit, write)
        return True

    def _take_sequence(self, data_set: DataSet, entry: Entry, length: int) -> bool:
        return False

    def _take_encapsulated(self, data_set: DataSet, entry: Entry, vr: str) -> None:
        has_pixels = entry.tag in element_headers.PIXEL_DATA
        if data_set is self._top:
            self._write_changes(entry.tag)
            if entry.tag == self._stop_at:
                self._stop()
                return
        elif has_pixels and not self._keeps_compressed_icons:
            if self._icon is not None:
                self._icon.is_left_out = True
            has_pixels = False
        # Only pixel data may consist of fragments (PS3.5 section A.4). Its VR is then OB.
        if has_pixels:
            self._write(self._head(entry.tag, "OB", _UNDEFINED))
        self._inner = _CopyFragments(data_set.table, data_set.cut_at, self._write if has_pixels else _nothing)

    def _is_cut_trailer(self, tag: int, stop: int) -> bool:
        """Return whether padding, or an element after the pixel data, exceeds the file."""
        is_last = tag == element_headers.TRAILING_PADDING or bool(self._last_element)
        is_behind = is_last and tag not in element_headers.PIXEL_DATA
        return is_behind and self._size_bytes is not None and self._base + stop > self._size_bytes

    def _existing(self, tag: int, start: int, length: int) -> int:
        """Return the available length of a top-level value: pixel data may be truncated."""
        if self._size_bytes is None or tag not in element_headers.PIXEL_DATA:
            return length
        existing = min(length, self._size_bytes - self._base - start)
        self._padding = bytes(existing % 2) if existing < length else b""
        return existing

    def _inner_done(self) -> None:
        if self._padding:
            self._write(self._padding)
            self._padding = b""

    def _started(self, opened: DataSet | Items) -> None:
        if isinstance(opened, Items):
            if opened.parent is self._top:
                self._write_changes(opened.tag)
            if opened.tag == _ICON_IMAGE_SEQUENCE and self._icon is None and not self._keeps_compressed_icons:
                self._icon = _Icon(opened)
            self._write(self._head(opened.tag, element_headers.SEQUENCE, _UNDEFINED))
        else:
            self._write(_delimiter(element_headers.ITEM, _UNDEFINED))

    def _ended(self, closed: DataSet | Items) -> None:
        tag = element_headers.SEQUENCE_DELIMITER if isinstance(closed, Items) else element_headers.ITEM_DELIMITER
        self._write(_delimiter(tag, 0))
        if self._icon is not None and closed is self._icon.sequence:
            icon, self._icon = self._icon, None
            if not icon.is_left_out:
                self._out += icon.written

    def _write(self, written: bytes) -> None:
        if self._icon is None:
            self._out.append(written)
        else:
            self._icon.write(written)

    def _write_changes(self, before: int) -> None:
        """Write the changed elements with tags lower than that of the current element."""
        while self._coming and self._coming[-1][0] <= before:
            tag, new = self._coming.pop()
            if new is not None:
                self._write(self._head(tag, new[0], len(new[1])) + new[1])

    def _stop(self) -> None:
        self.has_stopped = True
        self._inner = _Stop()

    def _note_value(self, data_set: DataSet, tag: int, raw: bytes) -> None:
        super()._note_value(data_set, tag, raw)
        if tag == _BITS_ALLOCATED and len(raw) == 2 and data_set is self._top:
            self._bits_allocated = data_set.table.u16(raw)[0]

    def _written_vr(self, data_set: DataSet, entry: Entry, vr: str) -> str:
        if entry.vr in (element_headers.UNKNOWN, element_headers.UNDEFINED):
            return element_headers.UNKNOWN  # an element declared as UN remains UN, even if it is in the dictionary
        if vr == dictionary.US_OR_SS:
            return "SS" if data_set.is_signed() else "US"
        if vr == dictionary.US_OR_OW:
            return "US" if data_set.lut_entries == 1 else "OW"
        return vr

    def _unit(self, data_set: DataSet, tag: int, vr: str) -> int:
        """Return the word size for byte swapping; 1 for none."""
        has_pixels = tag in element_headers.PIXEL_DATA and data_set is self._top
        if not (data_set.table.is_big_endian or (has_pixels and self._has_big_endian_pixels)):
            return 1
        return _VALUE_UNITS.get(vr) or word_bytes(vr, self._bits_allocated if has_pixels else 0)

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        head = pack("<HH", tag >> 16, tag & 0xFFFF)
        if self._to_implicit:
            return head + pack("<I", length)
        if vr not in _LONG_VRS and length > _MAX_SHORT_LENGTH:
            vr = element_headers.UNKNOWN  # PS3.5 section 6.2.2
        if vr in _LONG_VRS:
            return head + vr.encode() + b"\0\0" + pack("<I", length)
        return head + vr.encode() + pack("<H", length)


class _Icon:
    """Buffers the output of an Icon Image Sequence until its end shows whether it can be kept."""

    def __init__(self, sequence: Items) -> None:
        self.sequence = sequence
        self.is_left_out = False
        self.written: list[bytes] = []
        self._size_bytes = 0

    def write(self, written: bytes) -> None:
        """Buffer output, unless the sequence is omitted."""
        self._size_bytes += len(written)
        if self.is_left_out or self._size_bytes > _MAX_ICON_BYTES:
            self.is_left_out = True
            self.written.clear()
        else:
            self.written.append(written)


class _Copy:
    """Copies the next `length` bytes, in byte-swapped words of `unit` bytes."""

    kept_bytes = 0

    def __init__(self, length: int, unit: int, write: Callable[[bytes], None]) -> None:
        self.needed = unit
        self.is_done = False
        self._left = length
        self._unit = unit
        self._write = write

    def advance(self, data: bytes, base: int, position: int) -> int:
        """See `Inner`."""
        count = min(len(data) - position, self._left)
        if count < self._left:
            count = count // self._unit * self._unit
        self._write(swapped(data[position : position + count], self._unit))
        self._left -= count
        self.is_done = not self._left
        self.needed = min(self._unit, self._left)
        return position + count


class _Stop:
    """Consumes nothing; see `Recoder.resume`."""

    needed = 1
    is_done = False
    kept_bytes = 0

    def advance(self, data: bytes, base: int, position: int) -> int:
        """See `Inner`."""
        return position


class _CopyFragments:
    """Copies the items of encapsulated pixel data, with headers in little-endian byte order, and ends them with a
    delimiter. It reads them like `FragmentWalk`: the delimiter may be missing, and bytes that are not an item extend to
    a delimiter; they are omitted.

    Args:
        end: absolute position of the end of the containing item.
    """

    kept_bytes = 0

    def __init__(self, table: ElementTable, end: float, write: Callable[[bytes], None]) -> None:
        order = ">" if table.is_big_endian else "<"
        self.needed = 8
        self.is_done = False
        self._head = Struct(f"{order}HHI")
        self._delimiter = pack(f"{order}HH", 0xFFFE, 0xE0DD)
        self._end = end
        self._fragment: _Copy | None = None
        self._has_table = False
        self._has_fragment = False
        self._is_searching = False
        self._write = write

    def advance(self, data: bytes, base: int, position: int) -> int:
        """See `Inner`."""
        while not self.is_done:
            if self._fragment is not None:
                position = self._fragment.advance(data, base, position)
                if not self._fragment.is_done:
                    self.needed = 1
                    break
                self._fragment = None
            if base + position >= self._end:
                self.finish()
                break
            if self._is_searching:
                return self._search(data, base, position)
            if len(data) - position < 8:
                self.needed = 8
                break
            group, number, length = self._head.unpack_from(data, position)
            tag = group << 16 | number
            if tag == element_headers.ITEM:
                self._write(pack("<HHI", group, number, length))
                self._fragment = _Copy(length, 1, self._write)
                self._has_fragment = self._has_table
                self._has_table = True
                position += 8
            elif tag == element_headers.SEQUENCE_DELIMITER:
                self.finish()
                position += 8
            elif self._has_fragment and tag in AFTER_PIXEL_DATA:
                self.finish()
            else:
                self._is_searching = True
        return position

    def finish(self) -> None:
        """Write the delimiter."""
        self._write(_delimiter(element_headers.SEQUENCE_DELIMITER, 0))
        self.is_done = True

    @property
    def can_end(self) -> bool:
        """Whether only the delimiter is missing."""
        return self._has_fragment and self._fragment is None and not self._is_searching

    def _search(self, data: bytes, base: int, position: int) -> int:
        found, self.needed = find_delimiter(data, position, self._end - base, self._delimiter)
        if self.needed:
            return found
        self.finish()
        return found + (8 if base + found < self._end else 0)


def _delimiter(tag: int, length: int) -> bytes:
    return pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def _nothing(written: bytes) -> None:
    """Discard output."""
