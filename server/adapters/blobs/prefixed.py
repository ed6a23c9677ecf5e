"""Blobs of a store with an id: its locators are those of another adapter, with the id before them."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from server.model.buffer import Buffer
from server.model.ids import PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.model.store_id import StoreId, prefix_of
from server.ports.blobs import BlobStore, BlobWriter, Derived, Relocation, SharedBytes, Tail, most_piece_bytes

_OF_NO_BLOB = "@/"
"""Before a locator of another store it makes one that no adapter has assigned."""


class PrefixedBlobs:
    """BlobStore (see `server.ports.blobs`).

    Args:
        blobs: with locators of its own.
        store: the id of the store.
    """

    def __init__(self, blobs: BlobStore, store: StoreId) -> None:
        self._blobs = blobs
        self._names = _Names(store)

    @asynccontextmanager
    async def open_write(
        self, size_hint: int | None = None, partition: PartitionName | None = None
    ) -> AsyncIterator["_Writer"]:
        """See the port."""
        async with self._blobs.open_write(size_hint, partition) as writer:
            yield _Writer(writer, self._names)

    @asynccontextmanager
    async def adopt(self, folder: str, path: str) -> AsyncIterator["_Writer"]:
        """See the port."""
        async with self._blobs.adopt(folder, path) as writer:
            yield _Writer(writer, self._names)

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._blobs.settle(self._names.all_within(locators))

    def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """See the port."""
        return self._blobs.read(self._names.within(locator), offset, length, piece_bytes, crc32c)

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """See the port."""
        return await self._blobs.read_piece(self._names.within(locator), offset, length, crc32c)

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        """See the port."""
        self._blobs.read_ahead(self._names.all_within(locators), self._names.all_within(following))

    def read_unverified(self, locator: Locator) -> AsyncIterator[bytes]:
        """See the port."""
        return self._blobs.read_unverified(self._names.within(locator))

    async def size(self, locator: Locator) -> int:
        """See the port."""
        return await self._blobs.size(self._names.within(locator))

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        return await self._blobs.receipt(self._names.within(locator))

    async def shared(self, locator: Locator) -> SharedBytes | None:
        """See the port."""
        found = await self._blobs.shared(self._names.within(locator))
        return None if found is None else replace(found, base=self._names.outside(found.base))

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._blobs.delete(self._names.all_within(locators))

    async def recover(self) -> AsyncIterator[list[Locator]]:
        """See the port."""
        async for batch in self._blobs.recover():
            yield self._names.all_outside(batch)

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """See the port."""
        await self._blobs.quarantine(self._names.all_within(locators), now)

    async def quarantined(self, until: datetime | None = None) -> AsyncIterator[list[Locator]]:
        """See the port."""
        async for batch in self._blobs.quarantined(until):
            yield self._names.all_outside(batch)

    async def release(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._blobs.release(self._names.all_within(locators))

    async def compact(self, relocation: Relocation) -> bool:
        """See the port."""
        return await self._blobs.compact(_Relocation(relocation, self._names))

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""
        async for locator, size in self._blobs.walk():
            yield self._names.outside(locator), size

    async def check(self) -> None:
        """See the port."""
        await self._blobs.check()

    async def check_writing(self, size_bytes: int = 0) -> None:
        """See the port."""
        await self._blobs.check_writing(size_bytes)

    async def free_bytes(self) -> int:
        """See the port."""
        return await self._blobs.free_bytes()


class _Names:
    """Translates between locators with the id and those of the adapter within."""

    def __init__(self, store: StoreId) -> None:
        self._prefix = prefix_of(store)

    def within(self, locator: Locator) -> Locator:
        """Return the adapter's locator; for a blob of another store, one that does not exist."""
        start = len(self._prefix)
        return locator[start:] if locator.startswith(self._prefix) else _OF_NO_BLOB + locator

    def outside(self, locator: Locator) -> Locator:
        """Return the locator with the id."""
        return self._prefix + locator

    def all_within(self, locators: Iterable[Locator]) -> list[Locator]:
        return [self.within(locator) for locator in locators]

    def all_outside(self, locators: Iterable[Locator]) -> list[Locator]:
        return [self.outside(locator) for locator in locators]


class _Writer:
    """BlobWriter (see `server.ports.blobs`)."""

    def __init__(self, writer: BlobWriter, names: _Names) -> None:
        self._writer = writer
        self._names = names
        self.write = writer.write

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._writer.crc32c

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        return self._names.outside(await self._writer.commit(receipt))

    async def commit_before(self, tail: Tail, receipt: Receipt) -> Derived:
        """See the port."""
        derived = await self._writer.commit_before(replace(tail, locator=self._names.within(tail.locator)), receipt)
        return replace(derived, locator=self._names.outside(derived.locator))


class _Relocation:
    """Relocation (see `server.ports.blobs`) for the adapter within."""

    def __init__(self, relocation: Relocation, names: _Names) -> None:
        self._relocation = relocation
        self._names = names

    async def instances(self, locators: Sequence[Locator]) -> list[list[Locator]]:
        """See the port."""
        found = await self._relocation.instances(self._names.all_outside(locators))
        return [self._names.all_within(one) for one in found]

    async def relocate(self, moves: Sequence[Mapping[Locator, Locator]]) -> int:
        """See the port."""
        outside = self._names.outside
        return await self._relocation.relocate(
            [{outside(old): outside(new) for old, new in one.items()} for one in moves]
        )
