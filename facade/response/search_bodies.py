"""Bodies of search responses: a JSON array, or an XML part for each match (PS3.18 section 8.7.3.2)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

from facade.errors import Refusal
from facade.multipart import MultipartWriter
from facade.request.accept import MediaRange, accepts_json
from facade.request.catalogue import DICOM_JSON, DICOM_XML, GENERAL_XML
from facade.response.dicom_json import array, array_chunks
from facade.response.dicom_xml import native_xml_of


class Form(Protocol):
    """Writes one body."""

    content_type: str

    async def whole(self, data_sets: Sequence[bytes]) -> bytes:
        """Return the complete body for data sets in DICOM JSON."""
        ...

    def chunks(self, pages: AsyncIterator[Sequence[bytes]]) -> AsyncGenerator[bytes, None]:
        """Yield the body page by page."""
        ...


def form_for(media_ranges: Sequence[MediaRange]) -> Form:
    """Return the form that the client prefers.

    XML is multipart and used if the client names it; for multipart without a type, or general names of XML, which
    browsers send, only if the client does not accept JSON.

    Raises:
        Refusal: 406.
    """
    for media_range in media_ranges:
        if media_range.is_multipart:
            of_type = media_range.parameters.get("type", "").lower()
            if of_type == DICOM_XML or (of_type in ("", *GENERAL_XML) and not accepts_json(media_ranges)):
                return XmlParts()
        elif accepts_json([media_range]):
            return JsonArray()
        elif media_range.name == DICOM_XML or (media_range.name in GENERAL_XML and not accepts_json(media_ranges)):
            return XmlParts()
    raise Refusal(406, f'Only {DICOM_JSON} and multipart/related; type="{DICOM_XML}" can be returned.')


class JsonArray:
    """A JSON array; the data sets are joined without parsing."""

    content_type = DICOM_JSON

    async def whole(self, data_sets: Sequence[bytes]) -> bytes:
        """Return the body of these data sets."""
        return array(data_sets)

    def chunks(self, pages: AsyncIterator[Sequence[bytes]]) -> AsyncGenerator[bytes, None]:
        """Yield the body page by page."""
        return array_chunks(pages)


class XmlParts:
    """A part in the Native DICOM Model for each match; the conversion runs in a thread because it takes long."""

    def __init__(self) -> None:
        self._writer = MultipartWriter()
        self.content_type = self._writer.content_type(DICOM_XML)

    async def whole(self, data_sets: Sequence[bytes]) -> bytes:
        """Return the body of these data sets."""
        return await asyncio.to_thread(self._parts, data_sets) + self._writer.end()

    async def chunks(self, pages: AsyncIterator[Sequence[bytes]]) -> AsyncGenerator[bytes, None]:
        """Yield the body page by page."""
        async for data_sets in pages:
            yield await asyncio.to_thread(self._parts, data_sets)
        yield self._writer.end()

    def _parts(self, data_sets: Sequence[bytes]) -> bytes:
        return b"".join(self._writer.begin(DICOM_XML) + native_xml_of(data_set) for data_set in data_sets)
