"""The blobs of several stores. The store of a blob follows from its locator (see `server.model.store_id`)."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from typing import Any

from server.adapters.blobs.checksums import joined, without_start
from server.adapters.blobs.records import damaged
from server.model.buffer import Buffer
from server.model.ids import PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.model.store_id import StoreId, store_of
from server.ports.blobs import BlobStore, BlobWriter, Derived, Relocation, SharedBytes, Tail, most_piece_bytes


class StoreSetBlobs:
    """BlobStore (see `server.ports.blobs`): new blobs are written to the primary store.

    Blobs of a store that is not in the set are missing. No blob shares bytes with one of another store, so that each
    store can be emptied.

    Args:
        primary: id of the primary store.
        stores: all stores, by id.
    """

    def __init__(self, primary: StoreId, stores: Mapping[StoreId, BlobStore]) -> None:
        self._primary_id = primary
        self._primary = stores[primary]
        self._stores = dict(stores)

    def _of(self, locator: Locator) -> BlobStore:
        """Return the store of a locator; for one of an unknown store the primary, which does not have it either."""
        return self._stores.get(store_of(locator), self._primary)

    def _by_store(self, locators: Iterable[Locator]) -> Iterable[tuple[BlobStore, list[Locator]]]:
        groups: dict[StoreId, list[Locator]] = {}
        for locator in locators:
            groups.setdefault(store_of(locator), []).append(locator)
        return [(self._of(some[0]), some) for some in groups.values()]

    # Writing

    @asynccontextmanager
    async def open_write(
        self, size_hint: int | None = None, partition: PartitionName | None = None
    ) -> AsyncIterator["_Writer"]:
        """See the port."""
        async with self._primary.open_write(size_hint, partition) as writer:
            yield _Writer(writer, self._is_in_primary, self.read)

    def adopt(self, folder: str, path: str) -> AbstractAsyncContextManager[BlobWriter]:
        """See the port."""
        return self._primary.adopt(folder, path)

    def _is_in_primary(self, locator: Locator) -> bool:
        return store_of(locator) == self._primary_id

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        for store, some in self._by_store(locators):
            await store.settle(some)

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        for store, some in self._by_store(locators):
            await store.delete(some)

    # Reading

    def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """See the port."""
        return self._of(locator).read(locator, offset, length, piece_bytes, crc32c)

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """See the port."""
        return await self._of(locator).read_piece(locator, offset, length, crc32c)

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        """See the port."""
        for store, some in self._by_store(locators):
            store.read_ahead(some, [locator for locator in following if self._of(locator) is store])

    def read_unverified(self, locator: Locator) -> AsyncIterator[bytes]:
        """See the port."""
        return self._of(locator).read_unverified(locator)

    async def size(self, locator: Locator) -> int:
        """See the port."""
        return await self._of(locator).size(locator)

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        return await self._of(locator).receipt(locator)

    async def shared(self, locator: Locator) -> SharedBytes | None:
        """See the port."""
        return await self._of(locator).shared(locator)

    # Maintenance

    async def recover(self) -> AsyncIterator[Sequence[Locator]]:
        """See the port."""
        for store in list(self._stores.values()):
            async for batch in store.recover():
                yield batch

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """See the port."""
        for store, some in self._by_store(locators):
            await store.quarantine(some, now)

    async def quarantined(self, until: datetime | None = None) -> AsyncIterator[Sequence[Locator]]:
        """See the port. The batches of each store are in order of time."""
        for store in list(self._stores.values()):
            async for batch in store.quarantined(until):
                yield batch

    async def release(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        for store, some in self._by_store(locators):
            await store.release(some)

    async def compact(self, relocation: Relocation) -> bool:
        """See the port: in the primary store. Others are to become empty."""
        return await self._primary.compact(relocation)

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""
        for store in list(self._stores.values()):
            async for found in store.walk():
                yield found

    async def check(self) -> None:
        """See the port."""
        for store in list(self._stores.values()):
            await store.check()

    async def check_writing(self, size_bytes: int = 0) -> None:
        """See the port."""
        await self._primary.check_writing(size_bytes)

    async def free_bytes(self) -> int:
        """See the port: of the primary store."""
        return await self._primary.free_bytes()


class _Writer:
    """BlobWriter (see `server.ports.blobs`)."""

    def __init__(
        self,
        writer: BlobWriter,
        is_in_primary: Callable[[Locator], bool],
        read: Callable[..., Any],
    ) -> None:
        self._writer = writer
        self._is_in_primary = is_in_primary
        self._read = read
        self._length = 0
        self.commit = writer.commit

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._writer.crc32c

    async def write(self, data: Buffer) -> None:
        """See the port."""
        await self._writer.write(data)
        self._length += len(data)

    async def commit_before(self, tail: Tail, receipt: Receipt) -> Derived:
        """See the port. The tail of a blob in another store is copied."""
        if self._is_in_primary(tail.locator):
            return await self._writer.commit_before(tail, receipt)
        left = tail.size_bytes - tail.offset
        expected = joined(self.crc32c, without_start(tail.crc32c, tail.before_crc32c, left), left)
        async with aclosing(self._read(tail.locator, tail.offset, left, crc32c=tail.crc32c)) as pieces:
            async for piece in pieces:
                await self.write(piece)
        if self.crc32c != expected:
            raise damaged()
        return Derived(await self._writer.commit(receipt), self._length, expected)
