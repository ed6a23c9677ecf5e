"""Frames as stored: their positions and bytes."""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from io import BytesIO

from server.dicom.elements.transfer_syntax import GE_BIG_ENDIAN_PIXELS, is_defined, transfer_syntax
from server.dicom.part10.rewriter import inflate
from server.dicom.pixel_data import frames
from server.domain.retrieve.blob_reader import (
    DEFLATED_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    BlobReader,
    chained,
    part_of,
    swapped_bytes,
)
from server.model.buffer import Buffer
from server.model.errors import DataLoss, NotFound, Reason, WrongState
from server.model.ids import InstanceId, Version
from server.model.instance import PixelLayout, StoredInstance
from server.ports.index import InstanceIndex

PIXEL_DATA = "7FE00010"
NATIVE = frozenset(
    {
        *(IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN),
        GE_BIG_ENDIAN_PIXELS,
    }
)

_ITEM_HEADER_BYTES = 8
_RECORDS = 256
"""Number of frame positions read from the index at a time."""


@dataclass(frozen=True, slots=True)
class OpenBytes:
    """The bytes of a frame and their number; None if it is unknown before all are read."""

    size_bytes: int | None
    chunks: AsyncIterator[Buffer]


class PixelReader:
    """Finds the pixel data of instances."""

    def __init__(self, blob_reader: BlobReader, index: InstanceIndex) -> None:
        self._blob_reader = blob_reader
        self._index = index

    async def find(
        self, instance: InstanceId, numbers: Collection[int] = (), version: Version | None = None
    ) -> tuple[StoredInstance, "Pixels | None"] | None:
        """Return a version of an instance with its pixel data (None if it has none), or None if there is no such
        version.

        numbers: frames that the caller is going to read.
        version: None means the current one.
        """
        found = await self._index.frames(instance, sorted(set(numbers)), version)
        if found is None:
            return None
        stored, layout, records = found
        return stored, Pixels(self._blob_reader, self._index, stored, layout, records) if layout else None


class Pixels:
    """The pixel data of a version of an instance, for one request."""

    def __init__(
        self,
        blob_reader: BlobReader,
        index: InstanceIndex,
        stored: StoredInstance,
        layout: PixelLayout,
        records: dict[int, tuple[int, int]],
    ) -> None:
        self.stored = stored
        self.layout = layout
        self._blob_reader = blob_reader
        self._index = index
        self._records = records
        self._unit: int | None = None
        self._inflated: _Inflated | None = None

    @property
    def syntax(self) -> str:
        """Return the transfer syntax of frames as returned by `open`.

        Native frames are little endian, except in an unknown private transfer syntax.
        """
        if self.layout.is_encapsulated:
            return self.stored.transfer_syntax_uid
        stored = self.stored.transfer_syntax_uid
        return stored if stored == IMPLICIT_LITTLE_ENDIAN or not is_defined(stored) else EXPLICIT_LITTLE_ENDIAN

    async def require(self, numbers: Collection[int]) -> None:
        """Check that frames exist.

        Raises:
            NotFound: FRAME_NOT_FOUND.
        """
        for number in numbers:
            exists = number <= self.layout.number_of_frames
            if not exists or (self.layout.is_encapsulated and await self._record(number) is None):
                raise _no_frame(number, self.layout)

    async def has_frames(self) -> bool:
        """True if frames can be separated; those of a video cannot."""
        return not self.layout.is_encapsulated or await self._record(1) is not None

    async def require_all(self) -> None:
        """Check that no frame is missing.

        Raises:
            WrongState: PIXEL_DATA_UNREADABLE.
        """
        if not self.layout.is_encapsulated:
            return
        last = self.layout.number_of_frames
        for first in range(1, last + 1, _RECORDS):
            numbers = range(first, min(first + _RECORDS, last + 1))
            found = await self._index.frames(self.stored.id, numbers, self.stored.version)
            if found is None or len(found[2]) < len(numbers):
                raise WrongState(Reason.PIXEL_DATA_UNREADABLE, "The pixel data does not have all frames.")

    async def open(self, number: int) -> OpenBytes:
        """Return the bytes of a frame: its joined fragments, or native values in little endian.

        Raises:
            NotFound: FRAME_NOT_FOUND.
            DataLoss, Unavailable: as `BlobStore.read`.
        """
        return await self._fragments(number) if self.layout.is_encapsulated else await self._native(number)

    async def open_part(self, number: int, offset: int, length: int) -> AsyncIterator[Buffer]:
        """Return a byte range of a frame, reading no more than it where possible; it must be within the frame."""
        if self.layout.is_encapsulated:
            start, end = await self._record(number) or (0, 0)
            opened = await self._fragments(number)
            if opened.size_bytes == end - start - _ITEM_HEADER_BYTES:
                return self._blob_reader.read(self.stored, start + _ITEM_HEADER_BYTES + offset, length)
        else:
            unit = await self._word_bytes()
            start, span, leading_bits = frames.frame_span(self.layout, number - 1, unit)
            if not leading_bits and span == (self.layout.frame_bits + 7) // 8:
                return self._blob_reader.values(self.stored, start, offset, length, unit)
            opened = await self._native(number)
        return part_of(opened.chunks, offset, length)

    async def read(self, number: int) -> bytes:
        """Return a frame as a whole. Raises: as `open`."""
        if self.stored.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN and not self.layout.is_encapsulated:
            return await self._read_inflated(number)
        opened = await self.open(number)
        return await _joined(opened.chunks)

    async def size(self, number: int) -> int:
        """Return the size of a frame; computing it may require reading the frame."""
        opened = await self.open(number)
        if opened.size_bytes is not None:
            return opened.size_bytes
        size = 0
        async for chunk in opened.chunks:
            size += len(chunk)
        return size

    async def _native(self, number: int) -> OpenBytes:
        unit = await self._word_bytes()
        start, length, leading_bits = frames.frame_span(self.layout, number - 1, unit)
        chunks = self._blob_reader.values(self.stored, start, 0, length, unit)
        size = (self.layout.frame_bits + 7) // 8
        if leading_bits or length != size:
            chunks = frames.realign(chunks, leading_bits, self.layout.frame_bits)
        return OpenBytes(size, chunks)

    async def _fragments(self, number: int) -> OpenBytes:
        record = await self._record(number)
        if record is None:
            raise _no_frame(number, self.layout)
        start, end = record
        chunks = self._blob_reader.read(self.stored, start, end - start)
        first = await anext(chunks, b"")
        return OpenBytes(_fragment_bytes(first, end - start), frames.defragment(chained(first, chunks)))

    async def _read_inflated(self, number: int) -> bytes:
        """Read a native frame of a deflated file; ascending reads inflate the file only once."""
        if self._inflated is None:
            self._inflated = _Inflated(self._blob_reader, self.stored)
        start, length, leading_bits = frames.frame_span(self.layout, number - 1)
        raw = await self._inflated.read(start, length)
        return await _joined(frames.realign(_once(raw), leading_bits, self.layout.frame_bits))

    async def _record(self, number: int) -> tuple[int, int] | None:
        if number not in self._records:
            numbers = range(number, number + _RECORDS)
            found = await self._index.frames(self.stored.id, numbers, self.stored.version)
            records = found[2] if found else {}
            self._records = records
            return records.get(number)
        return self._records[number]

    async def _word_bytes(self) -> int:
        """Return the word size of native pixel data that must be swapped; otherwise 1."""
        if not transfer_syntax(self.stored.transfer_syntax_uid).has_big_endian_pixels:
            return 1
        if self._unit is None:
            found = await self._index.bulk(self.stored.id, PIXEL_DATA, self.stored.version)
            vr = found[1].vr if found and found[1] else "OW"
            self._unit = swapped_bytes(self.stored, PIXEL_DATA, vr, self.layout.bits_allocated)
        return self._unit


class _Inflated:
    """A deflated file, inflated sequentially; a read at a lower offset starts again."""

    def __init__(self, blob_reader: BlobReader, stored: StoredInstance) -> None:
        self._blob_reader = blob_reader
        self._stored = stored
        self._lock = asyncio.Lock()
        self._chunks: AsyncIterator[Buffer] | None = None
        self._at = 0
        self._held = b""

    async def read(self, offset: int, length: int) -> bytes:
        async with self._lock:
            if self._chunks is None or offset < self._at:
                self._chunks, self._at, self._held = inflate(self._blob_reader.read(self._stored)), 0, b""
            while self._at + len(self._held) < offset + length:
                skipped = min(offset - self._at, len(self._held))
                self._held, self._at = self._held[skipped:], self._at + skipped
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    raise DataLoss(Reason.BLOB_DAMAGED, "The stored bytes of the instance are truncated.")
                self._held += chunk
            start = offset - self._at
            found = self._held[start : start + length]
            self._held, self._at = self._held[start + length :], offset + length
            return found


async def _joined(chunks: AsyncIterator[Buffer]) -> bytes:
    joined = BytesIO()  # getvalue does not copy
    async for chunk in chunks:
        joined.write(chunk)
    return joined.getvalue()


def _fragment_bytes(first: Buffer, record_bytes: int) -> int | None:
    """Return the size of a frame without item headers if its first bytes show it: one fragment, or a small frame."""
    position, size = 0, 0
    while position + _ITEM_HEADER_BYTES <= len(first):
        length = int.from_bytes(first[position + 4 : position + 8], "little")
        size += length
        position += _ITEM_HEADER_BYTES + length
    if position == 0:
        raise DataLoss(Reason.BLOB_DAMAGED, "The stored bytes of the frame are truncated.")
    return size if position == record_bytes else None


def _no_frame(number: int, layout: PixelLayout) -> NotFound:
    return NotFound(
        Reason.FRAME_NOT_FOUND,
        "The specified frame was not found.",
        frame=str(number),
        number_of_frames=str(layout.number_of_frames),
    )


async def _once(data: bytes) -> AsyncIterator[Buffer]:
    yield data
