"""Retrieve Rendered: images, animations, report pages, documents and videos (PS3.18 8.7.4, 10.4).

`MEDIA_TYPES` has the media types of each kind of object.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from server.dicom.presentation.object_kinds import Kind
from server.domain.access import Access
from server.domain.flow.prefetch import once, prefetch_ordered
from server.domain.render.documents import DocumentRenderer
from server.domain.render.image_info import ImageInfoReader
from server.domain.render.images import ImageRenderer, ImageRequest
from server.domain.render.request import (
    ANIMATION_FORMATS,
    REPORT_MEDIA_TYPE,
    STILL_FORMATS,
    OpenRendered,
    RenderedRequest,
    choose,
)
from server.domain.render.thumbnails import Thumbnails
from server.domain.resources import not_found, resolved, version_not_found
from server.domain.retrieve.blob_reader import BlobReader
from server.domain.retrieve.omission import AHEAD_BYTES, FailedItem, Omission, announced
from server.domain.retrieve.stored_frames import PixelReader, Pixels
from server.model.access import Action
from server.model.call import Call
from server.model.errors import DataLoss, DicomStoreError, NotFound, Reason, WrongState
from server.model.ids import Address
from server.model.instance import StoredInstance
from server.model.rendering import ImageFormat
from server.ports.index import InstanceIndex

MEDIA_TYPES: Mapping[Kind, tuple[str, ...]] = {
    Kind.IMAGE: (*STILL_FORMATS, *ANIMATION_FORMATS),
    Kind.REPORT: (REPORT_MEDIA_TYPE,),
    Kind.DOCUMENT: ("its own",),
    Kind.VIDEO: ("video/mpeg", "video/mp4"),
}
"""Media types by kind of object, the default first. Other kinds have only a thumbnail."""

ANIMATED = frozenset[str](ANIMATION_FORMATS)

_PAGE = 500

Item = Omission | OpenRendered | FailedItem


class RetrieveRendered:
    """Renders studies, series, instances and frames."""

    def __init__(
        self,
        *,
        index: InstanceIndex,
        access: Access,
        pixels: PixelReader,
        image_info: ImageInfoReader,
        renderer: ImageRenderer,
        documents: DocumentRenderer,
        thumbnails: Thumbnails,
        blob_reader: BlobReader,
    ) -> None:
        self._blob_reader = blob_reader
        self._index = index
        self._access = access
        self._pixels = pixels
        self._image_info = image_info
        self._renderer = renderer
        self._documents = documents
        self._thumbnails = thumbnails

    async def open(self, call: Call, address: Address, request: RenderedRequest) -> AsyncGenerator[Item]:
        """Yield the requested items in order; the caller must read each before the next.

        Raises, all before the first item:
            InvalidRequest: INVALID_FRAME_NUMBER, INVALID_FIELD, and for the address.
            NotFound: for the address; VERSION_NOT_FOUND, NO_PIXEL_DATA, FRAME_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, see `Access.permit`.
            OutOfRange: RANGE_NOT_SATISFIABLE.
            and, if no item is available, the error of the first one.
        """
        address.require_study()
        request.check(is_instance=address.instance is not None)
        address = await self._access.permit(call, Action.READ, address, version=request.version)
        if request.version is not None:
            request = replace(request, version=await resolved(self._index, address, request.version))
        if request.thumbnail:
            frame = request.frames[0] if request.frames else None
            yield await self._thumbnails.open(address, frame, request.media_types, request.style(), request.version)
            return
        if address.instance and len(request.frames) < 2:
            yield await self._one(address, request)
            return
        omission = Omission()
        items = (
            self._frames(address, request, omission) if request.frames else self._instances(address, request, omission)
        )
        ahead_bytes = AHEAD_BYTES if request.frames else 0
        async with aclosing(announced(items, omission, ahead_bytes=ahead_bytes)) as announced_items:
            async for item in announced_items:
                yield item

    async def _one(self, address: Address, request: RenderedRequest) -> OpenRendered:
        stored, pixels = await self._find(address, request)
        if request.frames:
            return await self._frame(stored, await self._image(stored, pixels, request), request.frames[0], request)
        return await self._whole(stored, pixels, request)

    async def _find(self, address: Address, request: RenderedRequest) -> tuple[StoredInstance, Pixels | None]:
        # The rendered image of a whole instance shows its first frame.
        found = await self._pixels.find(address.instance_id(), request.frames or [1], request.version)
        if found is None:
            raise await version_not_found(self._index, address.instance_id(), request.version)
        return found

    async def _image(self, stored: StoredInstance, pixels: Pixels | None, request: RenderedRequest) -> Pixels:
        """Return the pixel data whose frames are requested."""
        if pixels is None:
            raise NotFound(Reason.NO_PIXEL_DATA, "The instance has no pixel data.")
        # The positions of the frames of a video are not recorded.
        if await self._image_info.kind(stored, pixels.layout) is Kind.VIDEO:
            raise WrongState(
                Reason.NOT_RENDERABLE, "Single frames of a video cannot be rendered; retrieve the instance instead."
            )
        await pixels.require(request.frames)
        return pixels

    async def _frames(
        self, address: Address, request: RenderedRequest, omission: Omission
    ) -> AsyncGenerator[OpenRendered | FailedItem]:
        stored, pixels = await self._find(address, request)
        image = await self._image(stored, pixels, request)
        numbers = [number for number in request.frames if not stored.damage.is_of_rendering(number)]
        for _ in range(len(request.frames) - len(numbers)):
            omission.add(stored, _unrenderable())

        async def renderings() -> AsyncGenerator[Coroutine[Any, Any, OpenRendered]]:
            for number in numbers:
                yield self._frame(stored, image, number, request)

        async with aclosing(prefetch_ordered(renderings(), self._renderer.ahead)) as made:
            async for item in made:
                yield FailedItem(stored, item) if isinstance(item, DicomStoreError) else item

    async def _instances(
        self, address: Address, request: RenderedRequest, omission: Omission
    ) -> AsyncGenerator[OpenRendered | FailedItem]:
        page = await self._index.find(address, 0, _PAGE)
        if not page:
            raise await not_found(self._index, address)
        last = await self._leave_out(address, page, request, omission)
        started: list[StoredInstance] = []

        async def renderings() -> AsyncGenerator[Coroutine[Any, Any, OpenRendered]]:
            async for stored in self._all(address, page):
                if stored.version <= last and stored not in omission:
                    started.append(stored)
                    yield self._instance(stored, request)

        # An open animation renders frames itself, and must be read or closed.
        ahead = 0 if ANIMATED.intersection(request.media_types) else self._renderer.ahead
        async with aclosing(prefetch_ordered(renderings(), ahead)) as made:
            async for item in made:
                stored = started.pop(0)
                if not isinstance(item, DicomStoreError):
                    yield item
                elif item.reason is not Reason.INSTANCE_NOT_FOUND:  # deleted in between
                    yield FailedItem(stored, item)

    async def _leave_out(
        self, address: Address, page: list[StoredInstance], request: RenderedRequest, omission: Omission
    ) -> int:
        """Count the instances known to have no acceptable rendering; return the version of the last one."""
        last = 0
        async for stored in self._all(address, page):
            last = stored.version
            try:
                if (lost := await self._blob_reader.recorded_loss(stored)) is not None:
                    raise lost
                found = await self._pixels.find(stored.id, [1], stored.version)
                if found is not None:
                    await self._check(*found, request)
            except NotFound as error:
                if error.reason is not Reason.INSTANCE_NOT_FOUND:
                    omission.add(stored, error)
            except (WrongState, DataLoss) as error:
                omission.add(stored, error)
        return last

    async def _check(self, stored: StoredInstance, pixels: Pixels | None, request: RenderedRequest) -> None:
        """Raise the known error of rendering a whole instance, without rendering it.

        Raises:
            NotFound, WrongState: as `_whole`.
        """
        kind = await self._image_info.kind(stored, pixels.layout if pixels else None)
        if kind is Kind.REPORT:
            choose(request.media_types, MEDIA_TYPES[kind])
            return
        if kind is Kind.DOCUMENT:
            opened = await self._documents.document(stored, request)  # no bytes are read yet
            await opened.chunks.aclose()
            return
        if pixels is None:
            raise _without_pixels()
        if kind not in MEDIA_TYPES:
            raise _without_rendering()
        if kind is Kind.VIDEO:
            self._documents.require_video(stored, request)
            return
        is_still = _media_type(pixels, request) in STILL_FORMATS
        if stored.damage.is_of_rendering(1) if is_still else stored.damage.renderings:
            raise _unrenderable()

    async def _all(self, address: Address, page: list[StoredInstance]) -> AsyncIterator[StoredInstance]:
        while page:
            for stored in page:
                yield stored
            page = await self._index.find(address, page[-1].version, _PAGE) if len(page) == _PAGE else []

    async def _instance(self, stored: StoredInstance, request: RenderedRequest) -> OpenRendered:
        found = await self._pixels.find(stored.id, [1], stored.version)
        if found is None:
            raise NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")
        return await self._whole(*found, request)

    async def _whole(self, stored: StoredInstance, pixels: Pixels | None, request: RenderedRequest) -> OpenRendered:
        """Return an instance in the first acceptable media type of its kind."""
        kind = await self._image_info.kind(stored, pixels.layout if pixels else None)
        if kind is Kind.REPORT:
            return await self._documents.report(stored, request)
        if kind is Kind.DOCUMENT:
            return await self._documents.document(stored, request)
        if pixels is None:
            raise _without_pixels()
        if kind not in MEDIA_TYPES:
            raise _without_rendering()
        if kind is Kind.VIDEO:
            return await self._documents.video(stored, pixels.layout, request)
        media_type = _media_type(pixels, request)
        if media_type in STILL_FORMATS:
            return await self._frame(stored, pixels, 1, request, is_whole=True)
        image_request = ImageRequest(1, ImageFormat(media_type), request.style())
        return OpenRendered(stored, 0, media_type, None, await self._renderer.animation(pixels, image_request))

    async def _frame(
        self, stored: StoredInstance, pixels: Pixels, number: int, request: RenderedRequest, *, is_whole: bool = False
    ) -> OpenRendered:
        image_format = ImageFormat(choose(request.media_types, STILL_FORMATS))
        rendered = await self._renderer.render(pixels, ImageRequest(number, image_format, request.style()))
        return OpenRendered(stored, 0 if is_whole else number, image_format, len(rendered), once(rendered))


def _media_type(pixels: Pixels, request: RenderedRequest) -> str:
    """Return the media type of a whole image. Raises: WrongState, none is acceptable."""
    return choose(request.media_types, MEDIA_TYPES[Kind.IMAGE] if pixels.layout.number_of_frames > 1 else STILL_FORMATS)


def _unrenderable() -> WrongState:
    return WrongState(Reason.PIXEL_DATA_UNREADABLE, "An earlier attempt to render this pixel data failed.")


def _without_pixels() -> NotFound:
    return NotFound(Reason.NO_PIXEL_DATA, "The instance has no pixel data and is neither a document nor a report.")


def _without_rendering() -> WrongState:
    return WrongState(
        Reason.NOT_RENDERABLE, "This SOP Class has no rendered representation; only a thumbnail is available."
    )
