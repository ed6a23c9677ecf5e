"""Thumbnails of instances, series and studies: a small image of a representative frame, or an icon.

Choosing the representative takes a bounded number of index queries for any number of instances.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from server.dicom.elements.canonical_json import integer, text, values
from server.dicom.presentation.object_kinds import IMAGELESS_MODALITIES, SLIDE_CLASSES, Kind
from server.domain.flow.byte_cache import ByteCache, cost_of_bytes
from server.domain.flow.prefetch import once
from server.domain.render.image_info import ImageInfoReader
from server.domain.render.images import ImageRenderer, ImageRequest
from server.domain.render.request import STILL_FORMATS, OpenRendered, Style, choose
from server.domain.resources import not_found, version_not_found
from server.domain.retrieve.stored_frames import PixelReader, Pixels
from server.model.errors import DicomStoreError, NotFound, Reason, WrongState
from server.model.ids import Address, Version
from server.model.instance import StoredInstance
from server.model.rendering import DrawIcon, IconKind, ImageFormat, Output
from server.model.search.query import Level, Match, Query
from server.ports.index import InstanceIndex
from server.ports.workers import Workers

_MODALITY = "00080060"
_SERIES_NUMBER = "00200011"
_NUMBER_OF_FRAMES = "00280008"
_SOP_CLASS_UID = "00080016"
_IMAGE_TYPE = "00080008"

_MAX_SERIES = 200
"""Limit of series of a study that are sorted by number."""

_EXAMINED_SERIES = 6
"""Limit of series that are examined for an image that is not a localizer."""

_MAX_LEVELS = 100
"""Limit of images of a slide that are examined."""

_SMALL_SLIDES = ("THUMBNAIL", "VOLUME", "OVERVIEW")
"""Single-frame images of a slide by Image Type value 3, best first; never the label, which may name the patient."""

_UNREADABLE = frozenset(
    {Reason.PIXEL_DATA_UNREADABLE, Reason.NOT_RENDERABLE, Reason.FRAME_NOT_FOUND, Reason.BLOB_DAMAGED}
)
"""Failures that lead to an icon; others are raised."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A representative: an instance, its pixel data if any, and the candidate frames, best first."""

    stored: StoredInstance
    pixels: Pixels | None
    kind: Kind
    frames: tuple[int, ...] = ()


class Thumbnails:
    """Chooses the representative of a resource, renders it, and caches the images."""

    def __init__(
        self,
        *,
        index: InstanceIndex,
        pixels: PixelReader,
        image_info: ImageInfoReader,
        renderer: ImageRenderer,
        workers: Workers,
        cache_bytes: int,
    ) -> None:
        self._index = index
        self._pixels = pixels
        self._image_info = image_info
        self._renderer = renderer
        self._workers = workers
        self._cache: ByteCache[Hashable, bytes] = ByteCache("thumbnails", cache_bytes, cost_of_bytes)

    async def open(
        self,
        address: Address,
        frame: int | None,
        media_types: Sequence[str],
        style: Style,
        version: Version | None = None,
    ) -> OpenRendered:
        """Return the thumbnail of a resource, of a version of an instance, or of a frame of it.

        Raises:
            NotFound: for the address; VERSION_NOT_FOUND; with a frame NO_PIXEL_DATA and FRAME_NOT_FOUND.
            WrongState: NOT_ACCEPTABLE_MEDIA_TYPE.
            Exhausted: BUSY.
            DataLoss, Unavailable: as `BlobStore.read`.
        """
        chosen = await self._choose(address, frame, version)
        if chosen is None and version is not None:
            raise await version_not_found(self._index, address.instance_id(), version)
        if chosen is None:
            raise await not_found(self._index, address)
        image_format = ImageFormat(choose(media_types, STILL_FORMATS))
        frame, rendered = await self._render(chosen, image_format, style)
        return OpenRendered(chosen.stored, frame, image_format, len(rendered), once(rendered))

    async def _render(self, chosen: _Chosen, image_format: ImageFormat, style: Style) -> tuple[int, bytes]:
        """Return the first candidate frame that can be rendered, with its number; otherwise 0 and an icon."""
        for number in chosen.frames:
            assert chosen.pixels is not None
            image_request = ImageRequest(number, image_format, style)
            key = chosen.stored.version, image_request
            try:
                return number, await self._cache.get(key, partial(self._renderer.render, chosen.pixels, image_request))
            except DicomStoreError as error:
                if error.reason not in _UNREADABLE:
                    raise
        return 0, await self._icon(chosen.kind, image_format, style)

    async def _icon(self, kind: Kind, image_format: ImageFormat, style: Style) -> bytes:
        job = DrawIcon(IconKind(kind.value), Output(image_format, style.quality, style.viewport, is_thumbnail=True))
        return await self._cache.get(job, lambda: self._workers.perform(job))

    async def _choose(self, address: Address, frame: int | None, version: Version | None) -> _Chosen | None:
        if address.series is None:
            return await self._of_study(address)
        if address.instance is None:
            return await self._of_series(address)
        found = await self._pixels.find(address.instance_id(), [frame] if frame else [], version)
        if found is None:
            return None
        chosen = await self._chosen(*found)
        if frame is not None:
            if chosen.pixels is None:
                raise NotFound(Reason.NO_PIXEL_DATA, "The instance has no pixel data.")
            if chosen.kind is not Kind.IMAGE:
                return chosen
            await chosen.pixels.require([frame])
            return _Chosen(chosen.stored, chosen.pixels, chosen.kind, (frame,))
        if _is_tiled(chosen) and version is None:
            series = Address(address.partition, address.study, address.series)
            return await self._of_slide(series) or chosen
        return chosen

    async def _of_study(self, address: Address) -> _Chosen | None:
        """Return the representative of the first series with an image; localizers only if there is no other."""
        best: _Chosen | None = None
        for series in (await self._series(address))[:_EXAMINED_SERIES]:
            chosen = await self._of_series(series)
            if chosen is None:
                continue
            if chosen.kind is Kind.IMAGE and not await self._is_localizer(chosen):
                return chosen
            if best is None or (chosen.kind is Kind.IMAGE and best.kind is not Kind.IMAGE):
                best = chosen
        return best

    async def _series(self, address: Address) -> list[Address]:
        """Return the series of a study, those of image modalities first, by Series Number, then in order of storing."""
        found = await self._index.search(Query(Level.SERIES, address, (), _MAX_SERIES))
        return [match.resource for match in sorted(found, key=_series_order)]

    async def _of_series(self, address: Address) -> _Chosen | None:
        """Return the middle instance if it is an image, else the first or last one, else any object."""
        state = await self._index.state(address)
        if state is None:
            return None
        last = state.instance_count - 1
        any_object: _Chosen | None = None
        for position in dict.fromkeys((state.instance_count // 2, 0, last)):
            chosen = await self._at(address, min(position, last))
            if chosen is None:
                continue
            if _is_slide(chosen):
                return await self._of_slide(address) or chosen
            if chosen.kind is Kind.IMAGE:
                return chosen
            any_object = any_object or chosen
        return any_object

    async def _of_slide(self, address: Address) -> _Chosen | None:
        """Return the best single-frame image of a slide, otherwise the one with the fewest tiles."""
        found = await self._index.search(Query(Level.INSTANCE, address, (), _MAX_LEVELS))
        tiled: list[tuple[int, Match]] = []
        small: dict[str, _Chosen] = {}
        for match in reversed(found):  # in order of storing
            elements = match.elements
            if text(elements, _SOP_CLASS_UID) not in SLIDE_CLASSES:
                continue
            tiles = integer(elements, _NUMBER_OF_FRAMES) or 1
            if tiles > 1:
                tiled.append((tiles, match))
            elif chosen := await self._of_match(match):
                small.setdefault(await self._flavor(chosen), chosen)
        for flavor in _SMALL_SLIDES:
            if flavor in small:
                return small[flavor]
        fewest = min(tiled, key=lambda entry: entry[0], default=None)
        return await self._of_match(fewest[1]) if fewest else None

    async def _of_match(self, match: Match) -> _Chosen | None:
        found = await self._pixels.find(match.resource.instance_id())
        return await self._chosen(*found) if found else None

    async def _at(self, address: Address, position: int) -> _Chosen | None:
        version = await self._index.version_at(address, position)
        found = await self._index.find(address, version - 1, 1) if version else []
        if not found:
            return None
        described = await self._pixels.find(found[0].id, (), found[0].version)
        return await self._chosen(*described) if described else None

    async def _chosen(self, stored: StoredInstance, pixels: Pixels | None) -> _Chosen:
        """Return an instance with its middle frame and its first one as candidates."""
        kind = await self._image_info.kind(stored, pixels.layout if pixels else None)
        if pixels is None or kind is not Kind.IMAGE:
            return _Chosen(stored, pixels, kind)
        middle = (pixels.layout.number_of_frames + 1) // 2
        return _Chosen(stored, pixels, kind, (middle, 1) if middle > 1 else (1,))

    async def _is_localizer(self, chosen: _Chosen) -> bool:
        return await self._flavor(chosen) == "LOCALIZER"

    async def _flavor(self, chosen: _Chosen) -> str:
        """Return the third value of Image Type (PS3.3 section C.7.6.1.1.2), empty if unreadable."""
        if chosen.pixels is None:
            return ""
        try:
            image = await self._image_info.of(chosen.stored, chosen.pixels.layout)
        except WrongState:
            return ""
        image_type = [str(value).strip().upper() for value in values(image.attributes, _IMAGE_TYPE)]
        return image_type[2] if len(image_type) > 2 else ""


def _is_slide(chosen: _Chosen) -> bool:
    return chosen.stored.sop_class_uid in SLIDE_CLASSES


def _is_tiled(chosen: _Chosen) -> bool:
    return _is_slide(chosen) and chosen.pixels is not None and chosen.pixels.layout.number_of_frames > 1


def _series_order(match: Match) -> tuple[bool, bool, int, int]:
    elements = match.elements
    number = integer(elements, _SERIES_NUMBER)
    return text(elements, _MODALITY) in IMAGELESS_MODALITIES, number is None, number or 0, match.key
