"""Where frames lie in pixel data (PS3.5 sections 8.1.1, 8.2 and A.4; PS3.3 section C.7.6.3)."""

import sys
from array import array
from collections.abc import Sequence
from struct import Struct, unpack

from server.model.errors import InvalidRequest, Reason
from server.model.instance import PixelLayout

UNDEFINED_LENGTH = 0xFFFFFFFF

_ITEM_HEADER_BYTES = 8
_START_BYTES = 12
_MAX_FRAGMENTS = 1 << 22


class FragmentWalk:
    """Steps over the items of an encapsulated value without holding them.

    Feed it through `advance`. It remembers where fragments begin and whether a coded frame begins with them. More than
    four million fragments are not remembered; their frames can't be addressed, unless there is only one.

    Attributes:
        needed: bytes that must be there from the position returned by `advance`.
        is_done: the sequence delimiter, or `end`, was met.
        first, stop: absolute positions of the first fragment's item and after the last fragment.
    """

    def __init__(self, end: float, *, is_big_endian: bool, frame_starts: tuple[bytes, ...]) -> None:
        order = ">" if is_big_endian else "<"
        header = Struct(f"{order}HH")
        self.needed = _ITEM_HEADER_BYTES
        self.is_done = False
        self.first: int | None = None
        self.stop = 0
        self.starts = array("Q")
        self.begins_frame = bytearray()
        self.offsets: Sequence[int] = ()
        self._end = end
        self._order = order
        self._frame_starts = frame_starts
        self._item = header.pack(0xFFFE, 0xE000)
        self._delimiter = header.pack(0xFFFE, 0xE0DD)
        self._length = Struct(f"{order}I").unpack_from
        self._has_table = False
        self._is_searching = False

    def advance(self, data: bytes, base: int, position: int) -> int:
        """Go on at `position` in `data`, which begins at `base` of the file; return how far it came.

        The result may lie after the end of `data`: what is between need not be fed.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, a fragment of undefined length.
        """
        while not self.is_done:
            if base + position >= self._end:
                self.is_done = True
                break
            if self._is_searching:
                return self._search(data, base, position)
            if len(data) - position < _ITEM_HEADER_BYTES:
                self.needed = _ITEM_HEADER_BYTES
                break
            tag = data[position : position + 4]
            if tag == self._delimiter:
                self.is_done = True
                return position + _ITEM_HEADER_BYTES
            if tag != self._item:
                self._search_from_here()
                continue
            length: int = self._length(data, position + 4)[0]
            if length == UNDEFINED_LENGTH:
                raise InvalidRequest(Reason.UNREADABLE_INSTANCE, "A fragment of pixel data has undefined length.")
            head = length if not self._has_table else min(length, _START_BYTES)
            if len(data) - position < _ITEM_HEADER_BYTES + head:
                self.needed = _ITEM_HEADER_BYTES + head
                break
            content = position + _ITEM_HEADER_BYTES
            if self._has_table:
                self._remember(base + position, data[content : content + head])
            else:
                self._read_table(data[content : content + length])
            position = content + length
            self.stop = base + position
        return position

    @property
    def can_end(self) -> bool:
        """Whether all bytes so far are whole fragments, so that only the delimiter may be missing."""
        return self.first is not None and not self._is_searching

    def _read_table(self, raw: bytes) -> None:
        self._has_table = True
        self.offsets = unpack(f"{self._order}{len(raw) // 4}I", raw[: len(raw) // 4 * 4])

    def _remember(self, start: int, head: bytes) -> None:
        if self.first is None:
            self.first = start
        if len(self.starts) < _MAX_FRAGMENTS:
            self.starts.append(start)
            self.begins_frame.append(head.startswith(self._frame_starts) if self._frame_starts else False)

    def _search_from_here(self) -> None:
        # Something else than items: like pydicom, look for the bytes of the delimiter.
        self._is_searching = True
        self.first = None
        del self.starts[:]

    def _search(self, data: bytes, base: int, position: int) -> int:
        found = data.find(self._delimiter, position)
        if found < 0:
            self.needed = 4
            return max(position, len(data) - 3)
        if len(data) - found < _ITEM_HEADER_BYTES:
            self.needed = _ITEM_HEADER_BYTES
            return found
        self.is_done = True
        self.stop = base + found
        return found + _ITEM_HEADER_BYTES


def frame_table(walk: FragmentWalk, number_of_frames: int, extended_offsets: Sequence[int]) -> bytes:
    """Return `PixelLayout.table` of encapsulated frames; empty if frames and fragments can't be matched.

    One frame has all fragments; as many fragments as frames are one each. Otherwise the Extended or the Basic Offset
    Table decides, if it names a fragment for each frame, and at last the fragments that begin like a coded frame.
    """
    if walk.first is None:
        return b""
    if number_of_frames == 1:
        return _records([walk.first], walk.stop)
    if len(walk.starts) >= _MAX_FRAGMENTS:
        return b""
    if len(walk.starts) == number_of_frames:
        return _records(walk.starts, walk.stop)
    for offsets in (extended_offsets, walk.offsets):
        if starts := _starts_by_offsets(walk, number_of_frames, offsets):
            return _records(starts, walk.stop)
    starts = [start for start, begins in zip(walk.starts, walk.begins_frame, strict=True) if begins]
    if len(starts) == number_of_frames and walk.begins_frame[0]:
        return _records(starts, walk.stop)
    return b""


def native_layout(
    *, number_of_frames: int, offset: int, length: int, bits_allocated: int, frame_bits: int
) -> PixelLayout:
    """Return the layout of uncompressed pixel data; if no frame of the known size fits in, all of it is one frame."""
    if not 0 < frame_bits <= length * 8:
        return PixelLayout(1, offset, length, bits_allocated, length * 8)
    return PixelLayout(number_of_frames, offset, length, bits_allocated, frame_bits)


def _starts_by_offsets(walk: FragmentWalk, number_of_frames: int, offsets: Sequence[int]) -> list[int]:
    """Return where frames begin by an offset table; empty if it doesn't fit the fragments."""
    if len(offsets) != number_of_frames or walk.first is None or offsets[0] != 0:
        return []
    wanted = [walk.first + offset for offset in offsets]
    fragments = iter(walk.starts)
    # Each search goes on where the last one ended, so this also demands ascending order.
    return wanted if all(start in fragments for start in wanted) else []


def _records(starts: Sequence[int], stop: int) -> bytes:
    firsts = array("Q", starts)
    afters = firsts[1:]
    afters.append(stop)
    table = array("Q", bytes(len(firsts) * PixelLayout.RECORD_BYTES))
    table[::2], table[1::2] = firsts, afters
    if sys.byteorder == "big":
        table.byteswap()
    return table.tobytes()
