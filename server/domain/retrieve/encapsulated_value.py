"""Encapsulated pixel data as one value, its joined fragments, with ranges; used for videos (PS3.5 A.4).

A stored version never changes, so the positions of its fragments are cached.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator
from dataclasses import dataclass
from struct import Struct

from server.domain.flow.byte_cache import ByteCache
from server.domain.retrieve.blob_reader import EXPLICIT_BIG_ENDIAN, BlobReader
from server.model.buffer import Buffer
from server.model.errors import Reason, WrongState
from server.model.instance import Locator, StoredInstance

_HEADER_BYTES = 8
_FIRST_BYTES = 4 << 10
"""Enough for the offset table and the first item header of most videos."""

_MIN_SKIP_BYTES = 256 << 10
"""Larger fragments are skipped; reading through smaller ones is faster than many reads."""

_MAX_FRAGMENTS = 1 << 20
_CACHE_BYTES = 16 << 20
_OVERHEAD_BYTES = 500

_ITEM = (0xFFFE, 0xE000)
_DELIMITER = (0xFFFE, 0xE0DD)


@dataclass(frozen=True, slots=True)
class Fragments:
    """Positions of the fragments of a value, without the offset table and empty fragments.

    starts: offsets in the file of the first byte of each fragment.
    ends: offsets in the value after the last byte of each fragment.
    """

    starts: "array[int]"
    ends: "array[int]"

    @property
    def size_bytes(self) -> int:
        """Return the size of the value."""
        return self.ends[-1] if self.ends else 0

    @property
    def cost_bytes(self) -> int:
        """Return the approximate memory of this object."""
        return _OVERHEAD_BYTES + self.starts.itemsize * len(self.starts) + self.ends.itemsize * len(self.ends)

    def begin(self, number: int) -> int:
        """Return the offset in the value of the first byte of fragment `number`, from 0."""
        return self.ends[number - 1] if number else 0


class FragmentReader:
    """Reads encapsulated values as joined fragments.

    Guarantees: at most about 16 MiB of fragment positions are cached; concurrent calls share one scan of a value. For
    use within one event loop.
    """

    def __init__(self, blob_reader: BlobReader) -> None:
        self._blob_reader = blob_reader
        self._cache: ByteCache[tuple[Locator, int], Fragments] = ByteCache(
            "encapsulatedValues", _CACHE_BYTES, lambda found: found.cost_bytes
        )

    def known(self, stored: StoredInstance, offset: int) -> Fragments | None:
        """Return the fragments of the value at `offset` if they are cached."""
        return self._cache.known((stored.locator, offset))

    async def find(self, stored: StoredInstance, offset: int, length: int) -> Fragments:
        """Return the positions of the fragments of a value.

        offset, length: all items of the value, as `BulkElement` has them.

        Raises:
            WrongState: PIXEL_DATA_UNREADABLE, it contains something other than items, or more than a million fragments.
            DataLoss, Unavailable: as `BlobStore.read`.
        """
        return await self._cache.get((stored.locator, offset), lambda: self._scan(stored, offset, offset + length))

    async def read(
        self, stored: StoredInstance, fragments: Fragments, offset: int, length: int
    ) -> AsyncIterator[Buffer]:
        """Yield `length` bytes from `offset` of the value; both must lie within it."""
        if not length:
            return
        number = bisect_right(fragments.ends, offset)
        last = bisect_left(fragments.ends, offset + length)
        position = fragments.starts[number] + offset - fragments.begin(number)
        stop = fragments.starts[last] + offset + length - fragments.begin(last)
        async for chunk in self._blob_reader.read(stored, position, stop - position):
            base, end = position, position + len(chunk)
            pieces = []
            while position < end:
                fragment_stop = fragments.starts[number] + fragments.ends[number] - fragments.begin(number)
                pieces.append((max(position, fragments.starts[number]) - base, min(end, fragment_stop) - base))
                if end < fragment_stop:
                    break
                number += 1
                position = fragments.starts[number] if number <= last else end
            position = end
            if pieces == [(0, len(chunk))]:
                yield chunk
            elif joined := b"".join([chunk[start:until] for start, until in pieces if start < until]):
                yield joined

    async def _scan(self, stored: StoredInstance, position: int, stop: int) -> Fragments:
        """Scan the items between two offsets; large ones are skipped, small ones read through."""
        order = ">" if stored.transfer_syntax_uid == EXPLICIT_BIG_ENDIAN else "<"
        header = Struct(f"{order}HHI").unpack_from
        found = Fragments(array("Q"), array("Q"))
        size, window, is_table = 0, _FIRST_BYTES, True
        while position < stop:
            data = await self._bytes(stored, position, min(window, stop - position))
            at = 0
            while len(data) - at >= _HEADER_BYTES:
                group, element, length = header(data, at)
                if (group, element) == _DELIMITER:
                    return found
                if (group, element) != _ITEM or position + at + _HEADER_BYTES + length > stop:
                    raise _unreadable("It contains an element that is not a fragment.")
                at += _HEADER_BYTES
                if length and not is_table:
                    size += length
                    found.starts.append(position + at)
                    found.ends.append(size)
                    if len(found.ends) > _MAX_FRAGMENTS:
                        raise _unreadable("It has too many fragments.")
                at += length
                is_table = False
            if not at:
                raise _unreadable("It ends within a fragment.")
            window = _HEADER_BYTES if at - len(data) > _MIN_SKIP_BYTES else self._blob_reader.piece_bytes()
            position += at
        return found

    async def _bytes(self, stored: StoredInstance, offset: int, length: int) -> bytes:
        return b"".join([chunk async for chunk in self._blob_reader.read(stored, offset, length)])


def _unreadable(cause: str) -> WrongState:
    return WrongState(Reason.PIXEL_DATA_UNREADABLE, f"The encapsulated value cannot be read. {cause}")
