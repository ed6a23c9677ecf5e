"""Versions of instances: their history, what changed between two of them, and reverting (docs/api.md, Versions)."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace

from server.dicom.ingest.reader import InstanceReader
from server.dicom.updating.differences import Difference, DifferenceKind, Found, differences
from server.domain.access import Access
from server.domain.limits import check_reason
from server.domain.limits import page_size as checked_page_size
from server.domain.resources import not_found, version_not_found
from server.domain.retrieve.bulk_data import OpenBulkData, RetrieveBulkData
from server.domain.search import page_token
from server.domain.store.commit import Committer
from server.domain.store.quota import Quotas
from server.domain.store.receive import MakeReceipt, new_instance
from server.model.access import Action
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import InvalidRequest, Reason
from server.model.ids import Address, InstanceId, Version
from server.model.instance import Added, InstanceVersion, NewInstance, StoredInstance, ValidationMode
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex

_HISTORY_PAGE = 500
_PAGE_BYTES = 1 << 18
_MAX_ELEMENT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions, and the attributes in which they differ, in pages of about 256 KiB."""

    before: Version
    after: Version
    pages: AsyncIterator[Sequence[Difference]]


class Versions:
    """Lists, compares and reverts versions."""

    def __init__(
        self,
        *,
        index: InstanceIndex,
        blobs: BlobStore,
        committer: Committer,
        bulk_data: RetrieveBulkData,
        access: Access,
        quotas: Quotas,
        receipt: MakeReceipt,
        max_header_bytes: int,
    ) -> None:
        self._index = index
        self._blobs = blobs
        self._committer = committer
        self._bulk_data = bulk_data
        self._access = access
        self._quotas = quotas
        self._receipt = receipt
        self._max_header_bytes = max_header_bytes

    async def list(
        self, call: Call, address: Address, *, page_size: int, token: str
    ) -> tuple[Sequence[InstanceVersion], str]:
        """Return a page of versions, ascending, and the token of the next page, empty for the last one.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
            NotFound: for the address.
            Forbidden: PERMISSION_DENIED, also for share links.
        """
        address.require_study()
        size = checked_page_size(page_size)
        address = await self._access.permit(call, Action.READ, address, by_share_link=False)
        pages = repr(address).encode()
        after = page_token.read(token, pages) if token else 0
        found = await self._index.history(address, after, size + 1)
        if not found and not token:
            raise await not_found(self._index, address)
        following = page_token.make(found[size - 1].version, pages) if len(found) > size else ""
        call.audit.items = min(len(found), size)
        return found[:size], following

    async def compare(self, call: Call, address: Address, before: Version | None, after: Version | None) -> Comparison:
        """Compare two versions of an instance; `before` None means the one before `after`.

        Raises:
            InvalidRequest: INVALID_FIELD, there is no `after`.
            NotFound: for the address; VERSION_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, also for share links.
            and while pages are read, as `BlobStore.read`.
        """
        address = await self._access.permit(call, Action.READ, address, version=_required(after))
        instance = address.instance_id()
        new = await self._find(instance, _required(after))
        old = await self._find(instance, before or await self._previous(instance, new.version))
        texts = [await self._index.dicom_json(instance, one.version) for one in (old, new)]
        if texts[0] is None or texts[1] is None:
            raise await not_found(self._index, address)
        return Comparison(old.version, new.version, self._pages(differences(texts[0], texts[1]), old, new))

    async def revert(self, call: Call, address: Address, version: Version | None, reason: str) -> Version:
        """Make the content of a version the current one; return the current version.

        Raises:
            InvalidRequest: INVALID_FIELD, there is no version, or the reason is invalid.
            NotFound: for the address; VERSION_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, also for share links.
            WrongState: ON_HOLD.
            Exhausted: QUOTA_EXCEEDED, STORAGE_FULL.
            DataLoss: BLOB_MISSING, BLOB_DAMAGED.
        """
        check_reason(reason)
        call.audit.note(version=str(version or 0), reason=reason)
        address = await self._access.permit(call, Action.WRITE, address, version=_required(version))
        stored = await self._find(address.instance_id(), _required(version))
        state = await self._index.state(address)
        if state is not None and state.max_version == stored.version:
            return stored.version
        quota = self._quotas.of(address.partition)
        if quota is None:
            return await self._reverted(stored, Provenance(call.principal.id, reason, VersionOrigin.REVERTED))
        await quota.reserve(stored.size_bytes)
        is_stored = False
        try:
            new = await self._reverted(stored, Provenance(call.principal.id, reason, VersionOrigin.REVERTED))
            is_stored = True
        finally:
            quota.end(stored.size_bytes, is_stored=is_stored)
        return new

    async def _reverted(self, stored: StoredInstance, provenance: Provenance) -> Version:
        new = await self._copied(stored, provenance)
        outcome = await self._committer.replace(new)
        if not isinstance(outcome, Added):
            raise await not_found(self._index, stored.id.address)
        return outcome.version

    async def _copied(self, stored: StoredInstance, provenance: Provenance) -> NewInstance:
        """Return a new instance with the content of a version, whose blob is a copy.

        Raises: as `BlobStore.read` and `open_write`.
        """
        reader = InstanceReader(ValidationMode.LENIENT, self._max_header_bytes)
        async with self._blobs.open_write(stored.size_bytes, stored.id.partition) as writer:
            async for piece in self._blobs.read(stored.locator, crc32c=stored.crc32c):
                reader.feed_some(piece)
                while reader.is_behind:
                    await asyncio.sleep(0)
                    reader.proceed()
                await writer.write(piece)
            description = reader.finish()
            crc32c = writer.crc32c
            locator = await writer.commit(self._receipt(stored.id.partition))
        return new_instance(
            description,
            partition=stored.id.partition,
            size_bytes=stored.size_bytes,
            crc32c=crc32c,
            locator=locator,
            must_be_indexed=False,
            provenance=provenance,
        )

    async def _find(self, instance: InstanceId, version: Version) -> StoredInstance:
        found = await self._index.find_version(instance, version)
        if found is None:
            raise await version_not_found(self._index, instance, version)
        return found

    async def _previous(self, instance: InstanceId, version: Version) -> Version:
        """Return the version before another one; itself if it is the first."""
        previous, after = version, 0
        while page := await self._index.history(instance.address, after, _HISTORY_PAGE):
            earlier = [one.version for one in page if one.version < version]
            if earlier:
                previous = earlier[-1]
            if len(earlier) < len(page):
                return previous
            after = page[-1].version
        return previous

    async def _pages(
        self, found: Iterator[Found], old: StoredInstance, new: StoredInstance
    ) -> AsyncIterator[Sequence[Difference]]:
        while some := await asyncio.to_thread(_some, found):
            page = []
            for one in some:
                if isinstance(one, Difference):
                    page.append(_shortened(one))
                elif not await self._is_same(one.path, old, new):
                    reference = b'{"vr":"%b","BulkDataURI":"bulkdata:%b"}' % (one.vr.encode(), one.path.encode())
                    page.append(Difference(one.path, DifferenceKind.CHANGED, one.vr, reference, reference))
            yield page

    async def _is_same(self, path: str, old: StoredInstance, new: StoredInstance) -> bool:
        """Compare the bytes of a bulk value."""
        one, other = [await self._open(path, version) for version in (old, new)]
        if one is None or other is None:
            return one is other
        if None not in (one.size_bytes, other.size_bytes) and one.size_bytes != other.size_bytes:
            return False
        return one.transfer_syntax_uid == other.transfer_syntax_uid and await _equal(one.chunks, other.chunks)

    async def _open(self, path: str, stored: StoredInstance) -> OpenBulkData | None:
        found = await self._index.bulk(stored.id, path, stored.version)
        if found is None or found[1] is None:
            return None
        return await self._bulk_data.open_element(stored, found[1])


def _required(version: Version | None) -> Version:
    if version is None or version < 1:
        raise InvalidRequest(Reason.INVALID_FIELD, "A version, a number from 1, is required.", field="version")
    return version


def _some(found: Iterator[Found]) -> Sequence[Found]:
    """Return the next ones, of about `_PAGE_BYTES` together; none at the end."""
    some: list[Found] = []
    size = 0
    for one in found:
        some.append(one)
        size += len(one.path) + (len(one.before) + len(one.after) if isinstance(one, Difference) else 0)
        if size >= _PAGE_BYTES:
            break
    return some


def _shortened(one: Difference) -> Difference:
    """Leave out elements that are too large."""
    before, after = (text if len(text) <= _MAX_ELEMENT_BYTES else b"" for text in (one.before, one.after))
    return replace(one, before=before, after=after)


async def _equal(one: AsyncIterator[Buffer], other: AsyncIterator[Buffer]) -> bool:
    """Compare two streams, whose pieces may have different sizes."""
    left, right = b"", b""
    while True:
        left = left or bytes(await anext(one, b""))
        right = right or bytes(await anext(other, b""))
        size = min(len(left), len(right))
        if left[:size] != right[:size] or (not size and left != right):
            return False
        if not size:
            return True
        left, right = left[size:], right[size:]
