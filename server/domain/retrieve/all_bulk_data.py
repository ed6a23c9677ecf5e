"""Retrieve Bulkdata and Pixel Data of a study, a series or an instance (PS3.18 sections 10.4.1.1.5 and 10.4.1.1.6)."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import chain

from server.domain.access import Access
from server.domain.resources import not_found, resolved, version_not_found
from server.domain.retrieve.blob_reader import AS_STORED, PIXELS, BlobReader, not_acceptable
from server.domain.retrieve.bulk_data import RetrieveBulkData
from server.domain.retrieve.frames import OpenFrame, RetrieveFrames
from server.domain.retrieve.omission import FailedItem, Omission, announced
from server.domain.retrieve.transfer_syntax_choice import Acceptable
from server.model.access import Action
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import DicomStoreError, NotFound, Reason
from server.model.ids import Address, Version
from server.model.instance import BulkElement, PixelLayout, StoredInstance
from server.ports.index import InstanceIndex

_INSTANCES_PAGE = 200
_ELEMENTS_PAGE = 500
_FRAMES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class OpenBulkItem:
    """A value, or a frame of pixel data. `frame` is 0 for a whole value."""

    stored: StoredInstance
    path: str
    frame: int
    vr: str
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncIterator[Buffer]


BulkItem = OpenBulkItem | FailedItem


@dataclass(frozen=True, slots=True)
class _Request:
    """The request, as it applies to each instance."""

    pixels_only: bool
    acceptable: Acceptable
    version: Version | None


class RetrieveAllBulkData:
    """Reads the bulk values and frames of whole resources."""

    def __init__(
        self,
        *,
        values: RetrieveBulkData,
        frames: RetrieveFrames,
        blob_reader: BlobReader,
        index: InstanceIndex,
        access: Access,
    ) -> None:
        self._blob_reader = blob_reader
        self._values = values
        self._frames = frames
        self._index = index
        self._access = access

    async def open(
        self,
        call: Call,
        address: Address,
        *,
        pixels_only: bool,
        acceptable: Acceptable,
        version: Version | None = None,
    ) -> AsyncGenerator[Omission | BulkItem]:
        """Yield all values ordered by version and path; the caller must read each before the next.

        `version` selects a version of an instance.

        The first item lists the instances whose pixel data is left out, if there are any.

        Raises, all before the first item:
            InvalidRequest, NotFound: for the address; VERSION_NOT_FOUND, BULK_DATA_NOT_FOUND, NO_PIXEL_DATA.
            Forbidden: PERMISSION_DENIED, see `Access.permit`.
            and, if no value can be sent, the error of the first one.
        """
        address.require_study()
        address = await self._access.permit(call, Action.READ, address, version=version)
        version = await resolved(self._index, address, version)
        if version is None and await self._index.state(address) is None:
            raise await not_found(self._index, address)
        request = _Request(pixels_only, acceptable, version)
        omission = await self._omission(address, request)
        are_any = False
        async with aclosing(announced(self._all(address, request, omission), omission)) as items:
            async for item in items:
                are_any = True
                yield item
        if not are_any and pixels_only:
            raise NotFound(Reason.NO_PIXEL_DATA, "The resource has no pixel data.")
        if not are_any:
            raise NotFound(Reason.BULK_DATA_NOT_FOUND, "The resource has no bulk data.", path="")

    async def _omission(self, address: Address, request: _Request) -> Omission:
        """Return the instances that are known to be damaged or to have unavailable or incomplete pixel data.

        A single instance is always read, even if it is recorded as damaged.
        """
        omission = Omission()
        async for stored in self._instances(address, request.version):
            refusal: DicomStoreError | None = None
            if address.instance is None:
                refusal = await self._blob_reader.recorded_loss(stored)
            if refusal is None and not request.acceptable.accepts_every_stored_form:
                refusal = await self._frames.refusal(stored, request.acceptable)
            if refusal is not None:
                omission.add(stored, refusal)
            elif (missing := await self._frames.missing(stored)) is not None:
                omission.add(stored, missing, is_sent=True)
        return omission

    async def _all(self, address: Address, request: _Request, omission: Omission) -> AsyncGenerator[BulkItem]:
        async for stored in self._instances(address, request.version):
            is_left_out = stored in omission
            if is_left_out and stored.damage.is_of_bytes:
                continue
            async for element in self._elements(stored, request.pixels_only):
                if is_left_out and element.path in PIXELS:
                    continue
                async with aclosing(self._items(stored, element, request)) as items:
                    async for item in items:
                        yield item

    async def _instances(self, address: Address, version: Version | None) -> AsyncIterator[StoredInstance]:
        if version is not None:
            one = await self._index.find_version(address.instance_id(), version)
            if one is None:
                raise await version_not_found(self._index, address.instance_id(), version)
            yield one
            return
        after = 0
        while page := await self._index.find(address, after, _INSTANCES_PAGE):
            for stored in page:
                yield stored
            after = page[-1].version
            if len(page) < _INSTANCES_PAGE:
                return

    async def _elements(self, stored: StoredInstance, pixels_only: bool) -> AsyncIterator[BulkElement]:
        if pixels_only:
            for path in PIXELS:
                found = await self._index.bulk(stored.id, path, stored.version)
                if found and found[1]:
                    yield found[1]
            return
        after = ""
        while page := await self._index.bulk_elements(stored.id, stored.version, after, _ELEMENTS_PAGE):
            for element in page:
                yield element
            after = page[-1].path
            if len(page) < _ELEMENTS_PAGE:
                return

    async def _items(self, stored: StoredInstance, element: BulkElement, request: _Request) -> AsyncGenerator[BulkItem]:
        """Yield the frames of pixel data if they can be separated, otherwise the value."""
        layout = await self._layout_of_frames(stored, element)
        try:
            if layout is not None:
                async for item in self._each_frame(stored, element, layout, request):
                    yield item
            else:
                yield await self._value(stored, element, request)
        except DicomStoreError as error:
            yield FailedItem(stored, error)

    async def _layout_of_frames(self, stored: StoredInstance, element: BulkElement) -> PixelLayout | None:
        """Return the layout of pixel data whose frames can be separated; None for videos, for instance."""
        found = await self._index.frames(stored.id, [1], stored.version) if element.path in PIXELS else None
        layout = found[1] if found else None
        if found is None or layout is None or layout.offset != element.offset:
            return None
        has_frames = bool(found[2]) if layout.is_encapsulated else layout.number_of_frames > 0
        return layout if has_frames else None

    async def _each_frame(
        self, stored: StoredInstance, element: BulkElement, layout: PixelLayout, request: _Request
    ) -> AsyncGenerator[BulkItem]:
        """Yield the existing frames up to the first failure, a batch at a time."""
        for first in range(1, layout.number_of_frames + 1, _FRAMES_AT_ONCE):
            numbers = range(first, min(first + _FRAMES_AT_ONCE, layout.number_of_frames + 1))
            existing = await self._existing(stored, numbers) if layout.is_encapsulated else numbers
            if not existing:
                continue
            frames = self._frames.open_frames(stored.id, existing, request.acceptable, version=stored.version)
            async with aclosing(frames) as opened:
                async for frame in opened:
                    if not isinstance(frame, OpenFrame):
                        error = frame.error if isinstance(frame, FailedItem) else frame.errors[0][1]
                        yield FailedItem(stored, error)
                        return
                    yield _frame(stored, element, frame)

    async def _existing(self, stored: StoredInstance, numbers: Sequence[int]) -> Sequence[int]:
        """Return the frames that encapsulated pixel data has; any may be missing."""
        found = await self._index.frames(stored.id, numbers, stored.version)
        records = found[2] if found else {}
        return [number for number in numbers if number in records]

    async def _value(self, stored: StoredInstance, element: BulkElement, request: _Request) -> BulkItem:
        opened = await self._values.open_element(stored, element)
        ranks = request.acceptable.ranks_for(opened.transfer_syntax_uid)
        if element.path in PIXELS and not {AS_STORED, opened.transfer_syntax_uid} & set(chain(*ranks)):
            raise not_acceptable(opened.transfer_syntax_uid)
        return OpenBulkItem(
            stored, element.path, 0, element.vr, opened.transfer_syntax_uid, opened.size_bytes, opened.chunks
        )


def _frame(stored: StoredInstance, element: BulkElement, frame: OpenFrame) -> BulkItem:
    return OpenBulkItem(
        stored, element.path, frame.number, element.vr, frame.transfer_syntax_uid, frame.size_bytes, frame.chunks
    )
