"""Transcoding of whole instances as streams, with only a few frames in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from struct import pack

from server.dicom.elements.transfer_syntax import is_defined
from server.dicom.part10.rewriter import Rewriter, inflate
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.image_pixel_module import Changes, header_changes, pixel_data_vr
from server.domain.damage import DamageRecord, of_frame
from server.domain.retrieve.blob_reader import DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, BlobReader, part_of
from server.domain.retrieve.frame_transcoder import ENCODABLE, Transcoder, frame_bytes, native_frame_bytes
from server.domain.retrieve.stored_frames import NATIVE, PixelReader, Pixels
from server.model.buffer import Buffer
from server.model.damage import EVERY_FRAME
from server.model.errors import DicomStoreError, InvalidRequest, NotFound, Reason, WrongState
from server.model.instance import StoredInstance
from server.model.pixels import PixelDescription

_MAX_VALUE_BYTES = 0xFFFFFFFE
_PIXEL_DATA = {"integer": 0x7FE00010, "float": 0x7FE00008, "double": 0x7FE00009}
_FLOAT_VRS = {"float": "OF", "double": "OD"}
_NO_OFFSETS = pack("<HHI", 0xFFFE, 0xE000, 0)
_ONLY_STORED = frozenset({DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN})
"""Transfer syntaxes that are read but never written."""

_END = pack("<HHI", 0xFFFE, 0xE0DD, 0)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A conversion of pixel data: the description before and after it."""

    pixels: Pixels
    target: str
    before: PixelDescription
    after: PixelDescription

    @property
    def is_native(self) -> bool:
        return self.target in NATIVE

    @property
    def value_bytes(self) -> int:
        """Return the size of the value of native pixel data."""
        return native_frame_bytes(self.after) * self.pixels.layout.number_of_frames


class InstanceTranscoder:
    """Transcodes instances. Failures are recorded in `damage`."""

    def __init__(
        self, *, blob_reader: BlobReader, pixels: PixelReader, transcoder: Transcoder, damage: DamageRecord
    ) -> None:
        self._damage = damage
        self._blob_reader = blob_reader
        self._pixels = pixels
        self._transcoder = transcoder

    async def targets(self, stored: StoredInstance) -> list[str]:
        """Return the transfer syntaxes that an instance can be transcoded to."""
        return [target for target in ENCODABLE if await self.can_become(stored, target)]

    async def can_become(self, stored: StoredInstance, target: str) -> bool:
        """True if an instance can be transcoded to `target`, as far as is known without decoding.

        Raises:
            NotFound: it was deleted in between.
        """
        if not is_defined(stored.transfer_syntax_uid) or EVERY_FRAME in stored.damage.frames:
            return False
        if target == stored.transfer_syntax_uid and stored.is_mislabelled:
            return target not in _ONLY_STORED
        if target not in ENCODABLE:
            return False
        if stored.transfer_syntax_uid in NATIVE and target in NATIVE:
            return True
        pixels = await self._find(stored)
        if pixels is None:
            return target in NATIVE
        if stored.damage.frames or not pixels.layout.number_of_frames:
            return False
        if not await self._transcoder.can_become(pixels, target):
            return False
        plan = await self._plan(pixels, target)
        return not plan.is_native or plan.value_bytes <= _MAX_VALUE_BYTES

    async def can_be_labelled(self, stored: StoredInstance, target: str) -> bool:
        """True if an instance has no pixel data, so that it can be labelled with a compressed transfer syntax.

        Its data set is then encoded in Explicit VR Little Endian, as in all of them (PS3.5 A.4). This serves clients
        that accept only a compressed transfer syntax for a study that also contains reports.
        """
        return target in ENCODABLE and is_defined(stored.transfer_syntax_uid) and await self._find(stored) is None

    async def open(self, stored: StoredInstance, target: str) -> AsyncGenerator[Buffer]:
        """Return an instance in a transfer syntax that it `can_become` or `can_be_labelled`, as a Part 10 file.

        The first frame is transcoded before this returns.

        Raises:
            WrongState: PIXEL_DATA_UNREADABLE, also while chunks are read.
            InvalidRequest, DataLoss, Unavailable: the stored bytes are damaged, also while chunks are read.
            Exhausted: BUSY, also while chunks are read.
            NotFound: it was deleted in between.
        """
        keeps_pixels = target == stored.transfer_syntax_uid or {target, stored.transfer_syntax_uid} <= NATIVE
        pixels = None if keeps_pixels else await self._find(stored)
        if pixels is None:
            return self._rewritten(stored, target)
        plan = await self._plan(pixels, target)
        numbers = range(1, pixels.layout.number_of_frames + 1)
        try:
            await pixels.require_all()
        except WrongState:
            await self._damage.found(stored, of_frame(EVERY_FRAME))
            raise
        frames = self._transcoder.frames(pixels, plan.before, numbers, target, use_cache=False)
        try:
            first = await self._checked(plan, 1, await anext(frames))
        except BaseException:
            await frames.aclose()
            raise
        return self._transcoded(plan, first, frames)

    async def _plan(self, pixels: Pixels, target: str) -> _Plan:
        before = await self._transcoder.description(pixels)
        return _Plan(pixels, target, before, syntaxes.described(before, pixels.syntax, target))

    async def _find(self, stored: StoredInstance) -> Pixels | None:
        found = await self._pixels.find(stored.id, (), stored.version)
        if found is None:
            raise NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")
        return found[1]

    async def _rewritten(self, stored: StoredInstance, target: str) -> AsyncGenerator[Buffer]:
        """Yield an instance whose pixel data, if any, changes at most its byte order."""
        chunks = self._blob_reader.read(stored)
        rewriter = _rewriter(stored, target)
        try:
            async for piece in inflate(chunks) if stored.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN else chunks:
                if written := rewriter.feed(piece):
                    yield written
            if written := rewriter.finish():
                yield written
        except InvalidRequest:
            await self._damage.found(stored, of_frame(EVERY_FRAME))
            raise

    async def _transcoded(
        self, plan: _Plan, first: bytes, frames: AsyncGenerator[bytes | DicomStoreError]
    ) -> AsyncGenerator[Buffer]:
        async with aclosing(frames):
            stored, layout = plan.pixels.stored, plan.pixels.layout
            rewriter = await self._rewriter(plan, len(first))
            try:
                async for piece in self._bytes(stored, 0, layout.offset):
                    if written := rewriter.feed(piece):
                        yield written
                    if rewriter.has_stopped:
                        break
                if not rewriter.has_stopped:
                    raise InvalidRequest(
                        Reason.UNREADABLE_INSTANCE, "The pixel data was not found at its recorded offset."
                    )
                end = layout.offset + layout.length
                async for piece in self._pixel_data(plan, rewriter, end, first, frames):
                    yield piece
                async for piece in self._bytes(stored, end, None):
                    if written := rewriter.feed(piece):
                        yield written
                if written := rewriter.finish():
                    yield written
            except InvalidRequest:
                await self._damage.found(stored, of_frame(EVERY_FRAME))
                raise

    async def _rewriter(self, plan: _Plan, first_bytes: int) -> Rewriter:
        stored = plan.pixels.stored
        attributes = await self._transcoder.attributes(stored)
        # The header precedes the frames, so the ratio is that of the first frame.
        ratio = frame_bytes(plan.before) / max(first_bytes, 1)
        changes = header_changes(
            attributes,
            plan.pixels.syntax,
            plan.target,
            layout=plan.pixels.layout,
            compression_ratio=ratio,
        )
        tag = _PIXEL_DATA[plan.before.sample_format]
        return _rewriter(stored, plan.target, changes=changes, stop_at=tag)

    async def _pixel_data(
        self,
        plan: _Plan,
        rewriter: Rewriter,
        end: int,
        first: bytes,
        frames: AsyncGenerator[bytes | DicomStoreError],
    ) -> AsyncIterator[Buffer]:
        vr = _FLOAT_VRS.get(plan.before.sample_format) or pixel_data_vr(plan.before, plan.target)
        padding = plan.value_bytes % 2 if plan.is_native else 0
        head = rewriter.resume(vr, plan.value_bytes + padding if plan.is_native else None, end)
        yield head if plan.is_native else head + _NO_OFFSETS
        async for piece in self._pieces(plan, first):
            yield piece
        number = 1
        async for made in frames:
            number += 1
            async for piece in self._pieces(plan, await self._checked(plan, number, made)):
                yield piece
        if not plan.is_native:
            yield _END
        elif padding:
            yield b"\0"

    async def _pieces(self, plan: _Plan, frame: bytes) -> AsyncIterator[Buffer]:
        """Yield a frame as encoded in pixel data, in pieces of the current size."""
        if not plan.is_native:
            yield pack("<HHI", 0xFFFE, 0xE000, len(frame) + len(frame) % 2)
        at = 0
        while at < len(frame):
            size = self._blob_reader.piece_bytes()
            yield frame[at : at + size] if size < len(frame) else frame
            at += size
        if not plan.is_native and len(frame) % 2:
            yield b"\0"

    async def _checked(self, plan: _Plan, number: int, made: bytes | DicomStoreError) -> bytes:
        """Return a frame after checking its size. A mismatch is recorded as damage."""
        if isinstance(made, NotFound) and made.reason is Reason.FRAME_NOT_FOUND:
            error = WrongState(
                Reason.PIXEL_DATA_UNREADABLE, "The pixel data has fewer frames than Number of Frames (0028,0008)."
            )
        elif isinstance(made, DicomStoreError):
            raise made
        elif not plan.is_native or len(made) == native_frame_bytes(plan.after):
            return made
        else:
            error = WrongState(
                Reason.PIXEL_DATA_UNREADABLE, "The size of a frame does not match the Image Pixel attributes."
            )
        await self._damage.found(plan.pixels.stored, of_frame(number))
        raise error

    def _bytes(self, stored: StoredInstance, start: int, stop: int | None) -> AsyncIterator[Buffer]:
        """Read a part of the file, inflated if the transfer syntax is deflated."""
        if stored.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN:
            return part_of(inflate(self._blob_reader.read(stored)), start, None if stop is None else stop - start)
        return self._blob_reader.read(stored, start, (stored.size_bytes if stop is None else stop) - start)


def _rewriter(
    stored: StoredInstance, target: str, *, changes: Changes | None = None, stop_at: int | None = None
) -> Rewriter:
    return Rewriter(
        stored.transfer_syntax_uid,
        target,
        sop_class_uid=stored.sop_class_uid,
        sop_instance_uid=stored.id.instance,
        changes=changes,
        stop_at=stop_at,
        size_bytes=None if stored.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN else stored.size_bytes,
    )
