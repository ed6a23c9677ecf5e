"""Documents, videos and reports: rendered resources that are not images (PS3.18 8.7.4)."""

import asyncio

import orjson

from server.dicom.elements.canonical_json import Attributes, data, integer
from server.dicom.elements.fields import first_value
from server.dicom.presentation.object_kinds import (
    ENCAPSULATED_DOCUMENT,
    MIME_TYPE_OF_DOCUMENT,
    document_media_type,
    video_media_type,
)
from server.dicom.presentation.sr_html import report_page
from server.domain.flow.prefetch import closable, once
from server.domain.render.image_info import ImageInfoReader
from server.domain.render.request import REPORT_MEDIA_TYPE, OpenRendered, RenderedRequest, choose
from server.domain.retrieve.blob_reader import BlobReader, range_within
from server.domain.retrieve.bulk_data import RetrieveBulkData
from server.model.errors import NotFound, Reason, WrongState
from server.model.instance import BulkElement, PixelLayout, StoredInstance
from server.ports.index import InstanceIndex

_DOCUMENT_LENGTH = "00420015"
_PIXEL_DATA = "7FE00010"
_LARGE_BYTES = 1 << 16
"""Metadata of at least this size is converted to HTML in a thread."""


class DocumentRenderer:
    """Opens stored documents and videos, and renders reports as HTML."""

    def __init__(
        self, *, blob_reader: BlobReader, index: InstanceIndex, image_info: ImageInfoReader, bulk_data: RetrieveBulkData
    ) -> None:
        self._blob_reader = blob_reader
        self._index = index
        self._image_info = image_info
        self._bulk_data = bulk_data
        self._large = asyncio.Semaphore(1)

    async def video(self, stored: StoredInstance, layout: PixelLayout, request: RenderedRequest) -> OpenRendered:
        """Open a video or a byte range of it: the joined bytes of its fragments.

        Raises:
            WrongState: NOT_ACCEPTABLE_MEDIA_TYPE; PIXEL_DATA_UNREADABLE, it is not made of fragments.
            OutOfRange: RANGE_NOT_SATISFIABLE.
            DataLoss, Unavailable: as `BlobStore.read`.
        """
        media_type = self.require_video(stored, request)
        element = BulkElement(_PIXEL_DATA, "OB", layout.offset, layout.length)
        opened = await self._bulk_data.open_element(stored, element, request.offset, request.length)
        length = opened.length if request.has_range else None
        return OpenRendered(stored, 0, media_type, opened.size_bytes, closable(opened.chunks), opened.offset, length)

    def require_video(self, stored: StoredInstance, request: RenderedRequest) -> str:
        """Return the media type of a video.

        Raises:
            WrongState: NOT_ACCEPTABLE_MEDIA_TYPE.
        """
        return choose(request.media_types, (video_media_type(stored.transfer_syntax_uid) or "video/mp4",))

    async def document(self, stored: StoredInstance, request: RenderedRequest) -> OpenRendered:
        """Open an encapsulated document or a byte range of it.

        Raises:
            WrongState: NOT_ACCEPTABLE_MEDIA_TYPE; NOT_RENDERABLE, it is empty.
            OutOfRange: RANGE_NOT_SATISFIABLE.
            NotFound: INSTANCE_NOT_FOUND, it was deleted in between.
        """
        dicom_json = await self._image_info.metadata(stored)
        attributes: Attributes = orjson.loads(dicom_json)
        named = first_value(dicom_json, MIME_TYPE_OF_DOCUMENT)
        media_type = choose(request.media_types, (document_media_type(stored.sop_class_uid, named),))
        element = await self._element(stored)
        inline = data(attributes, ENCAPSULATED_DOCUMENT, {})
        stored_bytes = element.length if element else len(inline)
        if not stored_bytes:
            raise WrongState(Reason.NOT_RENDERABLE, "The instance contains no encapsulated document.")
        # The value is padded to an even length; Encapsulated Document Length has the true one, if present.
        declared = integer(attributes, _DOCUMENT_LENGTH) or 0
        size_bytes = declared if 0 < declared < stored_bytes else stored_bytes
        offset, length = range_within(size_bytes, request.offset, request.length)
        if element is None:
            chunks = once(inline[offset : offset + length])
        else:
            chunks = closable(self._blob_reader.values(stored, element.offset, offset, length, 1))
        part = length if request.has_range else None
        return OpenRendered(stored, 0, media_type, size_bytes, chunks, offset, part)

    async def report(self, stored: StoredInstance, request: RenderedRequest) -> OpenRendered:
        """Open the HTML page of a Structured Report.

        Raises:
            WrongState: NOT_ACCEPTABLE_MEDIA_TYPE.
            NotFound: INSTANCE_NOT_FOUND, it was deleted in between.
        """
        media_type = choose(request.media_types, (REPORT_MEDIA_TYPE,))
        dicom_json = await self._image_info.metadata(stored)
        if len(dicom_json) < _LARGE_BYTES:
            page = _page(dicom_json)
        else:
            async with self._large:  # limits memory: one at a time
                page = await asyncio.to_thread(_page, dicom_json)
        return OpenRendered(stored, 0, media_type, len(page), once(page))

    async def _element(self, stored: StoredInstance) -> BulkElement | None:
        found = await self._index.bulk(stored.id, ENCAPSULATED_DOCUMENT, stored.version)
        if found is None:
            raise NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")
        return found[1]


def _page(dicom_json: bytes) -> bytes:
    return report_page(orjson.loads(dicom_json))
