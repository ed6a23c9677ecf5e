"""Fragments of encapsulated pixel data: their positions, and classification by first and last bytes (PS3.5 section
A.4).

Works on a stream; only the headers and the ends of fragments are read.
"""

import re
from array import array
from collections.abc import Sequence
from math import inf
from struct import Struct, unpack

from server.dicom.elements.transfer_syntax import CodestreamMarks
from server.model.errors import InvalidRequest, Reason

UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_FRAGMENTS = 1 << 22

OTHER, START, BARE_START, FILLER = range(4)
"""Classes of fragments. OTHER: the middle of a codestream, or unknown. START: the start of a codestream. BARE_START:
only its
first marker. FILLER: at most the end marker of a codestream; empty or padding."""

_ITEM_HEADER_BYTES = 8
_HEAD_BYTES = 12
_TAIL_BYTES = 4
_PADDING = b"\0\xff"
_JPEG_MARKERS = (b"\xff\xd8", b"\xff\x4f")  # SOI, and SOC of JPEG 2000
_JPEG_END = b"\xff\xd9"  # EOI, EOC
_PADDED_JPEG_END = _JPEG_END + b"\0"
_ENDS_JPEG = re.compile(rb"\xff\xd9[\0\xff]*\Z")
AFTER_PIXEL_DATA = (0xFFFCFFFC, 0xFFFAFFFA)
"""PS3.6 has no elements between Pixel Data and these; a writer that omits the delimiter may continue with them."""


class FragmentWalk:
    """Steps over the items of an encapsulated value without storing them.

    Feed it through `advance`. At most four million fragments are recorded; with more, frames cannot be addressed unless
    there is only one.

    Attributes:
        marks: of the transfer syntax.
        needed: number of bytes required from the position returned by `advance`.
        is_done: the sequence delimiter, or `end`, was reached.
        kept_bytes: size of the Basic Offset Table.
        first, stop: absolute positions of the first fragment's item, and after the last fragment.
        starts: positions of the items of the fragments.
        kinds: OTHER, START, BARE_START or FILLER for each fragment.
        ends: 1 for each fragment that ends with the end of a codestream, if that is recognisable.
        empty_count: number of empty fragments.
        offsets: of the Basic Offset Table.
    """

    def __init__(self, end: float, *, is_big_endian: bool, marks: CodestreamMarks) -> None:
        order = ">" if is_big_endian else "<"
        header = Struct(f"{order}HH")
        self.marks = marks
        self.needed = _ITEM_HEADER_BYTES
        self.is_done = False
        self.kept_bytes = 0
        self.first: int | None = None
        self.stop = 0
        self.starts = array("Q")
        self.kinds = bytearray()
        self.ends = bytearray()
        self.empty_count = 0
        self.offsets: Sequence[int] = ()
        self._end = end
        self._order = order
        self._item = header.pack(0xFFFE, 0xE000)
        self._delimiter = header.pack(0xFFFE, 0xE0DD)
        self._after = tuple(header.pack(tag >> 16, tag & 0xFFFF) for tag in AFTER_PIXEL_DATA)
        self._length = Struct(f"{order}I").unpack_from
        self._may_be_plain = bool(marks.starts) and end == inf
        self._has_table = False
        self._is_searching = False
        self._tail = 0  # bytes of the last fragment still to be examined

    def advance(self, data: bytes, base: int, position: int) -> int:
        """Continue at `position` in `data`, which starts at `base` in the file; return the position reached.

        The result may be after the end of `data`: the bytes in between need not be fed.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, a fragment of undefined length.
        """
        while not self.is_done:
            if base + position >= self._end:
                self.is_done = True
                break
            if self._is_searching:
                return self._search(data, base, position)
            if len(data) - position < self._tail:
                self.needed = self._tail
                break
            if self._tail:
                self._check_end(data[position : position + self._tail])
                position, self._tail = position + self._tail, 0
            if self._may_be_plain and self.first is not None:
                position = self._take_plain(data, base, position)
            if len(data) - position < _ITEM_HEADER_BYTES:
                self.needed = _ITEM_HEADER_BYTES
                break
            tag = data[position : position + 4]
            if tag == self._delimiter:
                self.is_done = True
                return position + _ITEM_HEADER_BYTES
            if tag != self._item:
                if self.first is not None and tag in self._after:
                    self.is_done = True
                    return position
                self._search_from_here()
                continue
            length: int = self._length(data, position + 4)[0]
            if length == UNDEFINED_LENGTH:
                raise InvalidRequest(Reason.UNREADABLE_INSTANCE, "A fragment of pixel data has undefined length.")
            head = length if not self._has_table else min(length, _HEAD_BYTES)
            if len(data) - position < _ITEM_HEADER_BYTES + head:
                self.needed = _ITEM_HEADER_BYTES + head
                break
            content = position + _ITEM_HEADER_BYTES
            start, position = position, content + length
            self.stop = base + position
            if not self._has_table:
                self._read_table(data[content:position])
                continue
            self._remember(base + start, data[content : content + head], length)
            if self.marks.has_end:
                tail = min(length, _TAIL_BYTES)
                if position <= len(data):
                    self._check_end(data[position - tail : position])
                else:
                    position, self._tail = position - tail, tail
        return position

    @property
    def can_end(self) -> bool:
        """Whether all bytes so far are complete fragments, so that only the delimiter may be missing."""
        return self.first is not None and not self._is_searching and not self._tail

    def _take_plain(self, data: bytes, base: int, position: int) -> int:
        """Fast path: take fragments while each is complete in `data` and is a complete codestream, as nearly all
        are."""
        item, length_at, starts, has_end = self._item, self._length, self.marks.starts, self.marks.has_end
        taken, last = array("Q"), len(data) - _ITEM_HEADER_BYTES
        while position <= last and data.startswith(item, position):
            content = position + _ITEM_HEADER_BYTES
            stop = content + length_at(data, position + 4)[0]
            if stop > len(data) or not data.startswith(starts, content):
                break
            if has_end and data[stop - 2 : stop] != _JPEG_END and data[stop - 3 : stop] != _PADDED_JPEG_END:
                break
            taken.append(base + position)
            position = stop
        if taken and len(self.starts) + len(taken) <= MAX_FRAGMENTS:
            self.starts.extend(taken)
            self.kinds += bytes((START,)) * len(taken)
            self.ends += bytes((has_end,)) * len(taken)
            self.stop = base + position
            return position
        return position if not taken else taken[0] - base

    def _read_table(self, raw: bytes) -> None:
        self._has_table = True
        self.kept_bytes = len(raw)
        self.offsets = unpack(f"{self._order}{len(raw) // 4}I", raw[: len(raw) // 4 * 4])

    def _remember(self, start: int, head: bytes, length: int) -> None:
        if self.first is None:
            self.first = start
        if len(self.starts) < MAX_FRAGMENTS:
            self.starts.append(start)
            self.kinds.append(_kind(head, length, self.marks))
            self.ends.append(0)
            self.empty_count += not length

    def _check_end(self, tail: bytes) -> None:
        if len(self.starts) < MAX_FRAGMENTS and (tail.endswith(_JPEG_END) or _ENDS_JPEG.search(tail)):
            self.ends[-1] = 1

    def _search_from_here(self) -> None:
        # Not an item: like pydicom, search for the bytes of the delimiter.
        self._is_searching = True
        self.first = None
        del self.starts[:]

    def _search(self, data: bytes, base: int, position: int) -> int:
        found, self.needed = find_delimiter(data, position, self._end - base, self._delimiter)
        if self.needed:
            return found
        self.is_done = True
        self.stop = base + found
        return found + (_ITEM_HEADER_BYTES if self.stop < self._end else 0)


def find_delimiter(data: bytes, position: int, end: float, delimiter: bytes) -> tuple[int, int]:
    """Search for the first four bytes of a sequence delimiter.

    Args:
        position, end: of the bytes to search; `end` may be after the end of `data`.

    Returns:
        The position reached, and the number of bytes required from there to continue: 0 at a delimiter, which is whole
        and before `end`, and at `end`.
    """
    limit = int(min(len(data), end))
    found = data.find(delimiter, position, limit)
    if found >= 0 and end - found >= _ITEM_HEADER_BYTES:
        return found, 0 if len(data) - found >= _ITEM_HEADER_BYTES else _ITEM_HEADER_BYTES
    if limit == end:
        return limit, 0
    return max(position, limit - 3), 4


def _kind(head: bytes, length: int, marks: CodestreamMarks) -> int:
    """Classify a fragment of `length` bytes that starts with `head`."""
    if marks.starts and head.startswith(marks.starts):
        return START
    if length <= len(head):
        if marks.has_end and head in _JPEG_MARKERS:
            return BARE_START
        if not (head.replace(_JPEG_END, b"") if marks.has_end else head).strip(_PADDING):
            return FILLER
    return OTHER
