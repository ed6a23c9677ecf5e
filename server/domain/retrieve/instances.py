"""Retrieve Instances (PS3.18 10.4.1.1.1). Omissions are known before the first byte is sent."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from server.domain.access import Access
from server.domain.flow.prefetch import closable
from server.domain.resources import not_found, resolved, version_not_found
from server.domain.retrieve.blob_reader import AS_STORED, BlobReader, not_acceptable, range_within
from server.domain.retrieve.instance_transcoder import InstanceTranscoder
from server.domain.retrieve.omission import FailedItem, Omission, announced
from server.domain.retrieve.transfer_syntax_choice import Acceptable, choose
from server.model.access import Action
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.damage import NO_DAMAGE
from server.model.errors import DicomStoreError, InvalidRequest, NotFound, Reason, WrongState
from server.model.ids import ORIGINAL, Address, Version
from server.model.instance import StoredInstance
from server.ports.index import InstanceIndex

_PAGE = 500

_Pages = Callable[[Address, int, int], Awaitable[Sequence[StoredInstance]]]
"""Returns the instances of a resource after a version, at most so many."""


@dataclass(frozen=True, slots=True)
class OpenInstance:
    """An instance in the form to send; iterating `chunks` may raise."""

    stored: StoredInstance
    transfer_syntax_uid: str
    size_bytes: int | None
    chunks: AsyncGenerator[Buffer]


class RetrieveInstances:
    """Reads studies, series and instances."""

    def __init__(
        self, *, blob_reader: BlobReader, transcoder: InstanceTranscoder, index: InstanceIndex, access: Access
    ) -> None:
        self._blob_reader = blob_reader
        self._transcoder = transcoder
        self._index = index
        self._access = access

    async def open(
        self,
        call: Call,
        address: Address,
        *,
        acceptable: Acceptable,
        offset: int = 0,
        length: int | None = None,
        version: Version | None = None,
    ) -> AsyncGenerator[Omission | OpenInstance | FailedItem]:
        """Yield the instances of a resource by version; the caller must read each before the next.

        The first item lists the instances left out, if any. A range requires a single instance as stored. The first
        frame of a transcoded instance is ready before the instance is yielded. `version` selects a version of an
        instance.

        Raises, all before the first item:
            InvalidRequest, NotFound: for the address; VERSION_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, see `Access.permit`.
            WrongState: NOT_ACCEPTABLE_TRANSFER_SYNTAX when no instance is available.
            OutOfRange: RANGE_NOT_SATISFIABLE.
            and, for a single instance, the error of transcoding its first frame.
        """
        address.require_study()
        address = await self._access.permit(call, Action.READ, address, version=version)
        version = await resolved(self._index, address, version) if address.instance else version
        pages: _Pages = self._index.find
        if version == ORIGINAL:
            pages = self._index.find_originals
            page = await pages(address, 0, _PAGE)
        elif version is not None:
            one = await self._index.find_version(address.instance_id(), version)
            if one is None:
                raise await version_not_found(self._index, address.instance_id(), version)
            page = [one]
        else:
            page = await self._index.find(address, 0, _PAGE)
            if len(page) == _PAGE and (state := await self._index.state(address)) is not None:
                pages = partial(self._index.find, as_of=state.max_version)  # all pages are of one state
                page = await pages(address, 0, _PAGE)
        if not page:
            raise await not_found(self._index, address)
        if offset or length is not None:
            yield await self._part(address, page[0], acceptable, offset, length)
            return
        omission, last = await self._omission(address, page, acceptable, pages)
        items = announced(self._items(address, page, acceptable, omission, last, pages), omission)
        async with aclosing(items):
            async for item in items:
                yield item

    async def _items(
        self,
        address: Address,
        page: Sequence[StoredInstance],
        acceptable: Acceptable,
        omission: Omission,
        last: int | None,
        pages: _Pages,
    ) -> AsyncGenerator[OpenInstance | FailedItem]:
        """Yield the instances that are not left out, up to the version `last`."""
        async for stored in self._all(address, page, pages, are_read=True):
            if last is not None and stored.version > last:
                return
            if omission.count and stored in omission:
                continue
            if stored.damage is NO_DAMAGE and _is_best_as_stored(stored, acceptable):
                yield self._as_stored(stored)
                continue
            try:
                opened = await self.open_stored(stored, acceptable)
            except NotFound:  # deleted in between, so no longer part of the resource
                if address.instance is not None:
                    raise
                continue
            except DicomStoreError as error:
                yield FailedItem(stored, error)
                continue
            async with aclosing(opened.chunks):
                yield opened

    async def open_stored(self, stored: StoredInstance, acceptable: Acceptable) -> OpenInstance:
        """Return an instance in the best acceptable form; as stored if transcoding fails and that is acceptable.

        Access has been checked.

        Raises:
            WrongState: NOT_ACCEPTABLE_TRANSFER_SYNTAX, PIXEL_DATA_UNREADABLE.
            and as `InstanceTranscoder.open`.
        """
        target = await self._choose(stored, acceptable)
        if target is None:
            raise await self._refusal(stored)
        if target != AS_STORED:
            try:
                chunks = await self._transcoder.open(stored, target)
            except (WrongState, InvalidRequest):
                if not _is_acceptable_as_stored(stored, acceptable):
                    raise
            else:
                return OpenInstance(stored, target, None, chunks)
        return self._as_stored(stored)

    def _as_stored(self, stored: StoredInstance) -> OpenInstance:
        return OpenInstance(stored, stored.transfer_syntax_uid, stored.size_bytes, self._blob_reader.read(stored))

    async def _part(
        self, address: Address, stored: StoredInstance, acceptable: Acceptable, offset: int, length: int | None
    ) -> OpenInstance:
        if address.instance is None or await self._choose(stored, acceptable) != AS_STORED:
            raise InvalidRequest(
                Reason.INVALID_FIELD,
                "A byte range requires a single instance in its stored transfer syntax.",
                field="range",
            )
        offset, length = range_within(stored.size_bytes, offset, length)
        chunks = closable(self._blob_reader.read(stored, offset, length))
        return OpenInstance(stored, stored.transfer_syntax_uid, stored.size_bytes, chunks)

    async def _all(
        self, address: Address, page: Sequence[StoredInstance], pages: _Pages, *, are_read: bool = False
    ) -> AsyncIterator[StoredInstance]:
        """Yield the instances of the first page and of the following ones; `are_read` if their bytes are read, too."""
        while page:
            ahead = self._blob_reader.read_ahead(page) if are_read else None
            for number, stored in enumerate(page):
                if ahead is not None:
                    ahead.reached(number)
                yield stored
            page = await pages(address, page[-1].version, _PAGE) if len(page) == _PAGE else ()

    async def _omission(
        self, address: Address, page: Sequence[StoredInstance], acceptable: Acceptable, pages: _Pages
    ) -> tuple[Omission, int | None]:
        """Return the known omissions, and the version of the last instance examined; None means no limit.

        A single instance is always read, even if it is recorded as damaged. If the stored form is acceptable, only
        instances with recorded damage can be unavailable, and only these are examined.
        """
        omission = Omission()
        last: int | None = None
        if acceptable.accepts_every_stored_form:
            async for stored in self._damaged(address, page):
                if address.instance is None and (lost := await self._blob_reader.recorded_loss(stored)) is not None:
                    omission.add(stored, lost)
            return omission, last
        async for stored in self._all(address, page, pages):
            last = stored.version
            if stored.damage is NO_DAMAGE and _is_acceptable_as_stored(stored, acceptable):
                continue
            try:
                lost = await self._blob_reader.recorded_loss(stored) if address.instance is None else None
                if lost is not None:
                    omission.add(stored, lost)
                elif await self._choose(stored, acceptable) is None:
                    omission.add(stored, await self._refusal(stored) if omission.needs_error else _UNAVAILABLE)
            except NotFound:  # deleted in between
                if address.instance is not None:
                    raise
        return omission, last

    async def _damaged(self, address: Address, page: Sequence[StoredInstance]) -> AsyncIterator[StoredInstance]:
        """Yield the instances that are known to be damaged; `page` is the first page."""
        for stored in page:
            if stored.damage is not NO_DAMAGE:
                yield stored
        is_full = len(page) == _PAGE
        while is_full:
            page = await self._index.damaged(address, page[-1].version, _PAGE)
            for stored in page:
                yield stored
            is_full = len(page) == _PAGE

    async def _choose(self, stored: StoredInstance, acceptable: Acceptable) -> str | None:
        """Return the transfer syntax to transcode an instance to, `AS_STORED`, or None if no form is acceptable.

        Raises:
            NotFound: it was deleted in between.
        """
        transcoder = self._transcoder
        ranks = acceptable.ranks_for(stored.transfer_syntax_uid)
        chosen = await choose(
            ranks, lambda uid: _is_stored_form(stored, uid), lambda uid: transcoder.can_become(stored, uid)
        ) or await choose(ranks, lambda uid: False, lambda uid: transcoder.can_be_labelled(stored, uid))
        return AS_STORED if chosen is not None and _is_stored_form(stored, chosen) else chosen

    async def _refusal(self, stored: StoredInstance) -> DicomStoreError:
        """Return why no acceptable form is available. Raises: as `_choose`."""
        return not_acceptable(stored.transfer_syntax_uid, await self._transcoder.targets(stored))


_UNAVAILABLE = WrongState(
    Reason.NOT_ACCEPTABLE_TRANSFER_SYNTAX, "The instance is not available in an acceptable transfer syntax."
)


def _is_stored_form(stored: StoredInstance, uid: str) -> bool:
    """True if the stored bytes are encoded in a transfer syntax."""
    return uid == AS_STORED or (uid == stored.transfer_syntax_uid and not stored.is_mislabelled)


def _is_acceptable_as_stored(stored: StoredInstance, acceptable: Acceptable) -> bool:
    ranks = acceptable.ranks_for(stored.transfer_syntax_uid)
    return any(_is_stored_form(stored, uid) for equals in ranks for uid in equals)


def _is_best_as_stored(stored: StoredInstance, acceptable: Acceptable) -> bool:
    """True if no other acceptable form is preferred to the stored one."""
    ranks = acceptable.ranks_for(stored.transfer_syntax_uid)
    return bool(ranks) and any(_is_stored_form(stored, uid) for uid in ranks[0])
