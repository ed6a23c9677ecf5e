"""Handing out instances, frames, bulk data and metadata (spec: retrieve.md).

Everything is an iterator over pieces of at most about 1 MiB. What is not there is known before the first piece.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

import google_crc32c

from server.dicom import frames as pixels
from server.dicom.reencode import can_reencode, inflate, reencode
from server.domain.pace import Pace
from server.domain.partitions import PartitionGate
from server.domain.resources import not_found, parse_instance, parse_resource
from server.model.errors import DataLoss, InvalidRequest, NotFound, OutOfRange, Reason, WrongState
from server.model.ids import InstanceId, ResourceRef
from server.model.instance import InstanceMetadata, PixelLayout, ResourceState, StoredInstance
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex

AS_STORED = "*"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
PIXEL_DATA = "7FE00010"
ENCODABLE = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)

_PAGE = 500
_FIRST_METADATA_PAGE = 20
_MOST_METADATA_ROWS = 200
_ITEM_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class OpenInstance:
    """An instance in the form it will be sent in; `chunks` raises what becomes of it on the way."""

    stored: StoredInstance
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class NotAcceptable:
    """An instance that can't be had in any acceptable form."""

    stored: StoredInstance
    error: WrongState


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """A frame in the form it will be sent in. The size is None for several fragments."""

    number: int
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class OpenBulkData:
    """A value, or the range of it that `offset` and `length` say. The size is None for encapsulated pixel data."""

    vr: str
    size_bytes: int | None
    offset: int
    length: int | None
    transfer_syntax_uid: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class OpenMetadata:
    """The state of a resource and its data sets, in pages that are never empty."""

    state: ResourceState
    pages: AsyncIterator[Sequence[InstanceMetadata]]


class Retrieve:
    """Reads what is stored."""

    def __init__(self, *, blobs: BlobStore, index: InstanceIndex, gate: PartitionGate, pace: Pace) -> None:
        self._blobs = blobs
        self._index = index
        self._gate = gate
        self._pace = pace

    async def instances(
        self,
        *,
        partition: str,
        study: str,
        series: str,
        instance: str,
        acceptable: Sequence[str],
        offset: int = 0,
        length: int | None = None,
    ) -> AsyncGenerator[OpenInstance | NotAcceptable]:
        """Find a study, series or instance and yield its instances by version, each to be read before the next.

        `acceptable` is ordered; empty means as stored. A range is for one instance as stored.

        Raises, all before the first item:
            InvalidRequest, NotFound: for the address.
            WrongState: NOT_ACCEPTABLE_TRANSFER_SYNTAX when no instance can be had.
            OutOfRange: RANGE_NOT_SATISFIABLE.
        """
        ref = await parse_resource(self._gate, partition, study, series, instance)
        acceptable = acceptable or (AS_STORED,)
        whole = offset == 0 and length is None
        async for stored in self._all(ref, await self._first_page(ref, acceptable)):
            opened = self._open(stored, acceptable)
            if whole or isinstance(opened, NotAcceptable):
                yield opened
                continue
            if ref.instance is None or opened.transfer_syntax_uid != stored.transfer_syntax_uid:
                raise InvalidRequest(
                    Reason.INVALID_FIELD, "A range needs one instance in its stored form.", field="range"
                )
            offset, length = _range_within(stored.size_bytes, offset, length)
            yield OpenInstance(
                stored,
                opened.transfer_syntax_uid,
                stored.size_bytes,
                self._read(stored, offset, length),
            )

    async def frames(
        self,
        *,
        partition: str,
        study: str,
        series: str,
        instance: str,
        frames: Sequence[int],
        acceptable: Sequence[str],
    ) -> AsyncGenerator[OpenFrame]:
        """Yield frames of one instance in the order asked for, each to be read before the next.

        Raises, all before the first frame:
            InvalidRequest: INVALID_FRAME_NUMBER, and for the address.
            NotFound: for the address; NO_PIXEL_DATA; FRAME_NOT_FOUND.
            WrongState: NOT_ACCEPTABLE_TRANSFER_SYNTAX.
        """
        if not frames or min(frames) < 1:
            raise InvalidRequest(Reason.INVALID_FRAME_NUMBER, "Frame numbers must be 1 or greater.", field="frames")
        wanted = await parse_instance(self._gate, partition, study, series, instance)
        found = await self._index.frames(wanted, sorted(set(frames)))
        if found is None:
            raise await not_found(self._index, wanted.ref)
        stored, layout, records = found
        if layout is None:
            raise NotFound(Reason.NO_PIXEL_DATA, "The instance has no pixel data.")
        _require_frames(layout, frames, records)
        syntax = _frame_syntax(stored.transfer_syntax_uid, layout, acceptable or (AS_STORED,))
        unit = await self._word_bytes(stored, layout)
        for number in frames:
            if layout.is_encapsulated:
                yield await self._encapsulated_frame(stored, number, records[number])
            else:
                yield self._native_frame(stored, layout, number, syntax, unit)

    async def bulk_data(
        self,
        *,
        partition: str,
        study: str,
        series: str,
        instance: str,
        path: str,
        offset: int = 0,
        length: int | None = None,
    ) -> OpenBulkData:
        """Open the value at `path`, or a range of it.

        Raises:
            InvalidRequest, NotFound: for the address; BULK_DATA_NOT_FOUND.
            OutOfRange: RANGE_NOT_SATISFIABLE.
        """
        wanted = await parse_instance(self._gate, partition, study, series, instance)
        found = await self._index.bulk(wanted, path)
        if found is None:
            raise await not_found(self._index, wanted.ref)
        stored, element = found
        if element is None:
            raise NotFound(Reason.BULK_DATA_NOT_FOUND, "The instance has no bulk data there.", path=path)
        layout = await self._pixel_layout(wanted)
        of_pixels = layout is not None and element.offset == layout.offset
        if layout is not None and layout.is_encapsulated and of_pixels:
            if offset or length is not None:
                raise OutOfRange(
                    Reason.RANGE_NOT_SATISFIABLE, "Encapsulated pixel data is only sent whole.", size_bytes="0"
                )
            chunks = self._read(stored, element.offset, element.length)
            return OpenBulkData(
                element.vr, None, 0, None, stored.transfer_syntax_uid, pixels.defragment(_without_offset_table(chunks))
            )
        offset, length = _range_within(element.length, offset, length)
        unit = pixels.word_bytes(element.vr, layout.bits_allocated if layout and of_pixels else 0)
        return OpenBulkData(
            element.vr,
            element.length,
            offset,
            length,
            EXPLICIT_LITTLE_ENDIAN,
            self._values(stored, element.offset, offset, length, unit),
        )

    async def metadata(
        self, *, partition: str, study: str, series: str, instance: str, known: ResourceState | None
    ) -> OpenMetadata:
        """Open the metadata of a resource; there are no pages if its state is the `known` one.

        Instances come by version. What is stored after the state was read is left out; what is deleted meanwhile may be
        missing.

        Raises:
            InvalidRequest, NotFound: for the address.
        """
        ref = await parse_resource(self._gate, partition, study, series, instance)
        state = await self._index.state(ref)
        if state is None:
            raise await not_found(self._index, ref)
        return OpenMetadata(state, _nothing() if state == known else self._metadata(ref, state))

    async def _metadata(self, ref: ResourceRef, state: ResourceState) -> AsyncIterator[Sequence[InstanceMetadata]]:
        """Yield pages: the first is small and soon there, the others have the number of rows that its size allows."""
        after, limit = 0, _FIRST_METADATA_PAGE
        while after < state.max_version and (page := await self._index.metadata(ref, after, limit)):
            after = page[-1].version
            if after > state.max_version:
                page = [item for item in page if item.version <= state.max_version]
            if page:
                yield page
                mean_bytes = sum(len(item.dicom_json) for item in page) // len(page)
                limit = max(1, min(_MOST_METADATA_ROWS, self._pace.piece_bytes() // 2 // (mean_bytes + 1)))

    async def _all(self, ref: ResourceRef, page: Sequence[StoredInstance]) -> AsyncIterator[StoredInstance]:
        """Yield the instances of `page`, the first one, and of those that follow."""
        while page:
            for stored in page:
                yield stored
            page = await self._index.find(ref, page[-1].version, _PAGE) if len(page) == _PAGE else ()

    async def _first_page(self, ref: ResourceRef, acceptable: Sequence[str]) -> Sequence[StoredInstance]:
        """Return the first instances, certain that at least one of all can be had."""
        first = await self._index.find(ref, 0, _PAGE)
        async for stored in self._all(ref, first):
            if _choose(stored.transfer_syntax_uid, acceptable) is not None:
                return first
        raise _not_acceptable(first[0].transfer_syntax_uid) if first else await not_found(self._index, ref)

    def _open(self, stored: StoredInstance, acceptable: Sequence[str]) -> OpenInstance | NotAcceptable:
        target = _choose(stored.transfer_syntax_uid, acceptable)
        if target is None:
            return NotAcceptable(stored, _not_acceptable(stored.transfer_syntax_uid))
        chunks = self._whole(stored)
        if target == stored.transfer_syntax_uid:
            return OpenInstance(stored, target, stored.size_bytes, chunks)
        return OpenInstance(stored, target, None, reencode(chunks, stored.transfer_syntax_uid, target))

    def _native_frame(
        self, stored: StoredInstance, layout: PixelLayout, number: int, syntax: str, unit: int
    ) -> OpenFrame:
        start, length, leading_bits = pixels.frame_span(layout, number - 1, unit)
        chunks = self._values(stored, start, 0, length, unit)
        size = (layout.frame_bits + 7) // 8
        if leading_bits or length != size:
            chunks = pixels.realign(chunks, leading_bits, layout.frame_bits)
        return OpenFrame(number, syntax, size, chunks)

    async def _word_bytes(self, stored: StoredInstance, layout: PixelLayout) -> int:
        """Return the size of the words of native pixel data that have to be swapped."""
        if stored.transfer_syntax_uid != EXPLICIT_BIG_ENDIAN:
            return 1
        found = await self._index.bulk(stored.id, PIXEL_DATA)
        return pixels.word_bytes(found[1].vr if found and found[1] else "OW", layout.bits_allocated)

    async def _encapsulated_frame(self, stored: StoredInstance, number: int, record: tuple[int, int]) -> OpenFrame:
        start, end = record
        chunks = self._read(stored, start, end - start)
        first = await anext(chunks, b"")
        if len(first) < _ITEM_HEADER_BYTES:
            raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the frame are cut off.")
        fragment_bytes = int.from_bytes(first[4:8], "little")
        alone = start + _ITEM_HEADER_BYTES + fragment_bytes == end
        return OpenFrame(
            number,
            stored.transfer_syntax_uid,
            fragment_bytes if alone else None,
            pixels.defragment(_chain(first, chunks)),
        )

    def _values(self, stored: StoredInstance, start: int, offset: int, length: int, unit: int) -> AsyncIterator[bytes]:
        """Read `length` bytes from `offset` of the value at `start`, little endian whatever they are stored as."""
        if stored.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN:
            return _slice(inflate(self._read(stored)), start + offset, length)
        if stored.transfer_syntax_uid != EXPLICIT_BIG_ENDIAN or unit == 1:
            return self._read(stored, start + offset, length)
        lead = offset % unit
        words = self._read(stored, start + offset - lead, -(-(lead + length) // unit) * unit)
        return _slice(pixels.swap_bytes(words, unit), lead, length)

    def _read(self, stored: StoredInstance, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        return self._blobs.read(stored.locator, offset, length, self._pace.piece_bytes)

    async def _whole(self, stored: StoredInstance) -> AsyncIterator[bytes]:
        """Read all of an instance; its last piece is handed out only if the bytes are those that were stored."""
        crc32c, left = 0, stored.size_bytes
        async for piece in self._read(stored):
            crc32c = google_crc32c.extend(crc32c, piece)
            left -= len(piece)
            if left <= 0 and (left < 0 or crc32c != stored.crc32c):
                raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance have changed since they were stored.")
            yield piece
        if left > 0:
            raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance are cut off.")

    async def _pixel_layout(self, instance: InstanceId) -> PixelLayout | None:
        found = await self._index.frames(instance, [])
        return found[1] if found else None


def _choose(stored: str, acceptable: Sequence[str]) -> str | None:
    """Return the transfer syntax to send, the first acceptable one that can be had."""
    for wanted in acceptable:
        if wanted in (AS_STORED, stored):
            return stored
        if can_reencode(stored, wanted):
            return wanted
    return None


def _frame_syntax(stored: str, layout: PixelLayout, acceptable: Sequence[str]) -> str:
    """Return the transfer syntax of frames to send. Native frames are little endian in every native syntax."""
    native = stored if stored == IMPLICIT_LITTLE_ENDIAN else EXPLICIT_LITTLE_ENDIAN
    for wanted in acceptable:
        if layout.is_encapsulated and wanted in (AS_STORED, stored):
            return stored
        if not layout.is_encapsulated and wanted in (AS_STORED, stored):
            return native
        if not layout.is_encapsulated and wanted in ENCODABLE:
            return wanted
    raise _not_acceptable(stored)


def _not_acceptable(stored: str) -> WrongState:
    return WrongState(
        Reason.NOT_ACCEPTABLE_TRANSFER_SYNTAX,
        f"The instance is stored in transfer syntax {stored} and can't be had in an acceptable one.",
        stored=stored,
    )


def _require_frames(layout: PixelLayout, frames: Sequence[int], records: dict[int, tuple[int, int]]) -> None:
    for number in frames:
        if number > layout.number_of_frames or (layout.is_encapsulated and number not in records):
            raise NotFound(
                Reason.FRAME_NOT_FOUND,
                "The specified frame was not found.",
                frame=str(number),
                number_of_frames=str(layout.number_of_frames),
            )


def _range_within(size_bytes: int, offset: int, length: int | None) -> tuple[int, int]:
    """Return offset and length of the part of a range that exists (RFC 9110 section 14.1.2)."""
    if offset < 0 or (length is not None and length < 1) or (offset >= size_bytes and offset > 0):
        raise OutOfRange(Reason.RANGE_NOT_SATISFIABLE, "The range lies outside the object.", size_bytes=str(size_bytes))
    rest = size_bytes - offset
    return offset, rest if length is None else min(length, rest)


async def _slice(chunks: AsyncIterator[bytes], offset: int, length: int) -> AsyncIterator[bytes]:
    """Yield `length` bytes from `offset` of a stream."""
    async for chunk in chunks:
        if offset >= len(chunk):
            offset -= len(chunk)
            continue
        piece = chunk[offset : offset + length]
        offset = 0
        length -= len(piece)
        yield piece
        if not length:
            return
    if length:
        raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance are cut off.")


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _without_offset_table(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Leave out the first item of encapsulated pixel data, the basic offset table (PS3.5 section A.4)."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= _ITEM_HEADER_BYTES:
            break
    skip = _ITEM_HEADER_BYTES + int.from_bytes(head[4:8], "little")
    async for chunk in _chain(head, chunks):
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:]
        skip = 0


async def _nothing() -> AsyncIterator[Sequence[InstanceMetadata]]:
    for page in list[Sequence[InstanceMetadata]]():
        yield page
