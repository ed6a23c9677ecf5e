"""Attributes and values needed to render images: description of their frames, and presentation."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from server.dicom.elements.canonical_json import Attributes
from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.dicom.presentation.object_kinds import STANDARD_CLASSES, Kind, kind_of
from server.dicom.presentation.presentation import bulk_needed, presentation_of
from server.dicom.presentation.presentation_attributes import essentials
from server.domain.flow.byte_cache import ByteCache
from server.domain.retrieve.blob_reader import BlobReader, swapped_bytes
from server.model.errors import NotFound, Reason
from server.model.ids import Version
from server.model.instance import PixelLayout, StoredInstance
from server.model.pixels import PixelDescription
from server.model.rendering import Presentation
from server.ports.index import InstanceIndex

_CACHE_BYTES = 32 << 20
_OVERHEAD_BYTES = 2000
_LARGE_BYTES = 1 << 16
"""Metadata of at least this size is parsed in a thread."""

_MAX_VALUE_BYTES = 16 << 20
"""Larger palettes, profiles and overlays are ignored."""

_PER_FRAME = "52009230/"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Rendering information of one image.

    attributes: the attributes that affect rendering.
    values: bulk values for all frames, by path.
    paths: paths of bulk values for single frames, by frame number.
    cost_bytes: approximate memory of this object.
    """

    stored: StoredInstance
    attributes: Attributes
    description: PixelDescription
    values: Mapping[str, bytes]
    paths: Mapping[int, tuple[str, ...]]
    cost_bytes: int


class ImageInfoReader:
    """Reads rendering information and caches it, because a stored version never changes.

    For use within one event loop.
    """

    def __init__(self, *, blob_reader: BlobReader, index: InstanceIndex) -> None:
        self._blob_reader = blob_reader
        self._index = index
        self._cache: ByteCache[Version, ImageInfo] = ByteCache(
            "imageInfo", _CACHE_BYTES, lambda image: image.cost_bytes
        )
        self._large = asyncio.Semaphore(1)

    async def of(self, stored: StoredInstance, layout: PixelLayout) -> ImageInfo:
        """Return the rendering information of an instance with the given pixel data layout.

        Raises:
            NotFound: INSTANCE_NOT_FOUND, it was deleted in between.
            WrongState: PIXEL_DATA_UNREADABLE, Image Pixel attributes are missing or contradict the pixel data.
            DataLoss, Unavailable: as `BlobStore.read`.
        """
        return await self._cache.get(stored.version, lambda: self._find(stored, layout))

    async def presentation(self, image: ImageInfo, frame: int) -> Presentation:
        """Return the presentation of a frame. Raises: as `of`."""
        values = image.values
        if frame in image.paths:
            values = {**values, **await self._values(image.stored, image.paths[frame])}
        return presentation_of(image.attributes, values, frame)

    async def kind(self, stored: StoredInstance, layout: PixelLayout | None) -> Kind:
        """Return the kind of object of an instance; reads its metadata only if necessary.

        Raises:
            NotFound: INSTANCE_NOT_FOUND, it was deleted in between.
        """
        kind = kind_of(stored.sop_class_uid, stored.transfer_syntax_uid, layout)
        if kind is not Kind.OTHER or stored.sop_class_uid.startswith(STANDARD_CLASSES):
            return kind
        tags = orjson.loads(await self.metadata(stored))
        return kind_of(stored.sop_class_uid, stored.transfer_syntax_uid, layout, tags)

    async def metadata(self, stored: StoredInstance) -> bytes:
        """Return the DICOM JSON of this version of an instance.

        Raises:
            NotFound: INSTANCE_NOT_FOUND, it was deleted in between.
        """
        found = await self._index.dicom_json(stored.id, stored.version)
        if found is None:
            raise NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")
        return found

    async def _find(self, stored: StoredInstance, layout: PixelLayout) -> ImageInfo:
        dicom_json = await self.metadata(stored)
        if len(dicom_json) < _LARGE_BYTES:
            found = essentials(dicom_json)
        else:
            async with self._large:  # limits memory: one at a time
                found = await asyncio.to_thread(essentials, dicom_json)
        attributes = found.attributes
        common: list[str] = []
        of_frames: dict[int, tuple[str, ...]] = {}
        for path in bulk_needed(attributes):
            if path.startswith(_PER_FRAME):
                frame = int(path.split("/")[1])
                of_frames[frame] = (*of_frames.get(frame, ()), path)
            else:
                common.append(path)
        values = await self._values(stored, common)
        cost_bytes = found.cost_bytes + sum(map(len, values.values())) + _OVERHEAD_BYTES * (1 + len(of_frames))
        return ImageInfo(stored, attributes, describe_pixels(attributes, layout), values, of_frames, cost_bytes)

    async def _values(self, stored: StoredInstance, paths: "list[str] | tuple[str, ...]") -> dict[str, bytes]:
        values: dict[str, bytes] = {}
        for path in paths:
            found = await self._index.bulk(stored.id, path, stored.version)
            element = found[1] if found else None
            if element is not None and element.length <= _MAX_VALUE_BYTES:
                unit = swapped_bytes(stored, path, element.vr)
                chunks = self._blob_reader.values(stored, element.offset, 0, element.length, unit)
                values[path] = b"".join([chunk async for chunk in chunks])
        return values
