"""The places of a file to replace in order to change attributes; everything else remains as it is.

The walk stops after the last change. If the new values have characters that the character set of the data set does not
have, the whole data set is converted to UTF-8 (PS3.3 section C.12.1.1.2: Specific Character Set applies to all values).
"""

from collections.abc import Callable, Mapping
from struct import pack

from server.dicom.elements import element_headers, transfer_syntax
from server.dicom.elements.charset import character_set_of, decode
from server.dicom.elements.charset_encoding import UTF_8, UTF_8_TERM
from server.dicom.elements.element_headers import CHARSET_VRS, SPECIFIC_CHARACTER_SET, ElementTable, Entry, table_of
from server.dicom.elements.transfer_syntax import TransferSyntax
from server.dicom.part10 import file_meta
from server.dicom.part10.nesting import DataSet, Items
from server.dicom.part10.parser import Walk, unreadable
from server.dicom.pixel_data.fragments import FragmentWalk
from server.dicom.updating.changes import Changes, Encoding
from server.dicom.updating.edits import Edit, Edits
from server.dicom.updating.layouts import Layouts, is_value_used
from server.model.buffer import Buffer
from server.model.errors import InvalidRequest, Reason

_MAX_TEXT_BYTES = 16 << 20
_LAST_TAG = 0xFFFFFFFF
_MAX_SHORT_LENGTH = 0xFFFF
_DELIMITERS = {"PN": b"\\^=", "LO": b"\\", "SH": b"\\", "UC": b"\\"}


class FileEditor:
    """Finds the edits of a file (with its data set inflated, if it is deflated), fed in pieces.

    Args:
        syntax_uid: of the file.
        sop_class_uid, sop_instance_uid: of the data set, for the file meta information.
        present: returns the changed attributes that the data set has at its top level.
        to_utf_8: convert the data set.
        layouts: of other files with the same changes, to which that of this file is added.

    Attributes:
        at: position of the next bytes that are needed.
        is_done: all edits are known.
    """

    def __init__(
        self,
        syntax_uid: str,
        changes: Changes,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        present: Callable[[], frozenset[int]],
        to_utf_8: bool = False,
        layouts: Layouts | None = None,
    ) -> None:
        self._syntax = transfer_syntax.transfer_syntax(syntax_uid)
        self._changes = changes
        self._sop_class_uid = sop_class_uid
        self._sop_instance_uid = sop_instance_uid
        self._present = present
        self._to_utf_8 = to_utf_8
        self._layouts = None if to_utf_8 else layouts
        self._start = b""  # of the file, as far as its layout may be compared
        self._found: Edits | None = None  # as in another file with the same layout
        self._meta: Edit | None = None
        self._walk: _EditWalk | None = None
        self._held = b""
        self._end = 0

    @property
    def at(self) -> int:
        """See the class."""
        return self._end if self._walk is None else max(self._end, self._walk.at)

    @property
    def is_done(self) -> bool:
        """See the class."""
        return self._found is not None or (self._walk is not None and self._walk.is_done)

    def feed(self, piece: Buffer) -> None:
        """Process the bytes at `at`.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, INVALID_INSTANCE.
            NotEncodable: the data set must be converted to UTF-8.
        """
        if self._walk is not None and self._walk.at > self._end:
            self._end, self._held = self._walk.at, b""
        self._end += len(piece)
        self._held = self._held + piece if self._held else bytes(piece)
        if self._walk is None:
            found = file_meta.replaced_file_meta(
                self._held,
                sop_class_uid=self._sop_class_uid,
                sop_instance_uid=self._sop_instance_uid,
                transfer_syntax_uid=self._syntax.uid,
            )
            if found is None:
                return
            end, new = found
            self._meta = Edit(0, end, new)
            if self._layouts is not None:
                self._start = self._held
                self._found = self._layouts.edits_of(self._syntax.uid, self._start, self._meta)
                if self._found is not None:
                    return
            self._walk = _EditWalk(end, self._syntax, self._changes, present=self._present, to_utf_8=self._to_utf_8)
            self._held = self._held[end:]
        elif len(self._held) < self._walk.needed:
            return
        walk, base = self._walk, self._end - len(self._held)
        walk.feed(self._held, base)
        self._held = self._held[walk.at - base :] if walk.at < self._end else b""

    def finish(self, size_bytes: int) -> Edits:
        """Return the edits, when they are known or the whole file of this size was fed.

        Raises: as `feed`.
        """
        if self._found is not None:
            return self._found
        if self._walk is None or self._meta is None:
            raise unreadable("The file ends within its file meta information.")
        if not self._walk.is_done:
            self._walk.finish(size_bytes, self._held)
        edits = [self._meta, *sorted(self._walk.found(), key=lambda edit: (edit.start, edit.end))]
        found = Edits(edits, self._to_utf_8)
        if self._layouts is not None:
            self._layouts.add(self._syntax.uid, self._start, found, self._walk.table)
        return found


class _EditWalk(Walk):
    """The walk over the data set."""

    def __init__(
        self,
        at: int,
        syntax: TransferSyntax,
        changes: Changes,
        *,
        present: Callable[[], frozenset[int]],
        to_utf_8: bool,
    ) -> None:
        super().__init__(
            at,
            explicit=table_of(is_implicit=False, is_big_endian=syntax.is_big_endian),
            implicit=table_of(is_implicit=True, is_big_endian=syntax.is_big_endian),
            is_implicit=syntax.is_implicit,
        )
        self.is_done = False
        self._syntax = syntax
        self._changes = changes
        self._present = present
        self._found_tags: frozenset[int] | None = None
        self._to_utf_8 = to_utf_8
        tags = [*changes.tags, *([SPECIFIC_CHARACTER_SET] if to_utf_8 else [])]
        self._coming = sorted(tags, reverse=True)
        self._changed = frozenset(tags)
        self._edits: list[Edit] = []
        self._group_lengths: dict[int, tuple[int, int]] = {}
        self._group_deltas: dict[int, int] = {}
        self._replaced: tuple[Items, int] | None = None
        self._lengths: list[tuple[Items | DataSet, int, int, int]] = []  # open ones with a length: place, value, delta
        self._independent: set[DataSet] = set()  # open items with a character set of their own
        self._encoded: Mapping[int, bytes] | None = None

    @property
    def table(self) -> ElementTable:
        """The element headers of the data set."""
        return self._top.table

    def found(self) -> list[Edit]:
        """Return the edits."""
        order = ">" if self._top.table.is_big_endian else "<"
        lengths = [
            Edit(at, at + 4, pack(f"{order}I", length + self._group_deltas[group]))
            for group, (at, length) in self._group_lengths.items()
            if self._group_deltas.get(group)
            and 0 <= length + self._group_deltas[group] < element_headers.UNDEFINED_LENGTH
        ]
        return self._edits + lengths

    def finish(self, end: int, rest: bytes) -> None:
        """Process the end of the data set. Raises InvalidRequest (UNREADABLE_INSTANCE) if it is truncated."""
        self._end_at(end, rest)
        if self.is_done:
            return
        self._check_end(end)
        self._insert_before(_LAST_TAG, min(self.at, end), is_end=True)

    # -- changes ---------------------------------------------------------------------------------------------------

    def _new(self, tag: int) -> bytes:
        """Return a changed element, encoded like the data set. Raises NotEncodable."""
        if self._encoded is None:
            table = self._top.table
            character_set = UTF_8 if self._to_utf_8 else self._top.character_set
            encoding = Encoding(table.is_implicit, table.is_big_endian, character_set)
            self._encoded = self._changes.encoded(encoding)
        if tag == SPECIFIC_CHARACTER_SET:
            return self._utf_8_element()
        return self._encoded[tag]

    def _utf_8_element(self) -> bytes:
        order = ">" if self._top.table.is_big_endian else "<"
        value = UTF_8_TERM.encode()
        if self._top.table.is_implicit:
            return pack(f"{order}HHI", 8, 5, len(value)) + value
        return pack(f"{order}HH2sH", 8, 5, b"CS", len(value)) + value

    def _insert_before(self, tag: int, position: int, *, is_end: bool = False) -> None:
        """Insert the new elements that the data set does not have, with tags lower than that of the element at a
        position."""
        while self._coming and self._coming[-1] < tag:
            if not is_end and tag not in element_headers.LAST_ELEMENTS and self._is_present(self._coming[-1]):
                break  # it follows, out of order
            added = self._coming.pop()
            self._edit(added >> 16, position, position, self._new(added))

    def _is_present(self, tag: int) -> bool:
        """Return whether the data set has an element that is to be changed."""
        if self._found_tags is None:
            self._found_tags = self._present()
        return tag in self._found_tags

    def _replace(self, tag: int, start: int, end: int) -> None:
        """Replace an element; of a repeated one, all but the first are removed."""
        is_first = tag in self._coming
        if is_first:
            self._coming.remove(tag)
        self._edit(tag >> 16, start, end, self._new(tag) if is_first else b"")

    def _edit(self, group: int, start: int, end: int, new: bytes) -> None:
        self._edits.append(Edit(start, end, new))
        delta = len(new) - (end - start)
        self._group_deltas[group] = self._group_deltas.get(group, 0) + delta
        for number, (opened, at, length, sum_of) in enumerate(self._lengths):
            self._lengths[number] = (opened, at, length, sum_of + delta)

    def _stop_if_done(self) -> bool:
        if self._coming or self._to_utf_8:
            return False
        self.is_done = True
        self._inner = _Stop()
        return True

    # -- the walk --------------------------------------------------------------------------------------------------

    def _run(self, data_set: DataSet) -> None:
        """Skip ordinary elements before the next change."""
        if self._to_utf_8 or data_set is not self._top or not self._coming:
            return
        data, position, table = self._data, self._pos, data_set.table
        next_tag, read_head, last_start, end = self._coming[-1], table.read_head, len(data) - 12, len(data)
        while position <= last_start:
            key, length = read_head(data, position)
            tag, _, emit, _, _, _, value_at, _, _ = table[key]
            if emit is None or tag >= next_tag:
                break
            if value_at == 12:
                (length,) = table.read_long(data, position)
            stop = position + value_at + length
            if stop > end:
                break
            position = stop
        self._pos = position

    def _take_value(self, data_set: DataSet, entry: Entry, vr: str, length: int) -> bool:
        tag, start = entry.tag, self._pos + entry.value_at
        is_top = data_set is self._top
        if is_top:
            self._insert_before(tag, self._base + self._pos)
            if self._stop_if_done():
                return True
            if tag in self._changed and self._is_known(tag, start, length):
                self._replace(tag, self._base + self._pos, self._base + start + length)
                self._pos = start + length
                return True
        is_text = self._to_utf_8 and vr in CHARSET_VRS and self._replaced is None and data_set not in self._independent
        is_noted = is_value_used(tag)
        if not (is_text or is_noted):
            self._pos = start + length
            return True
        if length > _MAX_TEXT_BYTES:
            raise not_possible("A text value of the instance is too large to be converted to UTF-8.")
        if start + length > len(self._data):
            return self._wait(entry.value_at + length)
        raw = self._data[start : start + length]
        if is_noted:
            self._note_value(data_set, tag, raw)
        if is_text and tag != SPECIFIC_CHARACTER_SET:
            self._convert(data_set, entry, vr, raw)
        self._pos = start + length
        return True

    def _is_known(self, tag: int, start: int, length: int) -> bool:
        """Read the old character set before it is replaced; return whether its value was available."""
        if tag == SPECIFIC_CHARACTER_SET:
            if start + length > len(self._data):
                return False
            self._note_value(self._top, tag, self._data[start : start + length])
        return True

    def _note_value(self, data_set: DataSet, tag: int, raw: bytes) -> None:
        super()._note_value(data_set, tag, raw)
        if tag == SPECIFIC_CHARACTER_SET:
            data_set.character_set = character_set_of(tuple(raw.decode("latin-1").rstrip(" \0").split("\\")))[0]
            if data_set is not self._top:
                self._independent.add(data_set)
        elif element_headers.is_group_length(tag) and data_set is self._top and len(raw) == 4:
            self._group_lengths[tag >> 16] = (self._base + self._pos + 8, data_set.table.u32(raw)[0])

    def _convert(self, data_set: DataSet, entry: Entry, vr: str, raw: bytes) -> None:
        """Convert a text value to UTF-8."""
        if raw.isascii() and b"\x1b" not in raw:
            return
        text, is_clean = decode(raw, data_set.character_set, _DELIMITERS.get(vr, b""))
        if not is_clean:
            raise not_possible("The text of the instance is not valid in its character set, so it can't be converted.")
        new = text.encode()
        new += b" " * (len(new) % 2)
        if new == raw:
            return
        position = self._base + self._pos
        order = ">" if data_set.table.is_big_endian else "<"
        is_short = entry.value_at - entry.length_at == 2
        if is_short and len(new) > _MAX_SHORT_LENGTH:
            raise not_possible("A text value of the instance is too long in UTF-8.")
        length = pack(f"{order}{'H' if is_short else 'I'}", len(new))
        head = self._data[self._pos : self._pos + entry.length_at] + length
        self._edit(self._group_of(data_set, entry.tag), position, position + entry.value_at + len(raw), head + new)

    def _group_of(self, data_set: DataSet, tag: int) -> int:
        """Return the group of the top-level element that contains a position."""
        while data_set.parent is not None:
            tag, data_set = data_set.parent.tag, data_set.parent.parent
        return tag >> 16

    def _take_sequence(self, data_set: DataSet, entry: Entry, length: int) -> bool:
        start = self._pos + entry.value_at
        if data_set is self._top:
            self._insert_before(entry.tag, self._base + self._pos)
            if self._stop_if_done():
                return True
            if entry.tag in self._changed:
                self._replace(entry.tag, self._base + self._pos, self._base + start + length)
                self._pos = start + length
                return True
        if self._to_utf_8:
            return False
        self._pos = start + length
        return True

    def _take_encapsulated(self, data_set: DataSet, entry: Entry, vr: str) -> None:
        if data_set is self._top:
            self._insert_before(entry.tag, self._base + self._pos - entry.value_at)
            if self._stop_if_done():
                return
        self._inner = FragmentWalk(
            data_set.cut_at, is_big_endian=data_set.table.is_big_endian, marks=self._syntax.marks
        )

    def _open_sequence(self, data_set: DataSet, entry: Entry, length: int | None) -> None:
        start = self._base + self._pos
        if data_set is self._top and length is None:
            self._insert_before(entry.tag, start)
            if self._stop_if_done():
                return
        super()._open_sequence(data_set, entry, length)
        if data_set is self._top and entry.tag in self._changed and isinstance(self._open, Items):
            self._replaced = (self._open, start)

    def _started(self, opened: DataSet | Items) -> None:
        if not self._to_utf_8:
            return
        if isinstance(opened, DataSet) and opened.parent is not None and opened.parent.parent in self._independent:
            self._independent.add(opened)
        (length,) = self._top.table.u32(self._data, self._pos - 4)
        if length != element_headers.UNDEFINED_LENGTH:
            self._lengths.append((opened, self._base + self._pos - 4, length, 0))

    def _ended(self, closed: DataSet | Items) -> None:
        if isinstance(closed, DataSet):
            self._independent.discard(closed)
        elif self._replaced is not None and closed is self._replaced[0]:
            start, self._replaced = self._replaced[1], None
            self._replace(closed.tag, start, self._base + self._pos)
        if self._lengths and self._lengths[-1][0] is closed:
            _, at, length, delta = self._lengths.pop()
            if delta:
                order = ">" if self._top.table.is_big_endian else "<"
                self._edits.append(Edit(at, at + 4, pack(f"{order}I", length + delta)))

    def _inner_done(self) -> None:
        """Nothing follows from it."""

    def _passed(self, count: int) -> None:
        """Not counted."""

    def _irregular(self, tag: int, vr: str, message: str) -> None:
        """Already reported when the instance was stored."""


class _Stop:
    """Consumes nothing."""

    needed = 1
    is_done = False
    kept_bytes = 0

    def advance(self, data: bytes, base: int, position: int) -> int:
        """See `Inner`."""
        return position


def not_possible(message: str) -> InvalidRequest:
    """Return the error for an instance that cannot be updated."""
    return InvalidRequest(Reason.INVALID_INSTANCE, message)
