"""The one pass over a data set: encoded elements in, DICOM JSON out.

The pass is incremental at any depth. It keeps a stack of open data sets and sequences, takes elements as soon as their
bytes are there, and never goes back, so its work is linear in the bytes fed. Its memory is the JSON so far and the
element it waits for.

How encodings are judged follows pydicom: an item, or the whole data set, is taken for implicit or explicit VR by what
its first element looks like, an element without a VR in explicit surroundings is read as an implicit one, a
sequence ends where its length or its delimiter says, and what sticks out of it is cut off there.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from struct import unpack

from server.dicom import dictionary, elements
from server.dicom.charset import DEFAULT_CODECS, Codecs, codecs_of
from server.dicom.elements import UNDEFINED_LENGTH, ElementTable, Entry, element_head
from server.dicom.pixels import FragmentWalk
from server.dicom.values import BINARY_UNITS, Notes, inline_binary
from server.model.errors import Exhausted, InvalidRequest, Reason
from server.model.instance import BulkElement

MAX_INLINE_BYTES = 1024
MAX_DEPTH = 64
_NEVER = float("inf")
_IMPLICIT_ITEM_PEEK = 14
_PLACEHOLDER = re.compile("\0([0-9]+)\0")


def unreadable(message: str) -> InvalidRequest:
    """Return the error for bytes that are not a DICOM file."""
    return InvalidRequest(Reason.UNREADABLE_INSTANCE, message)


class DataSet:
    """An open data set: the whole one, or an item."""

    __slots__ = (
        "close_at",
        "codecs",
        "creators",
        "cut_at",
        "is_unordered",
        "json",
        "last_tag",
        "lut_entries",
        "parent",
        "pixel_representation",
        "table",
    )

    def __init__(self, parent: "Items | None", table: ElementTable, codecs: Codecs, end: float, cut_at: float) -> None:
        self.parent = parent
        self.table = table
        self.codecs = codecs
        self.close_at = min(end, cut_at)
        self.cut_at = cut_at
        self.json: list[str] = []
        self.last_tag = -1
        self.is_unordered = False
        self.creators: dict[int, str] = {}
        self.pixel_representation: int | None = None
        self.lut_entries: int | None = None

    def add(self, tag: int, element: str) -> None:
        """Take the JSON of the next element."""
        if tag <= self.last_tag:
            self.is_unordered = True
        self.last_tag = tag
        self.json.append(element)

    def ordered(self) -> list[str]:
        """Return the elements in ascending order of tag; of those with one tag the last, as pydicom does."""
        if self.is_unordered:
            last = {element[:10]: element for element in self.json}
            self.json = [last[key] for key in sorted(last)]
            self.is_unordered = False
        return self.json


class Items:
    """An open sequence."""

    __slots__ = ("close_at", "cut_at", "depth", "head", "items", "parent", "table", "tag")

    def __init__(self, parent: DataSet, tag: int, table: ElementTable, end: float, cut_at: float) -> None:
        self.parent = parent
        self.tag = tag
        self.table = table
        self.close_at = min(end, cut_at)
        self.cut_at = cut_at
        self.head = element_head(tag, elements.SEQUENCE)
        self.items: list[str] = []
        self.depth: int = parent.parent.depth + 1 if parent.parent else 1


@dataclass(slots=True)
class PixelData:
    """Pixel data as met at the top level; `walk` if it is encapsulated, `is_cut` if the file ends within it."""

    tag: int
    vr: str
    offset: int
    length: int
    walk: FragmentWalk | None = None
    is_cut: bool = False


class Scanner:
    """The pass over one data set.

    Args:
        at: where the data set begins, in bytes from the start of the file.
        explicit, implicit: how element heads are read.
        is_implicit: what the transfer syntax says.
        frame_starts: see `TransferSyntax`; None if pixel data is not compressed.
        max_header_bytes: how much may be read besides the values that are skipped.

    Attributes:
        at: the position reached; bytes before it need not be fed again, and those it leaves out need not be fed at all.
        needed: how many bytes must be there from `at` to get on.
    """

    def __init__(
        self,
        at: int,
        *,
        explicit: ElementTable,
        implicit: ElementTable,
        is_implicit: bool,
        frame_starts: tuple[bytes, ...] | None,
        max_header_bytes: int,
    ) -> None:
        self.at = at
        self.needed = 0
        self.notes = Notes()
        self.bulk: dict[str, BulkElement] = {}
        self.pixel_data: PixelData | None = None
        self.raw: dict[int, bytes] = {}
        self.extended_offsets: tuple[int, ...] = ()
        self._explicit = explicit
        self._implicit = implicit
        self._frame_starts = frame_starts
        self._budget = max_header_bytes + at
        self._top = DataSet(None, implicit if is_implicit else explicit, DEFAULT_CODECS, _NEVER, _NEVER)
        self._open: DataSet | Items = self._top
        self._has_begun = False
        self._walk: FragmentWalk | None = None
        self._walked: PixelData | None = None
        self._ambiguous: list[tuple[str, bytes, DataSet]] = []
        self._data = b""
        self._base = 0
        self._pos = 0

    @property
    def is_implicit(self) -> bool:
        """Whether the data set is encoded with implicit VR."""
        return self._top.table.is_implicit

    def feed(self, data: bytes, base: int) -> None:
        """Take what can be taken of `data`, which begins at `base` of the file, not after `at`.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE.
            Exhausted: HEADER_TOO_LARGE.
        """
        self._data, self._base, self._pos = data, base, self.at - base
        try:
            while self._pos <= len(data) and self._go_on():
                pass
        finally:
            self.at = base + self._pos
            self._data = b""
        self._check_budget(0)

    def finish(self, end: int) -> list[str]:
        """Return the JSON of the top-level elements in order, after the last byte, which is before `end`, was fed.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, the data set is cut off.
        """
        if self._walk is not None and self._walk.can_end and self.at == end and self._open is self._top:
            self._end_walk(self._walk.stop)
        rest = end - self.at
        if self._walk is not None or self._open is not self._top or rest >= 8:
            raise unreadable("The data set ends before its last element does.")
        if rest < 0:
            self._shorten_pixel_data(end)
        elements_ = self._top.ordered()
        return [self._resolved(element) for element in elements_] if self._ambiguous else elements_

    # -- the pass -----------------------------------------------------------------------------------------------

    def _go_on(self) -> bool:
        """Take at least one element, item or delimiter; False if that needs more bytes."""
        if self._walk is not None:
            return self._step_walk(self._walk)
        position, base = self._pos, self._base
        if base + position >= self._open.close_at:
            self._close()
            return True
        if isinstance(self._open, Items):
            return self._step_item(self._open)
        if not self._has_begun and self._open is self._top:
            return self._begin()
        self._run(self._open)
        if self._pos > len(self._data) or base + self._pos >= self._open.close_at:
            return True
        return self._step_element(self._open)

    def _run(self, data_set: DataSet) -> None:
        """Take elements as long as they are ordinary ones: the loop in which nearly all time is spent."""
        data, base, position = self._data, self._base, self._pos
        table, notes = data_set.table, self.notes
        key_bytes, append, last = table.key_bytes, data_set.json.append, data_set.last_tag
        size = len(data)
        end = size if data_set.cut_at is _NEVER else min(size, int(data_set.cut_at) - base)
        last_start = (end if data_set.close_at is _NEVER else min(end, int(data_set.close_at) - base)) - 12
        while position <= last_start:
            tag, emit, head, empty, unpack_length, length_at, value_at, _ = table[data[position : position + key_bytes]]
            if emit is None:
                break
            start = position + value_at
            stop = start + unpack_length(data, position + length_at)[0]
            if stop > end:
                break
            if tag <= last:
                data_set.is_unordered = True
            last = tag
            append(emit(head, data[start:stop], notes) if stop > start else empty)
            position = stop
        self._pos, data_set.last_tag = position, last

    def _begin(self) -> bool:
        """Settle whether the data set is what its transfer syntax says (pydicom looks at the first VR, too)."""
        data, position = self._data, self._pos
        if len(data) - position < 6:
            return self._wait(6)
        if data[position : position + 2] == b"\0\0":
            # Command elements, which are always implicit (PS3.7 section 6.3), may come first.
            self._top.table, table = self._implicit, self._top.table
            taken = self._step_element(self._top)
            self._top.table = table
            return taken
        self._top.table = self._implicit if _looks_implicit(data, position) else self._explicit
        self._has_begun = True
        return True

    def _close(self) -> None:
        """End the innermost data set or sequence."""
        closed = self._open
        if isinstance(closed, Items):
            parent = closed.parent
            parent.json.append(
                f'{closed.head},"Value":[{",".join(closed.items)}]}}' if closed.items else closed.head + "}"
            )
            self._open = parent
            return
        assert closed.parent is not None, "the whole data set never closes"
        closed.parent.items.append(f"{{{','.join(closed.ordered())}}}")
        self._open = closed.parent
        self.notes.codecs = closed.parent.parent.codecs

    def _step_item(self, sequence: Items) -> bool:
        """Open the next item, or end the sequence."""
        data, position = self._data, self._pos
        room = sequence.cut_at - self._base - position
        if room < 8:
            self._pos += int(room)
            return True
        if len(data) - position < 8:
            return self._wait(8)
        group, number = sequence.table.u16(data, position)[0], sequence.table.u16(data, position + 2)[0]
        tag, length = group << 16 | number, sequence.table.u32(data, position + 4)[0]
        if tag == elements.SEQUENCE_DELIMITER:
            self._pos += 8
            self._close()
            return True
        if tag == elements.ITEM_DELIMITER:
            self._pos += 8
            return True
        if tag != elements.ITEM:
            raise unreadable("A sequence has something else than items.")
        if len(data) - position < min(_IMPLICIT_ITEM_PEEK, 8 + length):
            return self._wait(min(_IMPLICIT_ITEM_PEEK, 8 + length))
        table = sequence.table
        if not table.is_implicit and length >= 6 and _looks_implicit(data, position + 8):
            table = self._implicit
        start = self._base + position + 8
        end = _NEVER if length == UNDEFINED_LENGTH else start + length
        self._open = DataSet(sequence, table, sequence.parent.codecs, end, sequence.cut_at)
        self._pos += 8
        return True

    def _step_element(self, data_set: DataSet) -> bool:
        """Take one element, whatever it is; False if that needs more bytes."""
        data, position, table = self._data, self._pos, data_set.table
        room = data_set.cut_at - self._base - position
        left = len(data) - position
        if room < 8:
            self._pos += int(room)
            return True
        if left < 8:
            return self._wait(8)
        entry = table[data[position : position + table.key_bytes]]
        if room < entry.value_at:
            self._pos += int(room)
            return True
        if left < entry.value_at:
            return self._wait(entry.value_at)
        length = entry.unpack(data, position + entry.length_at)[0]
        if entry.tag >> 16 == 0xFFFE:
            return self._delimiter(data_set, entry.tag)
        vr = self._vr(data_set, entry, length)
        if length == UNDEFINED_LENGTH:
            return self._undefined(data_set, entry, vr)
        if length > room - entry.value_at:
            length = int(room) - entry.value_at
            self.notes.odd(element_head(entry.tag, vr), "The element is longer than the sequence that holds it")
        return self._value(data_set, entry, vr, length)

    def _delimiter(self, data_set: DataSet, tag: int) -> bool:
        if tag == elements.ITEM:
            raise unreadable("An item is not in a sequence.")
        if data_set.parent is None:
            self._pos += 8  # a stray delimiter; pydicom ignores or ends at it
        elif tag == elements.ITEM_DELIMITER:
            self._pos += 8
            self._close()
        else:
            self._close()  # the sequence ends here, and its item with it
        return True

    def _vr(self, data_set: DataSet, entry: Entry, length: int) -> str:
        """Return the VR to read the value by, where the entry alone doesn't say."""
        vr, tag = entry.vr, entry.tag
        if vr not in (elements.MISSING, elements.UNKNOWN):
            return vr
        if vr == elements.UNKNOWN and entry.length_at == 6:
            self.notes.odd(entry.head, "The value representation is not a defined one")
            return vr
        if elements.is_private(tag):
            if elements.is_private_creator(tag):
                return "LO"
            creator = data_set.creators.get(tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8, "")
            return dictionary.private_vr(tag, creator) if creator and tag & 0xFF00 else elements.UNKNOWN
        if vr == elements.UNKNOWN and length < 0xFFFF:
            return dictionary.public_vr(tag) or elements.UNKNOWN
        return elements.UNKNOWN

    # -- values -------------------------------------------------------------------------------------------------

    def _value(self, data_set: DataSet, entry: Entry, vr: str, length: int) -> bool:
        """Take an element of defined length."""
        start = self._pos + entry.value_at
        if vr == elements.SEQUENCE:
            self._open_sequence(data_set, entry, length)
            return True
        if vr == dictionary.US_OR_OW:
            vr = "US" if data_set.lut_entries == 1 else "OW"
        is_pixel_data = entry.tag in elements.PIXEL_DATA
        is_wanted = entry.tag == elements.EXTENDED_OFFSET_TABLE and data_set is self._top
        if is_pixel_data or (elements.is_binary(vr) and length > MAX_INLINE_BYTES and not is_wanted):
            self._skip(data_set, entry.tag, vr, start, length)
            return True
        stop = start + length
        if stop > len(self._data):
            return self._wait(stop - self._pos)
        raw = self._data[start:stop]
        head = entry.head if vr == entry.vr else element_head(entry.tag, vr)
        if vr == dictionary.US_OR_SS:
            data_set.add(entry.tag, self._us_or_ss(data_set, entry.tag, raw))
        elif elements.is_binary(vr):
            if length > MAX_INLINE_BYTES:
                self._add_bulk(data_set, entry.tag, vr, self._base + start, length)
            else:
                data_set.add(entry.tag, inline_binary(head, _little_endian(raw, vr, data_set.table)))
        else:
            data_set.add(entry.tag, data_set.table.emitters[vr](head, raw, self.notes) if raw else head + "}")
        self._learn(data_set, entry.tag, raw)
        self._pos = stop
        return True

    def _learn(self, data_set: DataSet, tag: int, raw: bytes) -> None:
        """Remember the values on which others depend."""
        if tag == elements.SPECIFIC_CHARACTER_SET:
            terms = raw.decode("latin-1").rstrip(" \0").split("\\")
            data_set.codecs, are_known = codecs_of(terms)
            self.notes.codecs = data_set.codecs
            if not are_known:
                self.notes.odd(element_head(tag, "CS"), "The character set is not a defined term")
        elif elements.is_private_creator(tag):
            data_set.creators[tag] = raw.decode("latin-1").rstrip(" \0")
        elif tag == elements.PIXEL_REPRESENTATION and raw:
            data_set.pixel_representation = int(b"\1" in raw)
        elif tag == elements.LUT_DESCRIPTOR and len(raw) >= 2:
            data_set.lut_entries = data_set.table.u16(raw)[0]
        elif tag == elements.EXTENDED_OFFSET_TABLE and data_set is self._top:
            self.extended_offsets = unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])
        if data_set is self._top and tag in data_set.table.watched:
            self.raw[tag] = raw

    def _undefined(self, data_set: DataSet, entry: Entry, vr: str) -> bool:
        """Take the head of an element of undefined length: a sequence, or encapsulated."""
        start = self._pos + entry.value_at
        if entry.tag not in elements.PIXEL_DATA:
            if vr == elements.SEQUENCE or entry.vr == elements.UNKNOWN:
                # UN of undefined length is a sequence (PS3.5 section 6.2.2).
                self._open_sequence(data_set, entry, None)
                return True
            if entry.vr == elements.MISSING:
                if len(self._data) - start < 4:
                    return self._wait(entry.value_at + 4)
                if data_set.table.u16(self._data, start)[0] == 0xFFFE:
                    self._open_sequence(data_set, entry, None)
                    return True
            if not elements.is_binary(vr):
                raise unreadable(f"An element of VR {vr} has undefined length.")
        self._walk = FragmentWalk(
            data_set.cut_at,
            is_big_endian=data_set.table.is_big_endian,
            frame_starts=self._frame_starts or (),
        )
        self._walked = PixelData(entry.tag, vr, self._base + start, 0, self._walk)
        self._pos = start
        return True

    def _step_walk(self, walk: FragmentWalk) -> bool:
        before = self._pos
        self._pos = walk.advance(self._data, self._base, self._pos)
        self._budget += self._pos - before
        if walk.is_done:
            self._end_walk(walk.stop)
            return True
        return self._pos > len(self._data) or self._wait(walk.needed)

    def _end_walk(self, stop: int) -> None:
        walked, data_set = self._walked, self._open
        assert walked is not None
        assert isinstance(data_set, DataSet)
        walked.length = max(stop - walked.offset, 0)
        self._add_bulk(data_set, walked.tag, walked.vr, walked.offset, walked.length)
        if walked.tag in elements.PIXEL_DATA and data_set is self._top:
            self.pixel_data = walked
        self._walk = self._walked = None

    def _skip(self, data_set: DataSet, tag: int, vr: str, start: int, length: int) -> None:
        """Pass a large value over."""
        offset = self._base + start
        self._add_bulk(data_set, tag, vr, offset, length)
        if data_set is self._top and tag in elements.PIXEL_DATA:
            self.pixel_data = PixelData(tag, vr, offset, length)
        self._pos = start + length
        self._budget += length

    def _add_bulk(self, data_set: DataSet, tag: int, vr: str, offset: int, length: int) -> None:
        head = element_head(tag, vr)
        if not length:
            data_set.add(tag, head + "}")
            return
        path = "/".join([*_path(data_set), f"{tag:08X}"])
        self.bulk[path] = BulkElement(path, vr, offset, length)
        data_set.add(tag, f'{head},"BulkDataURI":"bulkdata:{path}"}}')

    def _open_sequence(self, data_set: DataSet, entry: Entry, length: int | None) -> None:
        start = self._base + self._pos + entry.value_at
        end = _NEVER if length is None else start + length
        if entry.tag <= data_set.last_tag:
            data_set.is_unordered = True
        data_set.last_tag = entry.tag
        opened = Items(data_set, entry.tag, data_set.table, end, min(data_set.cut_at, end))
        if opened.depth > MAX_DEPTH:
            raise unreadable(f"Sequences are nested more than {MAX_DEPTH} deep.")
        self._open = opened
        self._pos += entry.value_at

    def _us_or_ss(self, data_set: DataSet, tag: int, raw: bytes) -> str:
        """Return the JSON of an element whose VR depends on Pixel Representation, which may be still to come."""
        if data_set.pixel_representation is not None:
            return self._with_sign(tag, raw, data_set)
        self._ambiguous.append((f"{tag:08X}", raw, data_set))
        return f'"{tag:08X}"\0{len(self._ambiguous) - 1}\0'

    def _with_sign(self, tag: int, raw: bytes, data_set: DataSet) -> str:
        representation = next((r for r in _representations(data_set) if r is not None), 0)
        vr = "SS" if representation else "US"
        head = element_head(tag, vr)
        return data_set.table.emitters[vr](head, raw, self.notes) if raw else head + "}"

    def _resolved(self, element: str) -> str:
        def with_sign(match: re.Match[str]) -> str:
            tag, raw, data_set = self._ambiguous[int(match[1])]
            return self._with_sign(int(tag, 16), raw, data_set)[10:]

        return _PLACEHOLDER.sub(with_sign, element)

    # -- bounds -------------------------------------------------------------------------------------------------

    def _shorten_pixel_data(self, end: int) -> None:
        """Accept that native pixel data at the end is cut; whether its frames are whole is seen later."""
        pixel_data = self.pixel_data
        if pixel_data is None or pixel_data.walk is not None or pixel_data.offset + pixel_data.length != self.at:
            raise unreadable("The data set ends before its last element does.")
        pixel_data.length, pixel_data.is_cut = end - pixel_data.offset, True
        path = f"{pixel_data.tag:08X}"
        self.bulk[path] = BulkElement(path, pixel_data.vr, pixel_data.offset, pixel_data.length)
        self.notes.odd(element_head(pixel_data.tag, pixel_data.vr), "The value is shorter than its length says")

    def _wait(self, needed: int) -> bool:
        """Say how many bytes must be there from here on."""
        self.needed = needed
        self._check_budget(needed)
        return False

    def _check_budget(self, more: int) -> None:
        reached = self._base + self._pos + more
        if reached > self._budget:
            raise Exhausted(
                Reason.HEADER_TOO_LARGE, "The data set without its bulk data is larger than the server takes."
            )


def _looks_implicit(data: bytes, position: int) -> bool:
    return not (0x40 < data[position + 4] < 0x5B and 0x40 < data[position + 5] < 0x5B)


def _little_endian(raw: bytes, vr: str, table: ElementTable) -> bytes:
    unit = BINARY_UNITS[vr]
    if not table.is_big_endian or unit == 1:
        return raw
    whole = len(raw) // unit * unit
    swapped = b"".join(raw[i : i + unit][::-1] for i in range(0, whole, unit))
    return swapped + raw[whole:]


def _path(data_set: DataSet) -> Iterable[str]:
    """Return tags and item numbers on the way to a data set."""
    steps: list[str] = []
    inner: DataSet | None = data_set
    while inner is not None and inner.parent is not None:
        sequence = inner.parent
        steps[:0] = [f"{sequence.tag:08X}", str(len(sequence.items) + 1)]
        inner = sequence.parent
    return steps


def _representations(data_set: DataSet | None) -> Iterable[int | None]:
    while data_set is not None:
        yield data_set.pixel_representation
        data_set = data_set.parent.parent if data_set.parent else None
