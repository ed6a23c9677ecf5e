"""Rendered images of single frames, and animations of all frames. Workers do the rendering."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from server.dicom.presentation.animation import Animation, delays_ms
from server.dicom.presentation.annotation import patient_lines, technique_lines
from server.dicom.presentation.image_size import is_color, placement
from server.domain.damage import DamageRecord, of_rendering
from server.domain.flow.prefetch import prefetch_ordered, settled
from server.domain.render.image_info import ImageInfo, ImageInfoReader
from server.domain.render.request import Annotation, RequestedWindow, Style
from server.domain.retrieve.frame_transcoder import frame_bytes
from server.domain.retrieve.omission import AHEAD_BYTES
from server.domain.retrieve.stored_frames import Pixels
from server.model.buffer import Buffer
from server.model.damage import Damage
from server.model.errors import DataLoss, DicomStoreError, Reason, WrongState
from server.model.rendering import IccProfile, ImageFormat, Output, Presentation, RenderFrame, Window, WindowFunction
from server.ports.workers import Workers

_LARGE_FRAME_BYTES = 4 << 20

_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A requested image of one frame.

    like: the presentation of the first frame of an animation, because its frames must have one size and colour type.
    """

    number: int
    format: ImageFormat
    style: Style
    like: Presentation | None = None


class ImageRenderer:
    """Renders images, for all requests of a process.

    Args:
        damage: records frames that cannot be rendered.
        max_frame_bytes: size limit of an uncompressed frame.
    """

    def __init__(
        self, *, image_info: ImageInfoReader, workers: Workers, damage: DamageRecord, max_frame_bytes: int
    ) -> None:
        self._image_info = image_info
        self._damage = damage
        self._workers = workers
        self._max_frame_bytes = max_frame_bytes
        # A request holds no frame while it waits for a worker.
        self._slots = asyncio.Semaphore(2 * workers.count)
        self._large_slots = asyncio.Semaphore(workers.count)

    @property
    def ahead(self) -> int:
        """Number of images to render ahead."""
        return self._workers.count

    async def render(self, pixels: Pixels, image_request: ImageRequest) -> bytes:
        """Return the encoded image of a frame; for an animation, its blocks.

        Raises:
            WrongState: PIXEL_DATA_UNREADABLE; NOT_RENDERABLE, its kind or size is not supported.
            Exhausted: BUSY.
            NotFound, DataLoss, Unavailable: as `ImageInfoReader.of` and `Pixels.read`.
        """
        async with self._slots:
            stored, found = pixels.stored, of_rendering(image_request.number)
            try:
                rendered = await self._render(pixels, image_request)
            except (WrongState, DataLoss) as error:
                is_missing = error.reason is Reason.BLOB_MISSING
                await self._damage.found(stored, Damage(is_missing=True) if is_missing else found)
                raise
            if stored.damage.is_of_rendering(image_request.number):
                await self._damage.repaired(stored, found)
            return rendered

    async def _render(self, pixels: Pixels, image_request: ImageRequest) -> bytes:
        image = await self._image_info.of(pixels.stored, pixels.layout)
        self._require_size(frame_bytes(image.description))
        presentation = _fitting(
            await self._image_info.presentation(image, image_request.number), image, image_request.like
        )
        output = _output(image, presentation, image_request, pixels.layout.number_of_frames)
        if output.icc_profile is IccProfile.NO:
            presentation = replace(presentation, icc_profile=b"")
        # Reading the next frame while a worker is busy saves time; for large frames it would cost too much memory.
        is_large = frame_bytes(image.description) > _LARGE_FRAME_BYTES
        async with self._large_slots if is_large else nullcontext():
            data = await pixels.read(image_request.number)
            self._require_size(len(data))
            return await self._workers.perform(
                RenderFrame(data, image.description, pixels.syntax, presentation, output)
            )

    async def animation(self, pixels: Pixels, image_request: ImageRequest) -> AsyncGenerator[Buffer]:
        """Open an animation of all frames; a few are rendered ahead, and a small animation before this returns.

        image_request: its number is that of the first frame.

        Raises: as `render`, also while chunks are read.
        """
        await pixels.require_all()
        image = await self._image_info.of(pixels.stored, pixels.layout)
        numbers = range(1, pixels.layout.number_of_frames + 1)
        presentation = await self._image_info.presentation(image, 1)
        place = placement(image.description, presentation, _output(image, presentation, image_request, len(numbers)))
        has_colors = is_color(image.description, presentation)
        animation = Animation(image_request.format, place.width, place.height, has_colors, len(numbers))
        image_request = replace(image_request, like=presentation)
        frames = prefetch_ordered(self._frame_renderings(pixels, image_request), self.ahead)
        try:
            first = await anext(frames)
            if isinstance(first, DicomStoreError):
                raise first
        except BaseException:
            await frames.aclose()
            raise
        delays = delays_ms(image.attributes, numbers)
        return await settled(_animated(animation, first, frames, delays), AHEAD_BYTES)

    async def _frame_renderings(
        self, pixels: Pixels, image_request: ImageRequest
    ) -> AsyncGenerator[Coroutine[Any, Any, bytes]]:
        for number in range(1, pixels.layout.number_of_frames + 1):
            yield self.render(pixels, replace(image_request, number=number))

    def _require_size(self, size_bytes: int) -> None:
        if size_bytes > self._max_frame_bytes:
            raise WrongState(Reason.NOT_RENDERABLE, "The frame exceeds the size limit for rendering.")


async def _animated(
    animation: Animation, first: bytes, frames: AsyncGenerator[bytes | DicomStoreError], delays: list[float]
) -> AsyncGenerator[bytes]:
    async with aclosing(frames):
        yield animation.head() + animation.frame(0, first, delays[0])
        index = 0
        async for blocks in frames:
            if isinstance(blocks, DicomStoreError):
                raise blocks
            index += 1
            yield animation.frame(index, blocks, delays[index])
        yield animation.tail()


def _fitting(presentation: Presentation, image: ImageInfo, like: Presentation | None) -> Presentation:
    """Return a presentation that renders images of the same size and colour type as `like`."""
    if like is None:
        return presentation
    presentation = replace(presentation, pixel_aspect=like.pixel_aspect)
    if is_color(image.description, like) == is_color(image.description, presentation):
        return presentation
    return replace(presentation, tint=None if presentation.tint else _WHITE)


def _output(image: ImageInfo, presentation: Presentation, image_request: ImageRequest, number_of_frames: int) -> Output:
    style = image_request.style
    window = _window(style.window, presentation) if style.window else None
    shown = window or next(iter(presentation.windows), None)
    lines: list[str] = []
    if Annotation.PATIENT in style.annotations:
        lines += patient_lines(image.attributes)
    if Annotation.TECHNIQUE in style.annotations:
        lines += technique_lines(image.attributes, image_request.number if number_of_frames > 1 else 0, shown)
    return Output(
        format=image_request.format,
        quality=style.quality,
        viewport=style.viewport,
        window=window,
        annotations=tuple(lines),
        icc_profile=style.icc_profile,
        is_thumbnail=style.is_thumbnail,
    )


def _window(requested: RequestedWindow, presentation: Presentation) -> Window:
    """Return the requested window. Without a function, that of the data set is used if the width allows it."""
    function = requested.function or next((window.function for window in presentation.windows), WindowFunction.LINEAR)
    if function is WindowFunction.LINEAR and requested.width < 1:
        function = WindowFunction.LINEAR_EXACT
    return Window(requested.center, requested.width, function)
