"""Handing out the values that metadata leaves out (PS3.18 section 10.4.1.1.5)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from server.dicom import frames as pixels
from server.domain.partitions import PartitionGate
from server.domain.reading import EXPLICIT_LITTLE_ENDIAN, Reading, chained, range_within
from server.domain.resources import not_found, parse_instance
from server.model.errors import NotFound, OutOfRange, Reason
from server.model.ids import InstanceId
from server.model.instance import PixelLayout
from server.ports.index import InstanceIndex

_ITEM_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class OpenBulkData:
    """A value, or the range of it that `offset` and `length` say. The size is None for encapsulated pixel data."""

    vr: str
    size_bytes: int | None
    offset: int
    length: int | None
    transfer_syntax_uid: str
    chunks: AsyncIterator[bytes]


class RetrieveBulkData:
    """Reads values."""

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
            chunks = self._reading.read(stored, element.offset, element.length)
            return OpenBulkData(
                element.vr, None, 0, None, stored.transfer_syntax_uid, pixels.defragment(_without_offset_table(chunks))
            )
        offset, length = range_within(element.length, offset, length)
        unit = pixels.word_bytes(element.vr, layout.bits_allocated if layout and of_pixels else 0)
        return OpenBulkData(
            element.vr,
            element.length,
            offset,
            length,
            EXPLICIT_LITTLE_ENDIAN,
            self._reading.values(stored, element.offset, offset, length, unit),
        )

    async def _pixel_layout(self, instance: InstanceId) -> PixelLayout | None:
        found = await self._index.frames(instance, [])
        return found[1] if found else None


async def _without_offset_table(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Leave out the first item of encapsulated pixel data, the basic offset table (PS3.5 section A.4)."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= _ITEM_HEADER_BYTES:
            break
    skip = _ITEM_HEADER_BYTES + int.from_bytes(head[4:8], "little")
    async for chunk in chained(head, chunks):
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:]
        skip = 0
