"""Incremental parser of encoded data sets, at any nesting depth.

A walk keeps a stack of open data sets and sequences, processes elements as soon as their bytes are available, and never
goes back, so its time is linear in the bytes fed. Subclasses produce JSON (`server.dicom.part10.json_scanner`) or
another encoding (`server.dicom.part10.recoder`).

Deviations from the encoding are treated as in pydicom: the first element decides whether an item, or the data set, has
implicit or explicit VR; an element without VR among explicit ones is read as implicit; a sequence ends at its length or
delimiter, and elements that exceed it are truncated there.
"""

from abc import ABC, abstractmethod
from typing import Protocol

from server.dicom.elements import dictionary, element_headers
from server.dicom.elements.charset import DEFAULT_REPERTOIRE
from server.dicom.elements.element_headers import UNDEFINED_LENGTH, ElementTable, Entry
from server.dicom.elements.unknown_vr import NeedsMore, UnknownVr
from server.dicom.elements.values import BINARY_UNITS
from server.dicom.part10.nesting import NEVER, DataSet, Items
from server.dicom.part10.trailing_bytes import TrailingBytes, trailing_bytes
from server.model.errors import InvalidRequest, Reason

MAX_DEPTH = 64
_HEADER_BYTES = 8
_PEEK_BYTES = 6


def unreadable(message: str) -> InvalidRequest:
    """Return the error for bytes that are not a DICOM file."""
    return InvalidRequest(Reason.UNREADABLE_INSTANCE, message)


class Inner(Protocol):
    """Processes the bytes of one large value; see `FragmentWalk`.

    needed: number of bytes required from the position returned by `advance`.
    is_done: nothing of the value follows.
    kept_bytes: number of its bytes in memory, which count as header; the others do not.
    """

    needed: int
    is_done: bool
    kept_bytes: int

    def advance(self, data: bytes, base: int, position: int) -> int:
        """Continue at `position` in `data`, which starts at `base` in the file; return the position reached."""
        ...


class Walk(ABC):
    """Parsing of one data set.

    Args:
        at: offset of the data set in the file.
        explicit, implicit: tables of element headers.
        is_implicit: of the transfer syntax.

    Attributes:
        at: current position; earlier bytes need not be fed again, and skipped bytes need not be fed at all.
        needed: number of bytes from `at` that are required to continue.
        mislabelled: number of places where the VR encoding contradicts the transfer syntax: the data set, an item that
            is not in a sequence of VR UN, or a single element.
    """

    def __init__(self, at: int, *, explicit: ElementTable, implicit: ElementTable, is_implicit: bool) -> None:
        self.at = at
        self.needed = 0
        self.mislabelled = 0
        self._explicit = explicit
        self._implicit = implicit
        self._top = DataSet(None, implicit if is_implicit else explicit, DEFAULT_REPERTOIRE, NEVER, NEVER)
        self._open: DataSet | Items = self._top
        self._has_begun = False
        self._is_last = False
        self._last_element = 0
        self._inner: Inner | None = None
        self._data = b""
        self._base = 0
        self._pos = 0

    @property
    def is_implicit(self) -> bool:
        """Whether the data set is encoded with implicit VR."""
        return self._top.table.is_implicit

    def feed(self, data: bytes, base: int) -> None:
        """Process `data`, which starts at `base` in the file; `base` is not after `at`.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE.
        """
        self._data, self._base, self._pos = data, base, self.at - base
        try:
            while self._pos <= len(data) and self._advance():
                pass
        finally:
            self.at = base + self._pos
            self._data = b""

    def _end_at(self, end: int, rest: bytes) -> None:
        """Process the incomplete element at the end of the data; `rest` are the last bytes, which end before `end`."""
        self._is_last = True
        if isinstance(self._inner, TrailingBytes):
            self._inner.is_last = True
        if self.at <= end:
            self.feed(rest, end - len(rest))

    def _check_end(self, end: int) -> None:
        """Check that the data set ends after a complete element; after pixel data anything may follow.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE.
        """
        is_behind = isinstance(self._inner, TrailingBytes) or (self._inner is None and bool(self._last_element))
        is_whole = self._inner is None and end - self.at < _HEADER_BYTES
        if self._open is not self._top or not (is_behind or is_whole):
            raise unreadable("The data set ends within its last element.")

    # -- hooks for subclasses --------------------------------------------------------------------------------------

    @abstractmethod
    def _take_value(self, data_set: DataSet, entry: Entry, vr: str, length: int) -> bool:
        """Process an element of defined length other than a sequence, and advance; False if more bytes are needed."""

    @abstractmethod
    def _take_sequence(self, data_set: DataSet, entry: Entry, length: int) -> bool:
        """Process a whole sequence of defined length, and advance; False if it must be parsed item by item."""

    @abstractmethod
    def _take_encapsulated(self, data_set: DataSet, entry: Entry, vr: str) -> None:
        """Set `_inner` for a fragmented value that starts at the current position."""

    @abstractmethod
    def _inner_done(self) -> None:
        """The value processed by `_inner` ends at the current position."""

    @abstractmethod
    def _started(self, opened: DataSet | Items) -> None:
        """An item or a sequence starts."""

    @abstractmethod
    def _ended(self, closed: DataSet | Items) -> None:
        """An item or a sequence ends."""

    @abstractmethod
    def _run(self, data_set: DataSet) -> None:
        """Process as many elements as possible on a faster path, if there is one."""

    @abstractmethod
    def _passed(self, count: int) -> None:
        """`_inner` has processed `count` bytes without keeping them; negative if it has only kept some."""

    @abstractmethod
    def _irregular(self, tag: int, vr: str, message: str) -> None:
        """An element is irregular."""

    # -- parsing ----------------------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Process at least one element, item or delimiter; False if more bytes are needed."""
        if self._inner is not None:
            return self._step_inner(self._inner)
        if self._base + self._pos >= self._open.close_at:
            self._close()
            return True
        if isinstance(self._open, Items):
            return self._step_item(self._open)
        if not self._has_begun and self._open is self._top:
            return self._begin()
        self._run(self._open)
        if self._pos > len(self._data) or self._base + self._pos >= self._open.close_at:
            return True
        return self._step_element(self._open)

    def _begin(self) -> bool:
        """Determine whether the data set contradicts the VR encoding of its transfer syntax, by the first VR, as
        pydicom does."""
        data, position = self._data, self._pos
        if len(data) - position < _PEEK_BYTES:
            return self._wait(_PEEK_BYTES)
        if data[position : position + 2] == b"\0\0":
            # Command elements, which are always implicit (PS3.7 section 6.3), may precede the data set.
            self._top.table, table = self._implicit, self._top.table
            is_taken = self._step_element(self._top)
            self._top.table = table
            return is_taken
        found = self._implicit if _appears_implicit(data, position) else self._explicit
        if found is not self._top.table:
            self._top.table = found
            self.mislabelled += 1
        self._has_begun = True
        return True

    def _close(self) -> None:
        """Close the innermost data set or sequence."""
        closed = self._open
        assert closed.parent is not None, "the whole data set never closes"
        self._open = closed.parent
        self._ended(closed)

    def _step_inner(self, inner: Inner) -> bool:
        before, kept_before = self._pos, inner.kept_bytes
        try:
            self._pos = inner.advance(self._data, self._base, before)
        finally:
            self._passed(self._pos - before - (inner.kept_bytes - kept_before))
        if inner.is_done:
            self._inner = None
            if not isinstance(inner, TrailingBytes):
                self._inner_done()
            return True
        return self._pos > len(self._data) or self._wait(inner.needed)

    def _step_item(self, sequence: Items) -> bool:
        """Open the next item, or close the sequence."""
        data, position = self._data, self._pos
        available_bytes = sequence.cut_at - self._base - position
        if available_bytes < _HEADER_BYTES:
            self._pos += int(available_bytes)
            return True
        if len(data) - position < _HEADER_BYTES:
            return self._wait(_HEADER_BYTES)
        group, number = sequence.table.u16(data, position)[0], sequence.table.u16(data, position + 2)[0]
        tag, length = group << 16 | number, sequence.table.u32(data, position + 4)[0]
        if tag == element_headers.ITEM:
            return self._open_item(sequence, length)
        self._pos += _HEADER_BYTES
        if tag == element_headers.SEQUENCE_DELIMITER:
            self._close()
        elif tag != element_headers.ITEM_DELIMITER:
            raise unreadable("A sequence contains an element that is not an item.")
        return True

    def _open_item(self, sequence: Items, length: int) -> bool:
        start, table = self._pos + _HEADER_BYTES, sequence.table
        peek = min(_PEEK_BYTES, length)
        if len(self._data) - start < peek:
            return self._wait(_HEADER_BYTES + peek)
        if not table.is_implicit and peek == _PEEK_BYTES and _appears_implicit(self._data, start):
            table = self._implicit
            self.mislabelled += not sequence.is_unknown
        end = NEVER if length == UNDEFINED_LENGTH else self._base + start + length
        sequence.number += 1
        opened = DataSet(sequence, table, sequence.parent.character_set, end, sequence.cut_at)
        self._open = opened
        self._pos = start
        self._started(opened)
        return True

    def _step_element(self, data_set: DataSet) -> bool:
        """Process one element of any kind; False if more bytes are needed."""
        data, position, table = self._data, self._pos, data_set.table
        available_bytes = data_set.cut_at - self._base - position
        left = len(data) - position
        if available_bytes < _HEADER_BYTES:
            self._pos += int(available_bytes)
            return True
        if left < _HEADER_BYTES:
            return self._wait(_HEADER_BYTES)
        entry = table[data[position : position + table.key_bytes]][8]
        if not entry.is_certain:
            if entry.tag >> 16 == 0xFFFE:
                return self._delimiter(data_set, entry.tag)
            try:
                settled = self._resolved_entry(data_set, entry)
            except NeedsMore as more:
                self.needed = more.needed  # to look ahead, at most some 64 KiB; only what is processed counts as header
                return False
            if settled is None:
                return True
            entry = settled
        if available_bytes < entry.value_at:
            self._pos += int(available_bytes)
            return True
        if left < entry.value_at:
            return self._wait(entry.value_at)
        length = entry.unpack(data, position + entry.length_at)[0]
        if entry.length_at == 4 and not table.is_implicit:
            self.mislabelled += 1
        vr = entry.vr if entry.is_certain else self._vr(data_set, entry, length)
        if length == UNDEFINED_LENGTH:
            is_taken = self._undefined(data_set, entry, vr)
            self._note_last_element(data_set, entry, is_taken=is_taken)
            return is_taken
        if vr == element_headers.SEQUENCE:
            if not self._take_sequence(data_set, entry, length):
                self._open_sequence(data_set, entry, length)
            return True
        if length > available_bytes - entry.value_at:
            length = int(available_bytes) - entry.value_at
            self._irregular(entry.tag, vr, "The element is longer than the sequence that contains it")
        is_taken = self._take_value(data_set, entry, vr, length)
        if not entry.is_certain:
            self._note_last_element(data_set, entry, is_taken=is_taken)
        return is_taken

    def _note_last_element(self, data_set: DataSet, entry: Entry, *, is_taken: bool) -> None:
        """Record a processed element if bytes other than elements may follow it."""
        if is_taken and data_set is self._top and entry.tag in element_headers.LAST_ELEMENTS:
            self._last_element = entry.tag

    def _delimiter(self, data_set: DataSet, tag: int) -> bool:
        if tag == element_headers.ITEM:
            if data_set is not self._top or not self._last_element:
                raise unreadable("An item is outside a sequence.")
            self._inner = TrailingBytes(None)
            return True
        if data_set.parent is None:
            self._pos += _HEADER_BYTES  # a stray delimiter; pydicom ignores it or stops
        elif tag == element_headers.ITEM_DELIMITER:
            self._pos += _HEADER_BYTES
            self._close()
        else:
            self._close()  # the sequence ends here, and its item with it
        return True

    def _vr(self, data_set: DataSet, entry: Entry, length: int) -> str:
        """Return the VR of a value, if the entry alone does not determine it."""
        vr, tag = entry.vr, entry.tag
        if vr == element_headers.UNDEFINED:
            self._irregular(tag, element_headers.UNKNOWN, "The value representation is not defined in the standard")
            return element_headers.UNKNOWN
        if vr not in (element_headers.MISSING, element_headers.UNKNOWN):
            return vr
        if element_headers.is_private(tag):
            if element_headers.is_private_creator(tag):
                return "LO"
            creator = data_set.creator_of(tag)
            return dictionary.private_vr(tag, creator) if creator else element_headers.UNKNOWN
        if vr == element_headers.UNKNOWN and length < 0xFFFF:
            return dictionary.public_vr(tag) or element_headers.UNKNOWN
        return element_headers.UNKNOWN

    def _resolved_entry(self, data_set: DataSet, entry: Entry) -> Entry | None:
        """Return the entry of an uncertain element; None if it is not an element. Raises NeedsMore."""
        if data_set is self._top:
            if entry.tag in element_headers.LAST_ELEMENTS:
                return entry
            self._inner = trailing_bytes(
                self._data,
                self._pos,
                entry,
                data_set=data_set,
                last_tag=self._last_element,
                is_last=self._is_last,
            )
            if self._inner is not None:
                return None
        if entry.vr != element_headers.UNDEFINED:
            return entry
        element = UnknownVr(
            entry,
            self._data,
            self._pos,
            table=data_set.table,
            available_bytes=data_set.close_at - self._base - self._pos,
            is_item=data_set.parent is not None,
            is_last=self._is_last,
        )
        form = element.form()
        if form is None and self._last_element:
            self._inner = TrailingBytes(None)
            return None
        return form or entry

    def _undefined(self, data_set: DataSet, entry: Entry, vr: str) -> bool:
        """Process the header of an element of undefined length: a sequence, or encapsulated pixel data."""
        start = self._pos + entry.value_at
        if entry.tag not in element_headers.PIXEL_DATA:
            # UN of undefined length is a sequence (PS3.5 section 6.2.2).
            is_sequence = vr == element_headers.SEQUENCE or entry.vr in (
                element_headers.UNKNOWN,
                element_headers.UNDEFINED,
            )
            # Without a VR in the file, an item shows that it is a sequence, whatever the dictionary says.
            if entry.vr == element_headers.MISSING or (data_set.table.is_implicit and vr not in BINARY_UNITS):
                if len(self._data) - start < 4:
                    return self._wait(entry.value_at + 4)
                is_sequence = is_sequence or data_set.table.u16(self._data, start)[0] == 0xFFFE
            if is_sequence:
                self._open_sequence(data_set, entry, None)
                return True
            if vr not in BINARY_UNITS:
                raise unreadable(f"An element of VR {vr} has undefined length.")
        self._pos = start
        self._take_encapsulated(data_set, entry, vr)
        return True

    def _open_sequence(self, data_set: DataSet, entry: Entry, length: int | None) -> None:
        self._pos += entry.value_at
        end = NEVER if length is None else self._base + self._pos + length
        opened = Items(data_set, entry.tag, end, entry.vr in (element_headers.UNKNOWN, element_headers.UNDEFINED))
        if opened.depth > MAX_DEPTH:
            raise unreadable(f"Sequences are nested more than {MAX_DEPTH} deep.")
        self._open = opened
        self._started(opened)

    def _note_value(self, data_set: DataSet, tag: int, raw: bytes) -> None:
        """Record values that affect the reading of others."""
        if element_headers.is_private_creator(tag):
            data_set.creators[tag] = raw.decode("latin-1").rstrip(" \0")
        elif tag == element_headers.PIXEL_REPRESENTATION and raw:
            data_set.pixel_representation = int(b"\1" in raw)
        elif tag == element_headers.LUT_DESCRIPTOR and len(raw) >= 2:
            data_set.lut_entries = data_set.table.u16(raw)[0]

    def _wait(self, needed: int) -> bool:
        """Set the number of bytes needed from the current position."""
        self.needed = needed
        return False


def _appears_implicit(data: bytes, position: int) -> bool:
    """Return whether the element at `position` has no VR; as a length, `??`, which some writers use as VR, would be
    odd."""
    first, second = data[position + 4], data[position + 5]
    return not ((0x40 < first < 0x5B and 0x40 < second < 0x5B) or first == second == 0x3F)
