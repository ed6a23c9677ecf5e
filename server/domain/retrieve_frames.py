"""Handing out single frames (PS3.18 section 10.4.1.1.7, spec: retrieve.md section 5): only their bytes are read."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from server.dicom import frames as pixels
from server.domain.partitions import PartitionGate
from server.domain.reading import (
    AS_STORED,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    Reading,
    chained,
    not_acceptable,
)
from server.domain.resources import not_found, parse_instance
from server.domain.retrieve_instances import ENCODABLE
from server.model.errors import DataLoss, InvalidRequest, NotFound, Reason
from server.model.instance import PixelLayout, StoredInstance
from server.ports.index import InstanceIndex

PIXEL_DATA = "7FE00010"

_ITEM_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """A frame in the form it will be sent in. The size is None for several fragments."""

    number: int
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncIterator[bytes]


class RetrieveFrames:
    """Reads frames."""

    def __init__(self, *, reading: Reading, index: InstanceIndex, gate: PartitionGate) -> None:
        self._reading = reading
        self._index = index
        self._gate = gate

    async def open(
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

    def _native_frame(
        self, stored: StoredInstance, layout: PixelLayout, number: int, syntax: str, unit: int
    ) -> OpenFrame:
        start, length, leading_bits = pixels.frame_span(layout, number - 1, unit)
        chunks = self._reading.values(stored, start, 0, length, unit)
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
        chunks = self._reading.read(stored, start, end - start)
        first = await anext(chunks, b"")
        if len(first) < _ITEM_HEADER_BYTES:
            raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the frame are cut off.")
        fragment_bytes = int.from_bytes(first[4:8], "little")
        alone = start + _ITEM_HEADER_BYTES + fragment_bytes == end
        return OpenFrame(
            number,
            stored.transfer_syntax_uid,
            fragment_bytes if alone else None,
            pixels.defragment(chained(first, chunks)),
        )


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
    raise not_acceptable(stored)


def _require_frames(layout: PixelLayout, frames: Sequence[int], records: dict[int, tuple[int, int]]) -> None:
    for number in frames:
        if number > layout.number_of_frames or (layout.is_encapsulated and number not in records):
            raise NotFound(
                Reason.FRAME_NOT_FOUND,
                "The specified frame was not found.",
                frame=str(number),
                number_of_frames=str(layout.number_of_frames),
            )
