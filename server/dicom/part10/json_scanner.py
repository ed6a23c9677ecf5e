"""The single pass over a received data set: encoded elements to DICOM JSON.

Memory holds the JSON so far and the incomplete element; large binary values and all pixel data are skipped.

The instances of a series share most sequences byte by byte. The last small sequence of each tag is cached with its
JSON, and an identical one is not parsed again.
"""

import re
from dataclasses import dataclass
from struct import unpack

from server.dicom.elements import dictionary, element_headers
from server.dicom.elements.charset import character_set_of
from server.dicom.elements.element_headers import MAX_LAST_BYTES, ElementTable, Entry, element_head
from server.dicom.elements.transfer_syntax import CodestreamMarks
from server.dicom.elements.values import BINARY_UNITS, PADDING, Notes, NotFinite, inline_binary
from server.dicom.part10.nesting import NEVER, DataSet, Items
from server.dicom.part10.parser import Walk, unreadable
from server.dicom.part10.trailing_bytes import TrailingBytes
from server.dicom.pixel_data.fragments import FragmentWalk
from server.model.errors import Exhausted, InvalidRequest, Reason
from server.model.instance import BulkElement

MAX_INLINE_BYTES = 1024
_MAX_ELEMENTS = 1 << 17
_BULK_COST = 512
_COPIES_OF_PATH = 3
"""A path is in the list of bulk data, in the JSON of its element, and in the joined JSON."""

_HEAD_BYTES = 16
_MAX_CACHED_BYTES = 2048
_MAX_CACHED_SEQUENCES = 256
_PLACEHOLDER = re.compile("\0([0-9]+)\0")


@dataclass(slots=True)
class PixelData:
    """Top-level pixel data: `fragments` if encapsulated; `missing` bytes if the file is truncated in it."""

    tag: int
    vr: str
    offset: int
    length: int
    fragments: FragmentWalk | None = None
    missing: int = 0


class Scanner(Walk):
    """Scan of one data set.

    Args:
        at, explicit, implicit, is_implicit: see `Walk`.
        marks: see `TransferSyntax`.
        max_header_bytes: limit of the bytes read, without skipped values.

    Attributes:
        notes: faults found.
        bulk: elements with skipped values, by path.
        pixel_data: of the top level.
        extended_offsets: values of the Extended Offset Table.
        raw: encoded values of the watched top-level elements.
        awaited_end: end of the incomplete element in the file, if its length is correct.
    """

    def __init__(
        self,
        at: int,
        *,
        explicit: ElementTable,
        implicit: ElementTable,
        is_implicit: bool,
        marks: CodestreamMarks,
        max_header_bytes: int,
    ) -> None:
        super().__init__(at, explicit=explicit, implicit=implicit, is_implicit=is_implicit)
        self.notes = Notes(self._top)
        self.bulk: dict[str, BulkElement] = {}
        self.pixel_data: PixelData | None = None
        self.extended_offsets: tuple[int, ...] = ()
        self.raw: dict[int, bytes] = {}
        self.awaited_end = 0
        self._marks = marks
        self._max_header_bytes = max_header_bytes
        self._budget_end = at + max_header_bytes
        self._encapsulated: PixelData | None = None
        self._ambiguous: list[tuple[int, bytes, DataSet]] = []
        self._sequence_bytes: bytes | None = None
        self._sequence_mark: tuple[int, ...] = ()
        self._sequence_end = 0

    @property
    def header_bytes(self) -> int:
        """Number of bytes read, without skipped values."""
        return max(self.at - self._budget_end + self._max_header_bytes, 0)

    def feed(self, data: bytes, base: int) -> None:
        """Process `data`, which starts at `base` in the file; `base` is not after `at`.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE.
            Exhausted: HEADER_TOO_LARGE.
        """
        try:
            super().feed(data, base)
        except InvalidRequest:
            self._check_budget(0)  # the limit was exceeded before, perhaps in the same chunk
            raise
        self._check_budget(0)

    def finish(self, end: int, rest: bytes) -> list[str]:
        """Return the JSON of the top-level elements in order.

        Args:
            end: end of the data set in the file.
            rest: the last bytes, from `at` on; empty if `at` is beyond.

        Bytes too short for an element are padding. Encapsulated pixel data may lack its delimiter, and elements after
        pixel data may be truncated.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, the data set is truncated.
        """
        self._end_at(end, rest)
        if self._inner is not None and self.at == end and self._open is self._top:
            self._end_unfinished_fragments()
        self._check_end(end)
        if self.at > end:
            self._end_early(end)
        elif self._inner is not None or self.at < end:
            self._check_trailing_bytes(rest[len(rest) - (end - self.at) :])
        json = _ordered(self._top)
        return [_PLACEHOLDER.sub(self._resolved, element) for element in json] if self._ambiguous else json

    def add_trailing_bytes(self) -> None:
        """Report that bytes other than zeros follow the data set."""
        self._irregular(
            element_headers.TRAILING_PADDING, "OB", "The data set is followed by bytes that are not a data element"
        )

    # -- the pass -----------------------------------------------------------------------------------------------

    def _run(self, data_set: DataSet) -> None:
        """Process ordinary elements: the loop that takes nearly all of the time."""
        data, base, position = self._data, self._base, self._pos
        table, notes = data_set.table, self.notes
        read_head, append, last_tag = table.read_head, data_set.json.append, data_set.last_tag
        size = len(data)
        end = size if data_set.cut_at is NEVER else min(size, int(data_set.cut_at) - base)
        # A header with 16-bit length must fit into the data set, one with 32-bit length into the data.
        last_start = size - 12
        if data_set.close_at is not NEVER:
            last_start = min(last_start, int(data_set.close_at) - base - 8)
        try:
            while position <= last_start:
                key, length = read_head(data, position)
                tag, plain, emit, opening, closing, head, value_at, last, _ = table[key]
                if emit is None:
                    if opening or position + value_at + length > end:
                        break
                    position += value_at + length  # a group length
                    continue
                if value_at == 12:
                    (length,) = table.read_long(data, position)
                start = position + value_at
                stop = start + length
                if stop > end:
                    break
                if tag <= last_tag:
                    data_set.is_unordered = True
                raw = data[start:stop]
                if raw == last.raw and raw:
                    append(last.element)
                elif plain is not None and plain(text := raw.rstrip(PADDING).decode("latin-1")):
                    append(element := opening + text + closing)
                    if length <= MAX_LAST_BYTES:
                        last.raw, last.element = raw, element
                elif not raw:
                    append(head + "}")
                else:
                    count_before = notes.count
                    append(element := emit(head, raw, notes))
                    if last.is_independent and length <= MAX_LAST_BYTES and notes.count == count_before:
                        last.raw, last.element = raw, element
                position, last_tag = stop, tag
        except NotFinite:
            pass  # this element gets an entry in `bulk`
        self._pos, data_set.last_tag = position, last_tag
        self._check_count(data_set)

    def _take_value(self, data_set: DataSet, entry: Entry, vr: str, length: int) -> bool:
        start = self._pos + entry.value_at
        tag = entry.tag
        if element_headers.is_group_length(tag):
            self._pos = start + length
            return True
        if vr == dictionary.US_OR_OW:
            vr = "US" if data_set.lut_entries == 1 else "OW"
        is_bulk = vr in BINARY_UNITS and length > MAX_INLINE_BYTES
        if tag in element_headers.PIXEL_DATA or (is_bulk and tag != element_headers.EXTENDED_OFFSET_TABLE):
            self._skip(data_set, tag, vr, start, length)
            return True
        stop = start + length
        if stop > len(self._data):
            return self._wait(stop - self._pos)
        raw = self._data[start:stop]
        self._add(data_set, tag, self._element(data_set, entry, vr, raw))
        self._note_value(data_set, tag, raw)
        self._pos = stop
        return True

    def _element(self, data_set: DataSet, entry: Entry, vr: str, raw: bytes) -> str:
        """Return the JSON of an element whose value is available."""
        table = data_set.table
        head = entry.head if vr == entry.vr else element_head(entry.tag, vr)
        if vr == dictionary.US_OR_SS:
            return self._us_or_ss(data_set, entry.tag, raw)
        offset = self._base + self._pos + entry.value_at
        if vr not in BINARY_UNITS:
            try:
                return table.emitters[vr](head, raw, self.notes) if raw else head + "}"
            except NotFinite:
                return self._bulk_element(data_set, entry.tag, vr, offset, len(raw))
        if len(raw) > MAX_INLINE_BYTES:
            return self._bulk_element(data_set, entry.tag, vr, offset, len(raw))
        return inline_binary(head, _little_endian(raw, BINARY_UNITS[vr]) if table.is_big_endian else raw)

    def _note_value(self, data_set: DataSet, tag: int, raw: bytes) -> None:
        super()._note_value(data_set, tag, raw)
        if tag == element_headers.SPECIFIC_CHARACTER_SET:
            terms = tuple(raw.decode("latin-1").rstrip(" \0").split("\\"))
            data_set.character_set, problem = character_set_of(terms)
            if problem:
                self._irregular(tag, "CS", problem)
        elif tag == element_headers.EXTENDED_OFFSET_TABLE and data_set is self._top:
            self.extended_offsets = unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])
        if data_set is self._top and tag in data_set.table.watched:
            self.raw[tag] = raw

    def _add(self, data_set: DataSet, tag: int, element: str) -> None:
        if tag <= data_set.last_tag:
            data_set.is_unordered = True
        data_set.last_tag = tag
        data_set.json.append(element)
        self._check_count(data_set)

    def _irregular(self, tag: int, vr: str, message: str) -> None:
        self.notes.add_irregular(element_head(tag, vr), message)

    # -- items and sequences ------------------------------------------------------------------------------------

    def _take_sequence(self, data_set: DataSet, entry: Entry, length: int) -> bool:
        if data_set is not self._top:
            return False
        start = self._pos + entry.value_at
        stop = start + length
        self._sequence_bytes = None
        if length > _MAX_CACHED_BYTES or stop > len(self._data):
            return False
        raw = self._data[start:stop]
        known = data_set.table.sequences.get(entry.tag)
        if known is None or known[0] != raw or known[1] != data_set.character_set:
            self._sequence_bytes, self._sequence_mark = raw, self._mark()
            self._sequence_end = self._base + stop
            return False
        self._add(data_set, entry.tag, known[2])
        self._pos = stop
        return True

    def _cache_sequence(self, data_set: DataSet, tag: int) -> None:
        """Cache a parsed sequence, unless it has effects besides its JSON, or does not end at its length: a delimiter
        ends it before, and an element that exceeds it after.
        """
        raw, known = self._sequence_bytes, data_set.table.sequences
        has_room = tag in known or len(known) < _MAX_CACHED_SEQUENCES
        is_whole = self._base + self._pos == self._sequence_end
        if raw is not None and is_whole and has_room and self._mark() == self._sequence_mark:
            known[tag] = (raw, data_set.character_set, data_set.json[-1])
        self._sequence_bytes = None

    def _mark(self) -> tuple[int, ...]:
        return self.notes.count, len(self.bulk), len(self._ambiguous), self.mislabelled

    def _started(self, opened: DataSet | Items) -> None:
        if isinstance(opened, Items):
            if opened.tag <= opened.parent.last_tag:
                opened.parent.is_unordered = True
            opened.parent.last_tag = opened.tag
        else:
            self.notes.within = opened

    def _ended(self, closed: DataSet | Items) -> None:
        if isinstance(closed, Items):
            if element_headers.is_group_length(closed.tag):
                return
            value = f',"Value":[{",".join(closed.json)}]' if closed.json else ""
            closed.parent.json.append(f"{element_head(closed.tag, element_headers.SEQUENCE)}{value}}}")
            if closed.parent is self._top:
                self._cache_sequence(self._top, closed.tag)
        elif closed.parent is not None:
            closed.parent.json.append(f"{{{','.join(_ordered(closed))}}}" if closed.json else "{}")
            self.notes.within = closed.parent.parent

    # -- bulk values --------------------------------------------------------------------------------------------

    def _skip(self, data_set: DataSet, tag: int, vr: str, start: int, length: int) -> None:
        offset = self._base + start
        self._add(data_set, tag, self._bulk_element(data_set, tag, vr, offset, length))
        if data_set is self._top and tag in element_headers.PIXEL_DATA:
            self.pixel_data = PixelData(tag, vr, offset, length)
        self._pos = start + length
        self._budget_end += length

    def _take_encapsulated(self, data_set: DataSet, entry: Entry, vr: str) -> None:
        fragments = FragmentWalk(data_set.cut_at, is_big_endian=data_set.table.is_big_endian, marks=self._marks)
        if data_set.table.is_implicit and vr == "OW":
            vr = "OB"  # compressed data has no words (PS3.5 section A.4)
        self._encapsulated = PixelData(entry.tag, vr, self._base + self._pos, 0, fragments)
        self._inner = fragments

    def _passed(self, count: int) -> None:
        self._budget_end += count

    def _inner_done(self) -> None:
        taken, data_set = self._encapsulated, self._open
        assert taken is not None
        assert taken.fragments is not None
        assert isinstance(data_set, DataSet)
        if element_headers.is_group_length(taken.tag):
            return
        taken.length = max(taken.fragments.stop - taken.offset, 0)
        self._add(data_set, taken.tag, self._bulk_element(data_set, taken.tag, taken.vr, taken.offset, taken.length))
        if taken.tag in element_headers.PIXEL_DATA and data_set is self._top:
            self.pixel_data = taken

    def _bulk_element(self, data_set: DataSet, tag: int, vr: str, offset: int, length: int) -> str:
        head = element_head(tag, vr)
        if not length:
            return head + "}"
        path = "/".join([*data_set.steps(), f"{tag:08X}"])
        # Its entry counts against the limit, too: nested deeply, an element of a few bytes has a path of a thousand.
        self._budget_end -= _BULK_COST + _COPIES_OF_PATH * len(path)
        self._check_budget(0)
        self.bulk[path] = BulkElement(path, vr, offset, length)
        return f'{head},"BulkDataURI":"bulkdata:{path}"}}'

    # -- US or SS -----------------------------------------------------------------------------------------------

    def _us_or_ss(self, data_set: DataSet, tag: int, raw: bytes) -> str:
        """Return the JSON of an element whose VR depends on Pixel Representation, which may follow later."""
        if data_set.pixel_representation is not None:
            return self._with_sign(data_set, tag, raw)
        self._ambiguous.append((tag, raw, data_set))
        return f'"{tag:08X}"\0{len(self._ambiguous) - 1}\0'

    def _with_sign(self, data_set: DataSet, tag: int, raw: bytes) -> str:
        vr = "SS" if data_set.is_signed() else "US"
        head = element_head(tag, vr)
        return data_set.table.emitters[vr](head, raw, self.notes) if raw else head + "}"

    def _resolved(self, placeholder: re.Match[str]) -> str:
        tag, raw, data_set = self._ambiguous[int(placeholder[1])]
        self.notes.within = data_set
        return self._with_sign(data_set, tag, raw)[10:]

    # -- bounds -------------------------------------------------------------------------------------------------

    def _end_unfinished_fragments(self) -> None:
        """Accept encapsulated pixel data without sequence delimiter."""
        if isinstance(self._inner, FragmentWalk) and self._inner.can_end:
            self._inner = None
            self._inner_done()

    def _check_trailing_bytes(self, rest: bytes) -> None:
        """Report bytes other than zeros after the last element; `rest` is the unprocessed part."""
        if rest.strip(b"\0") or (isinstance(self._inner, TrailingBytes) and self._inner.has_others):
            self.add_trailing_bytes()

    def _end_early(self, end: int) -> None:
        """Truncate the last value, which exceeds the file, or omit its element if it may not be one."""
        if self._cut_pixel_data(end):
            return
        path, last = next(reversed(self.bulk.items()), ("", None))
        if not self._last_element or last is None or "/" in path or last.offset + last.length != self.at:
            raise unreadable("The data set ends within its last element.")
        del self.bulk[path]
        self._top.json = [element for element in self._top.json if element[1:9] != path]
        self.add_trailing_bytes()

    def _cut_pixel_data(self, end: int) -> bool:
        """Accept truncated native pixel data; complete frames are determined later."""
        pixel_data = self.pixel_data
        if pixel_data is None or pixel_data.fragments is not None or pixel_data.offset + pixel_data.length != self.at:
            return False
        pixel_data.length, pixel_data.missing = end - pixel_data.offset, self.at - end
        path = f"{pixel_data.tag:08X}"
        self.bulk[path] = BulkElement(path, pixel_data.vr, pixel_data.offset, pixel_data.length)
        self._irregular(pixel_data.tag, pixel_data.vr, "The value is shorter than its declared length")
        return True

    def _wait(self, needed: int) -> bool:
        if needed > _HEAD_BYTES:  # no further headers may follow
            self.awaited_end = self._base + self._pos + needed
            self._check_budget(needed)
        return super()._wait(needed)

    def _check_count(self, data_set: DataSet) -> None:
        if len(data_set.json) > _MAX_ELEMENTS:
            raise _too_large()

    def _check_budget(self, more: int) -> None:
        if self._base + self._pos + more > self._budget_end:
            raise _too_large()


def _too_large() -> Exhausted:
    return Exhausted(Reason.HEADER_TOO_LARGE, "The data set without bulk data exceeds the size limit.")


def _ordered(data_set: DataSet) -> list[str]:
    """Return the elements in ascending order of tag; of duplicates the last, as pydicom does."""
    if not data_set.is_unordered:
        return data_set.json
    last = {element[:10]: element for element in data_set.json}
    return [last[tag] for tag in sorted(last)]


def _little_endian(raw: bytes, unit: int) -> bytes:
    words = (raw[i : i + unit] for i in range(0, len(raw), unit))
    return b"".join(word[::-1] if len(word) == unit else word for word in words)
