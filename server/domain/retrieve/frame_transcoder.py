"""Transcoding of frames to other transfer syntaxes by worker processes, a few at a time, in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Iterable
from dataclasses import replace
from typing import Any

from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.domain.damage import DamageRecord, of_frame
from server.domain.flow.byte_cache import ByteCache, cost_of_bytes
from server.domain.retrieve.pixel_descriptions import Attributes, PixelDescriptionReader
from server.domain.retrieve.stored_frames import Pixels
from server.model.damage import Damage
from server.model.errors import DataLoss, DicomStoreError, Reason, WrongState
from server.model.instance import StoredInstance
from server.model.pixels import PixelDescription, TranscodeFrame
from server.ports.workers import Workers

SUBSAMPLED = syntaxes.SUBSAMPLED
ENCODABLE = syntaxes.ENCODABLE
DECODABLE = tuple(sorted(syntaxes.DECODABLE))

_AHEAD_BYTES = 64 << 20
"""Memory of frames transcoded ahead, of all responses together."""

_TranscodeFrame = Callable[[int], Any]


class Transcoder:
    """Transcodes frames, for all requests of a process.

    Args:
        workers: run the jobs.
        damage: records frames that cannot be decoded.
        cache_bytes: size of the cache of single frames.
        max_frame_bytes: size limit of an uncompressed frame.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        descriptions: PixelDescriptionReader,
        cache_bytes: int,
        damage: DamageRecord,
        max_frame_bytes: int,
    ) -> None:
        self._workers = workers
        self._damage = damage
        self._descriptions = descriptions
        self._cache: ByteCache[Hashable, bytes] = ByteCache("transcodedFrames", cache_bytes, cost_of_bytes)
        self._max_frame_bytes = max_frame_bytes
        # A request holds no frame while it waits for a worker.
        self._slots = asyncio.Semaphore(2 * workers.count)
        self._ahead_bytes = 0

    async def attributes(self, stored: StoredInstance) -> Attributes:
        """Return the attributes that describe the pixel data. Raises: as `PixelDescriptionReader.of`."""
        return await self._descriptions.of(stored)

    async def description(self, pixels: Pixels) -> PixelDescription:
        """Return the description of the pixel data, with attributes corrected by it where it contradicts them.

        Raises:
            WrongState: PIXEL_DATA_UNREADABLE, attributes are missing or contradict the pixel data.
            NotFound: as `PixelDescriptionReader.of`.
        """
        return describe_pixels(await self._descriptions.of(pixels.stored), pixels.layout)

    async def can_become(self, pixels: Pixels, target: str) -> bool:
        """True if frames can be transcoded to `target`, as far as is known without decoding."""
        if target not in ENCODABLE or pixels.syntax not in syntaxes.DECODABLE:
            return False
        try:
            description = await self.description(pixels)
        except WrongState:
            return False
        return frame_bytes(description) <= self._max_frame_bytes and syntaxes.can_transcode(
            description, pixels.syntax, target
        )

    async def targets(self, pixels: Pixels) -> list[str]:
        """Return the transfer syntaxes that frames can be transcoded to."""
        return [target for target in ENCODABLE if await self.can_become(pixels, target)]

    async def frame(self, pixels: Pixels, number: int, target: str) -> bytes:
        """Return a frame in the transfer syntax `target`, from the cache if possible.

        Raises:
            WrongState: PIXEL_DATA_UNREADABLE.
            Exhausted: BUSY.
            NotFound, DataLoss, Unavailable: as `Pixels.read`.
        """
        key = pixels.stored.version, number, target
        return await self._cache.get(key, lambda: self._transcode(pixels, number, target))

    def frames(
        self, pixels: Pixels, description: PixelDescription, numbers: Iterable[int], target: str, *, use_cache: bool
    ) -> AsyncGenerator[bytes | DicomStoreError]:
        """Yield frames in the given order, some transcoded ahead; an error in place of a frame that fails.

        use_cache: the frames are likely to be requested again.
        """
        make = self.frame if use_cache else self._transcode
        return self._in_order(lambda number: make(pixels, number, target), numbers, frame_bytes(description))

    async def _transcode(self, pixels: Pixels, number: int, target: str) -> bytes:
        async with self._slots:
            stored = pixels.stored
            description = await self.description(pixels)
            try:
                data = await pixels.read(number)
                if len(data) > self._max_frame_bytes:
                    raise WrongState(Reason.PIXEL_DATA_UNREADABLE, "The frame exceeds the size limit for transcoding.")
                transcoded = await self._workers.perform(TranscodeFrame(data, description, pixels.syntax, target))
            except (WrongState, DataLoss) as error:
                is_missing = error.reason is Reason.BLOB_MISSING
                await self._damage.found(stored, Damage(is_missing=True) if is_missing else of_frame(number))
                raise
            if stored.damage.is_of_frame(number):
                await self._damage.repaired(stored, of_frame(number))
            return transcoded

    async def _in_order(
        self, make: _TranscodeFrame, numbers: Iterable[int], size_bytes: int
    ) -> AsyncGenerator[bytes | DicomStoreError]:
        tasks: deque[asyncio.Task[bytes]] = deque()
        held = 0
        try:
            for number in numbers:
                tasks.append(asyncio.create_task(make(number)))
                self._ahead_bytes += size_bytes
                held += size_bytes
                if len(tasks) <= self._workers.count and self._ahead_bytes <= _AHEAD_BYTES:
                    continue
                while len(tasks) > (self._workers.count if self._ahead_bytes <= _AHEAD_BYTES else 0):
                    yield await _outcome(tasks.popleft())
                    self._ahead_bytes -= size_bytes
                    held -= size_bytes
            while tasks:
                yield await _outcome(tasks.popleft())
                self._ahead_bytes -= size_bytes
                held -= size_bytes
        finally:
            self._ahead_bytes -= held
            await _ended(tasks)


def frame_bytes(description: PixelDescription) -> int:
    """Return the size of an uncompressed frame."""
    samples = description.rows * description.columns * description.samples_per_pixel
    return -(-samples * description.bits_allocated // 8)


def native_frame_bytes(description: PixelDescription) -> int:
    """Return the size of a frame in native pixel data, in which two pixels of subsampled colour have four samples."""
    is_subsampled = description.samples_per_pixel == 3 and description.photometric_interpretation in SUBSAMPLED
    return frame_bytes(replace(description, samples_per_pixel=2) if is_subsampled else description)


async def _outcome(task: "asyncio.Task[bytes]") -> bytes | DicomStoreError:
    try:
        return await task
    except DicomStoreError as error:
        return error
    finally:
        task.cancel()


async def _ended(tasks: "Collection[asyncio.Task[bytes]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
