"""Retrieve Bulkdata (PS3.18 section 10.4.1.1.5)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from server.dicom.elements.fields import first_value
from server.dicom.elements.transfer_syntax import is_defined
from server.dicom.pixel_data import frames as pixels
from server.dicom.presentation.object_kinds import (
    MIME_TYPE_OF_DOCUMENT,
    UNKNOWN_MEDIA_TYPE,
    document_media_type,
    video_media_type,
)
from server.domain.access import Access
from server.domain.resources import resolved, version_not_found
from server.domain.retrieve.blob_reader import (
    DEFLATED_LITTLE_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    PIXELS,
    BlobReader,
    chained,
    range_within,
    swapped_bytes,
)
from server.domain.retrieve.encapsulated_value import FragmentReader
from server.model.access import Action
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import NotFound, Reason
from server.model.ids import Address, Version
from server.model.instance import BulkElement, PixelLayout, StoredInstance
from server.ports.index import InstanceIndex

_ENCAPSULATED_DOCUMENT = "00420011"
"""MPEG-2 and MPEG-4, all in one fragment or fragmentable (PS3.5 sections 10.6 to 10.17)."""

_STILL = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
}
"""Media types of single-frame pixel data that any program can show."""

_UNDEFINED = b"\xff\xff\xff\xff"
_LENGTH_BYTES = 4
_ITEM_HEADER_BYTES = 8
_SMALL_FRAMES = 4096
"""Encapsulated pixel data with more frames is sent without computing its size first."""


@dataclass(frozen=True, slots=True)
class OpenBulkData:
    """A value, or the byte range of it given by `offset` and `length`.

    size_bytes: of the whole value; None if computing it would require reading all of it. It is then sent whole.
    media_type: of the value; empty if unknown.
    """

    stored: StoredInstance
    vr: str
    size_bytes: int | None
    offset: int
    length: int | None
    transfer_syntax_uid: str
    media_type: str
    chunks: AsyncIterator[Buffer]


class RetrieveBulkData:
    """Reads bulk values."""

    def __init__(
        self, *, blob_reader: BlobReader, fragments: FragmentReader, index: InstanceIndex, access: Access
    ) -> None:
        self._blob_reader = blob_reader
        self._fragments = fragments
        self._index = index
        self._access = access

    async def open(
        self,
        call: Call,
        address: Address,
        *,
        path: str,
        offset: int = 0,
        length: int | None = None,
        version: Version | None = None,
    ) -> OpenBulkData:
        """Open the value at `path` of a version of an instance, or a range of it.

        Raises:
            InvalidRequest, NotFound: for the address; VERSION_NOT_FOUND; BULK_DATA_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, see `Access.permit`.
            OutOfRange: RANGE_NOT_SATISFIABLE.
            WrongState: PIXEL_DATA_UNREADABLE.
        """
        address = await self._access.permit(call, Action.READ, address, version=version)
        version = await resolved(self._index, address, version)
        found = await self._index.bulk(address.instance_id(), path, version)
        if found is None:
            raise await version_not_found(self._index, address.instance_id(), version)
        stored, element = found
        if element is None:
            raise NotFound(Reason.BULK_DATA_NOT_FOUND, "The instance has no bulk data at this path.", path=path)
        return await self.open_element(stored, element, offset, length)

    async def open_element(
        self, stored: StoredInstance, element: BulkElement, offset: int = 0, length: int | None = None
    ) -> OpenBulkData:
        """Open a value in the index, or a range of it.

        Raises:
            OutOfRange: RANGE_NOT_SATISFIABLE.
            WrongState: PIXEL_DATA_UNREADABLE.
        """
        layout = await self._pixel_layout(stored, element)
        if await self._is_encapsulated(stored, element, layout):
            return await self._encapsulated(stored, element, layout, offset, length)
        offset, length = range_within(element.length, offset, length)
        unit = swapped_bytes(stored, element.path, element.vr, layout.bits_allocated if layout else 0)
        is_private = layout is not None and not is_defined(stored.transfer_syntax_uid)
        return OpenBulkData(
            stored,
            element.vr,
            element.length,
            offset,
            length,
            stored.transfer_syntax_uid if is_private else EXPLICIT_LITTLE_ENDIAN,
            await self._document_type(stored) if element.path == _ENCAPSULATED_DOCUMENT else "",
            self._blob_reader.values(stored, element.offset, offset, length, unit),
        )

    async def _encapsulated(
        self, stored: StoredInstance, element: BulkElement, layout: PixelLayout | None, offset: int, length: int | None
    ) -> OpenBulkData:
        syntax = stored.transfer_syntax_uid
        media_type = video_media_type(syntax) or ""
        if not media_type and layout and layout.number_of_frames == 1:
            media_type = _STILL.get(syntax, "")
        is_whole = offset == 0 and length is None
        known = self._fragments.known(stored, element.offset)
        if known is None and is_whole and layout and layout.number_of_frames > _SMALL_FRAMES and not media_type:
            items = self._blob_reader.read(stored, element.offset, element.length)
            chunks = pixels.defragment(_without_offset_table(items))
            return OpenBulkData(stored, element.vr, None, 0, None, syntax, media_type, chunks)
        fragments = known or await self._fragments.find(stored, element.offset, element.length)
        offset, length = range_within(fragments.size_bytes, offset, length)
        chunks = self._fragments.read(stored, fragments, offset, length)
        return OpenBulkData(stored, element.vr, fragments.size_bytes, offset, length, syntax, media_type, chunks)

    async def _is_encapsulated(self, stored: StoredInstance, element: BulkElement, layout: PixelLayout | None) -> bool:
        """True if a value is encapsulated: the value length in its header is undefined (PS3.5 A.4)."""
        if layout is not None:
            return layout.is_encapsulated
        if stored.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN:
            return False
        before = self._blob_reader.read(stored, element.offset - _LENGTH_BYTES, _LENGTH_BYTES)
        return b"".join([chunk async for chunk in before]) == _UNDEFINED

    async def _pixel_layout(self, stored: StoredInstance, element: BulkElement) -> PixelLayout | None:
        """Return the pixel data layout if the element is the pixel data."""
        found = await self._index.frames(stored.id, [], stored.version) if element.path in PIXELS else None
        layout = found[1] if found else None
        return layout if layout and layout.offset == element.offset else None

    async def _document_type(self, stored: StoredInstance) -> str:
        """Return the media type of an encapsulated document; empty if unknown."""
        found = await self._index.dicom_json(stored.id, stored.version)
        named = first_value(found, MIME_TYPE_OF_DOCUMENT) if found else ""
        media_type = document_media_type(stored.sop_class_uid, named)
        return "" if media_type == UNKNOWN_MEDIA_TYPE else media_type


async def _without_offset_table(chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    """Skip the first item of encapsulated pixel data, the Basic Offset Table (PS3.5 A.4)."""
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
