"""Retrieve Frames (PS3.18 section 10.4.1.1.7). Only the bytes of those frames are read."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from server.dicom.elements.transfer_syntax import is_defined
from server.domain.access import Access
from server.domain.resources import resolved, version_not_found
from server.domain.retrieve.blob_reader import (
    AS_STORED,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    BlobReader,
    chained,
    not_acceptable,
    range_within,
)
from server.domain.retrieve.frame_transcoder import Transcoder
from server.domain.retrieve.omission import AHEAD_BYTES, FailedItem, Omission, announced
from server.domain.retrieve.stored_frames import PixelReader, Pixels
from server.domain.retrieve.transfer_syntax_choice import Acceptable, choose
from server.model.access import Action
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import DataLoss, DicomStoreError, InvalidRequest, NotFound, Reason, WrongState
from server.model.ids import Address, InstanceId, Version
from server.model.instance import StoredInstance
from server.ports.index import InstanceIndex


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """A frame in the form to send; iterating `chunks` may raise.

    size_bytes: of the whole frame, even if only a range follows; None if unknown.
    """

    stored: StoredInstance
    number: int
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncIterator[Buffer]


@dataclass(frozen=True, slots=True)
class Part:
    """A byte range of a frame; `length` None means to its end."""

    offset: int
    length: int | None

    @property
    def is_whole(self) -> bool:
        return self.offset == 0 and self.length is None


WHOLE = Part(0, None)


class RetrieveFrames:
    """Reads frames."""

    def __init__(
        self,
        *,
        blob_reader: BlobReader,
        pixels: PixelReader,
        transcoder: Transcoder,
        index: InstanceIndex,
        access: Access,
    ) -> None:
        self._blob_reader = blob_reader
        self._pixels = pixels
        self._transcoder = transcoder
        self._index = index
        self._access = access

    async def open(
        self,
        call: Call,
        address: Address,
        frames: Sequence[int],
        *,
        acceptable: Acceptable,
        offset: int = 0,
        length: int | None = None,
        head_only: bool = False,
        version: Version | None = None,
    ) -> AsyncGenerator[Omission | OpenFrame | FailedItem]:
        """Yield frames of a version of an instance in the requested order; the caller must read each before the next.

        The first item lists the frames left out, if any. A range requires a single frame. With `head_only`, stored
        frames have their sizes, even if computing one requires reading the frame.

        Raises, all before the first frame:
            InvalidRequest: INVALID_FRAME_NUMBER, INVALID_FIELD, and for the address.
            NotFound: for the address; VERSION_NOT_FOUND; NO_PIXEL_DATA; FRAME_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, see `Access.permit`.
            WrongState: NOT_ACCEPTABLE_TRANSFER_SYNTAX.
            OutOfRange: RANGE_NOT_SATISFIABLE.
            and, if no frame can be sent, the error of the first one.
        """
        if not frames or min(frames) < 1:
            raise InvalidRequest(Reason.INVALID_FRAME_NUMBER, "Frame numbers must be 1 or greater.", field="frames")
        part = Part(offset, length)
        if not part.is_whole and len(frames) > 1:
            raise InvalidRequest(Reason.INVALID_FIELD, "A byte range requires a single frame.", field="range")
        address = await self._access.permit(call, Action.READ, address, version=version)
        version = await resolved(self._index, address, version)
        opened = self.open_frames(address.instance_id(), frames, acceptable, part, head_only=head_only, version=version)
        async with aclosing(opened):
            async for item in opened:
                yield item

    async def open_frames(
        self,
        instance: InstanceId,
        frames: Sequence[int],
        acceptable: Acceptable,
        part: Part = WHOLE,
        *,
        head_only: bool = False,
        version: Version | None = None,
    ) -> AsyncGenerator[Omission | OpenFrame | FailedItem]:
        """Yield frames as `open`, for an operation that has checked access already."""
        found = await self._pixels.find(instance, frames, version)
        if found is None:
            raise await version_not_found(self._index, instance, version)
        pixels = found[1]
        if pixels is None:
            raise NotFound(Reason.NO_PIXEL_DATA, "The instance has no pixel data.")
        await pixels.require(frames)
        target = await self._choose(pixels, acceptable)
        omission, ahead_bytes = Omission(), 0
        if target == pixels.syntax or target in _stored_forms(pixels):
            frames = await self._readable(pixels, frames, omission)
            opened = self._stored(pixels, frames, target, part, head_only=head_only)
        else:
            substitute = _acceptable_as_stored(pixels, acceptable)
            opened = self._transcoded(pixels, frames, target, part, substitute, omission)
            ahead_bytes = AHEAD_BYTES
        async with aclosing(announced(opened, omission, ahead_bytes=ahead_bytes)) as items:
            async for item in items:
                yield item

    async def missing(self, stored: StoredInstance) -> WrongState | None:
        """Return the error of an instance that lacks some of its frames; None for others."""
        found = await self._pixels.find(stored.id, [1], stored.version)
        pixels = found[1] if found else None
        if pixels is None or not await pixels.has_frames():
            return None
        try:
            await pixels.require_all()
        except WrongState as error:
            return error
        return None

    async def refusal(self, stored: StoredInstance, acceptable: Acceptable) -> DicomStoreError | None:
        """Return the known reason why a frame is not available in an acceptable form; None if all are available.

        Also None for an instance without pixel data, and for one that was deleted in between.
        """
        found = await self._pixels.find(stored.id, (), stored.version)
        pixels = found[1] if found else None
        if pixels is None:
            return None
        try:
            target = await self._choose(pixels, acceptable)
        except WrongState as error:
            return error
        if not stored.damage.frames or target == pixels.syntax or target in _stored_forms(pixels):
            return None
        return None if _acceptable_as_stored(pixels, acceptable) else _undecodable(min(stored.damage.frames))

    async def _choose(self, pixels: Pixels, acceptable: Acceptable) -> str:
        """Return the transfer syntax of frames to send."""
        stored_forms = _stored_forms(pixels)

        async def is_possible(uid: str) -> bool:
            return await self._transcoder.can_become(pixels, uid)

        chosen = await choose(
            acceptable.ranks_for(pixels.syntax), lambda uid: uid == AS_STORED or uid in stored_forms, is_possible
        )
        if chosen is None:
            raise not_acceptable(pixels.stored.transfer_syntax_uid, await self._transcoder.targets(pixels))
        return stored_forms.get(chosen, pixels.syntax if chosen == AS_STORED else chosen)

    async def _readable(self, pixels: Pixels, numbers: Sequence[int], omission: Omission) -> Sequence[int]:
        """Return the frames that can be read, and count the others as left out.

        Only if the instance is known to be damaged, all frames are read to find out.

        Raises: the error of the first frame, if none can be read.
        """
        if not pixels.stored.damage.is_of_bytes or len(numbers) == 1:
            return numbers
        readable = []
        for number in numbers:
            try:
                opened = await pixels.open(number)
                async for _ in opened.chunks:
                    pass
            except DataLoss as error:
                omission.add(pixels.stored, error)
            else:
                readable.append(number)
        if not readable:
            raise omission.errors[0][1]
        return readable

    async def _stored(
        self, pixels: Pixels, numbers: Sequence[int], target: str, part: Part, *, head_only: bool = False
    ) -> AsyncGenerator[OpenFrame | FailedItem]:
        """Yield frames as stored; reading the first one has begun, so that it is known to exist."""
        if not part.is_whole:
            number = numbers[0]
            whole = await pixels.size(number)
            chunks = await pixels.open_part(number, *range_within(whole, part.offset, part.length))
            yield OpenFrame(pixels.stored, number, target, whole, await _begun(chunks))
            return
        for at, number in enumerate(numbers):
            try:
                opened = await pixels.open(number)
                size = opened.size_bytes
                if head_only and size is None:
                    size = await pixels.size(number)
                chunks = opened.chunks if at or head_only else await _begun(opened.chunks)
            except DicomStoreError as error:
                yield FailedItem(pixels.stored, error)
            else:
                yield OpenFrame(pixels.stored, number, target, size, chunks)

    async def _transcoded(
        self,
        pixels: Pixels,
        numbers: Sequence[int],
        target: str,
        part: Part,
        substitute: str | None,
        omission: Omission,
    ) -> AsyncGenerator[OpenFrame | FailedItem]:
        """Yield transcoded frames.

        A frame that cannot be decoded is sent as stored if `substitute`, its stored transfer syntax, is not None.
        Otherwise, one of several frames is left out if it is already known that it cannot be decoded.
        """
        stored = pixels.stored
        if substitute is None and len(numbers) > 1:
            known = [number for number in numbers if stored.damage.is_of_frame(number)]
            for number in known:
                omission.add(stored, _undecodable(number))
            numbers = [number for number in numbers if number not in known]
        description = await self._transcoder.description(pixels)
        transcoded = self._transcoder.frames(pixels, description, numbers, target, use_cache=True)
        async with aclosing(transcoded):
            for number in numbers:
                frame = await anext(transcoded)
                if isinstance(frame, bytes):
                    start, length = range_within(len(frame), part.offset, part.length)
                    yield OpenFrame(stored, number, target, len(frame), self._pieces(frame, start, start + length))
                elif substitute is not None and isinstance(frame, WrongState):
                    async for item in self._stored(pixels, [number], substitute, part):
                        yield item
                else:
                    yield FailedItem(stored, frame)

    async def _pieces(self, frame: bytes, start: int, stop: int) -> AsyncIterator[Buffer]:
        while start < stop:
            end = min(start + self._blob_reader.piece_bytes(), stop)
            yield frame if end - start == len(frame) else frame[start:end]
            start = end


def _stored_forms(pixels: Pixels) -> dict[str, str]:
    """Return the acceptable transfer syntaxes that need no re-encoding, each with the transfer syntax of the response.

    Pixel data with contradictory attributes has none: it is only sent as stored. Native frames are sent in little
    endian for every known native transfer syntax.
    """
    stored = pixels.stored.transfer_syntax_uid
    if not pixels.layout.is_understood:
        return {}
    if pixels.layout.is_encapsulated or not is_defined(stored):
        return {stored: stored}
    return {
        stored: pixels.syntax,
        IMPLICIT_LITTLE_ENDIAN: IMPLICIT_LITTLE_ENDIAN,
        EXPLICIT_LITTLE_ENDIAN: EXPLICIT_LITTLE_ENDIAN,
    }


def _acceptable_as_stored(pixels: Pixels, acceptable: Acceptable) -> str | None:
    """Return the transfer syntax of frames as stored, if it is acceptable."""
    free = _stored_forms(pixels)
    for equals in acceptable.ranks_for(pixels.syntax):
        for uid in equals:
            if uid == AS_STORED and free:
                return pixels.syntax
            if uid in free:
                return free[uid]
    return None


def _undecodable(number: int) -> WrongState:
    return WrongState(
        Reason.PIXEL_DATA_UNREADABLE,
        f"Frame {number} cannot be decoded." if number else "The frames cannot be decoded.",
    )


async def _begun(chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    """Return a stream of which the first piece has been read."""
    first = await anext(chunks, b"")
    return chained(first, chunks)
