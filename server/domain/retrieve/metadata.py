"""Retrieve Metadata (PS3.18 section 10.4.1.1.2), in pages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from server.dicom.elements.fields import Fields, fields
from server.domain.access import Access
from server.domain.labelled import NO_ADDITIONS, Additions, with_additions
from server.domain.resources import not_found, resolved, version_not_found
from server.domain.retrieve.blob_reader import BlobReader
from server.model.access import Action
from server.model.call import Call
from server.model.errors import InvalidRequest, Reason
from server.model.ids import ORIGINAL, Address, InstanceId, Version
from server.model.instance import InstanceMetadata, ResourceState
from server.ports.index import InstanceIndex
from server.ports.lifecycle.labels import LabelRecord

_FIRST_METADATA_PAGE = 20
_MAX_METADATA_ROWS = 200


@dataclass(frozen=True, slots=True)
class OpenMetadata:
    """The state of a resource and its data sets, in non-empty pages."""

    state: ResourceState
    pages: AsyncIterator[Sequence[InstanceMetadata]]


class RetrieveMetadata:
    """Reads metadata."""

    def __init__(self, *, blob_reader: BlobReader, index: InstanceIndex, access: Access, labels: LabelRecord) -> None:
        self._blob_reader = blob_reader
        self._labels = labels
        self._index = index
        self._access = access

    async def open(
        self,
        call: Call,
        address: Address,
        *,
        known: ResourceState | None,
        include_fields: Sequence[str] = (),
        exclude_fields: Sequence[str] = (),
        limit: int = 0,
        offset: int = 0,
        version: Version | None = None,
        additions: Additions = NO_ADDITIONS,
    ) -> OpenMetadata:
        """Open the metadata of a resource, without pages if its state equals `known`, unless there are additions.

        Instances are ordered by version, and in the state that was read first; only instances deleted since then may be
        missing. Data sets before `offset` are not read.

        Args:
            include_fields, exclude_fields: see `server.dicom.elements.fields`.
            limit: maximum number of data sets; 0 means all.
            offset: number of data sets to skip.
            version: of an instance.
            additions: what to add to the data sets.

        Raises:
            InvalidRequest, NotFound: for the address; INVALID_FIELD, limit or offset is negative; VERSION_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, see `Access.permit`.
        """
        for name, number in (("limit", limit), ("offset", offset)):
            if number < 0:
                raise InvalidRequest(Reason.INVALID_FIELD, f"{name} must be 0 or greater.", field=name)
        address.require_study()
        address = await self._access.permit(call, Action.READ, address, version=version)
        version = await resolved(self._index, address, version) if address.instance else version
        if version is None or version == ORIGINAL:
            read_state = self._index.state if version is None else self._index.original_state
            state = await read_state(address)
            if state is None:
                raise await not_found(self._index, address)
        else:
            state = ResourceState(version, 1)
            if await self._index.find_version(address.instance_id(), version) is None:
                raise await version_not_found(self._index, address.instance_id(), version)
        if state == known and not any(additions):  # the facade returns what it has cached
            call.audit.items = state.instance_count
            return OpenMetadata(state, _nothing())
        if version == ORIGINAL:
            pages = _from(offset, self._originals(address))
        elif version is not None:
            pages = self._of_version(address.instance_id(), version) if not offset else _nothing()
        elif (after := await self._index.version_at(address, offset - 1) if offset else 0) is None:
            return OpenMetadata(state, _nothing())
        else:
            pages = self._metadata(address, state, after)
        if limit:
            pages = _at_most(limit, pages)
        wanted = fields(include_fields, exclude_fields)
        pages = _selected(wanted, pages) if wanted else pages
        return OpenMetadata(state, self._with_additions(address, additions, pages) if any(additions) else pages)

    async def _with_additions(
        self, address: Address, additions: Additions, pages: AsyncIterator[Sequence[InstanceMetadata]]
    ) -> AsyncIterator[Sequence[InstanceMetadata]]:
        """Yield the pages with labels and external metadata."""
        async for page in pages:
            data_sets = [(item.id.address, item.dicom_json) for item in page]
            added = await with_additions(self._labels, address.partition, data_sets, additions)
            yield [replace(item, dicom_json=dicom_json) for item, dicom_json in zip(page, added, strict=True)]

    async def _of_version(self, instance: InstanceId, version: Version) -> AsyncIterator[Sequence[InstanceMetadata]]:
        dicom_json = await self._index.dicom_json(instance, version)
        if dicom_json is not None:
            yield [InstanceMetadata(instance, version, dicom_json)]

    async def _metadata(
        self, address: Address, state: ResourceState, after: int
    ) -> AsyncIterator[Sequence[InstanceMetadata]]:
        """Yield pages: a small one first for a fast start, then pages sized by the mean size of the previous one."""
        limit = _FIRST_METADATA_PAGE
        while after < state.max_version and (
            page := await self._index.metadata(address, after, limit, state.max_version)
        ):
            after = page[-1].version
            yield page
            mean_bytes = sum(len(item.dicom_json) for item in page) // len(page)
            limit = max(1, min(_MAX_METADATA_ROWS, self._blob_reader.piece_bytes() // 2 // (mean_bytes + 1)))

    async def _originals(self, address: Address) -> AsyncIterator[Sequence[InstanceMetadata]]:
        """Yield the metadata of originals; small pages, because each is read by itself."""
        after = 0
        while page := await self._index.find_originals(address, after, _FIRST_METADATA_PAGE):
            after = page[-1].version
            found = [(stored, await self._index.dicom_json(stored.id, stored.version)) for stored in page]
            yield [InstanceMetadata(stored.id, stored.version, json) for stored, json in found if json is not None]


async def _from(
    offset: int, pages: AsyncIterator[Sequence[InstanceMetadata]]
) -> AsyncIterator[Sequence[InstanceMetadata]]:
    """Yield the data sets from an offset on."""
    async for page in pages:
        if page[offset:]:
            yield page[offset:]
        offset = max(0, offset - len(page))


async def _at_most(
    limit: int, pages: AsyncIterator[Sequence[InstanceMetadata]]
) -> AsyncIterator[Sequence[InstanceMetadata]]:
    """Yield at most `limit` data sets."""
    async for page in pages:
        yield page[:limit]
        limit -= len(page)
        if limit <= 0:
            return


async def _selected(
    wanted: Fields, pages: AsyncIterator[Sequence[InstanceMetadata]]
) -> AsyncIterator[Sequence[InstanceMetadata]]:
    """Yield the pages with only the wanted attributes."""
    async for page in pages:
        yield await asyncio.to_thread(_select, wanted, page)


def _select(wanted: Fields, page: Sequence[InstanceMetadata]) -> list[InstanceMetadata]:
    return [replace(item, dicom_json=wanted.of(item.dicom_json)) for item in page]


async def _nothing() -> AsyncIterator[Sequence[InstanceMetadata]]:
    for page in list[Sequence[InstanceMetadata]]():
        yield page
