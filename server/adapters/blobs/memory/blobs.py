"""Blobs in memory."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

from server.adapters.blobs.checksums import Checksums, joined, without_start
from server.adapters.blobs.records import Trailer, damaged, missing, parse_trailer, piece_of, read_verified, trailer
from server.model.buffer import Buffer
from server.model.errors import Reason, Unavailable
from server.model.ids import PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import MAX_PIECE_BYTES, Derived, Relocation, SharedBytes, Tail, most_piece_bytes


class MemoryBlobs:
    """BlobStore (see `server.ports.blobs`) that lives as long as the object."""

    def __init__(self) -> None:
        self._blobs: dict[Locator, bytes] = {}
        self._trailers: dict[Locator, Trailer] = {}
        self._quarantined: dict[tuple[Locator, ...], datetime] = {}

    @property
    def is_empty(self) -> bool:
        """True if there is no blob."""
        return not self._blobs

    @asynccontextmanager
    async def open_write(
        self, size_hint: int | None = None, partition: PartitionName | None = None
    ) -> AsyncIterator["_Writer"]:
        """See the port."""
        yield _Writer(self._blobs, self._trailers)

    def adopt(self, folder: str, path: str) -> AbstractAsyncContextManager["_Writer"]:
        """See the port."""
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, "A storage in memory cannot adopt files.")

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port: blobs do not survive the process, so there is nothing to recover."""

    async def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """See the port."""
        blob, found = memoryview(self._existing(locator)), self._trailers[locator]
        left = len(blob) - offset if length is None else length
        if offset + left > len(blob) or not found.is_of(crc32c):
            raise damaged()
        while left > 0:
            size = piece_of(offset, left, piece_bytes())
            piece = read_verified(lambda size, start: blob[start : start + size], 0, found, offset, size)
            assert piece is not None, "memory reads always return data"
            yield piece
            offset += size
            left -= size

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """See the port."""
        [piece] = [piece async for piece in self.read(locator, offset, length, crc32c=crc32c)]
        return piece

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        """See the port."""

    async def read_unverified(self, locator: Locator) -> AsyncIterator[bytes]:
        """See the port."""
        blob = self._existing(locator)
        for start in range(0, len(blob), MAX_PIECE_BYTES):
            yield blob[start : start + MAX_PIECE_BYTES]

    async def size(self, locator: Locator) -> int:
        """See the port."""
        return len(self._existing(locator))

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        self._existing(locator)
        found = self._trailers[locator]
        return found.receipt, found.crc32c

    async def shared(self, locator: Locator) -> SharedBytes | None:
        """See the port: all bytes are copied."""
        return None

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        for locator in locators:
            self._blobs.pop(locator, None)
            self._trailers.pop(locator, None)

    async def recover(self) -> AsyncIterator[list[Locator]]:
        """See the port: there are no other processes."""
        for batch in list[list[Locator]]():
            yield batch

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """See the port."""
        if locators:
            self._quarantined.setdefault(tuple(sorted(locators)), now)

    async def quarantined(self, until: datetime | None = None) -> AsyncIterator[list[Locator]]:
        """See the port."""
        for locators, since in sorted(self._quarantined.items(), key=lambda note: note[1]):
            if until is None or since <= until:
                yield list(locators)

    async def release(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        self._quarantined.pop(tuple(sorted(locators)), None)

    async def compact(self, relocation: Relocation) -> bool:
        """See the port: deleting a blob frees all of its space."""
        return False

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""
        for locator, blob in list(self._blobs.items()):
            yield locator, len(blob)

    async def check(self) -> None:
        """See the port."""

    async def check_writing(self, size_bytes: int = 0) -> None:
        """See the port."""

    async def free_bytes(self) -> int:
        """See the port."""
        return 1 << 40

    def _existing(self, locator: Locator) -> bytes:
        if locator not in self._blobs:
            raise missing()
        return self._blobs[locator]


class _Writer:
    """BlobWriter (see `server.ports.blobs`)."""

    def __init__(self, blobs: dict[Locator, bytes], trailers: dict[Locator, Trailer]) -> None:
        self._blobs = blobs
        self._trailers = trailers
        self._checksums = Checksums()
        self._pieces: list[Buffer] = []

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._checksums.whole

    async def write(self, data: Buffer) -> None:
        """See the port."""
        self._pieces.append(data)
        self._checksums.update(data)

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        locator = uuid.uuid4().hex
        self._blobs[locator] = b"".join(self._pieces)
        parsed = parse_trailer(trailer(receipt, self._checksums), self._checksums.length)
        assert parsed is not None, "it is intact"
        self._trailers[locator] = parsed
        return locator

    async def commit_before(self, tail: Tail, receipt: Receipt) -> Derived:
        """See the port. Memory is copied."""
        if tail.locator not in self._blobs:
            raise missing()
        left = tail.size_bytes - tail.offset
        expected = joined(self.crc32c, without_start(tail.crc32c, tail.before_crc32c, left), left)
        await self.write(self._blobs[tail.locator][tail.offset :])
        if self.crc32c != expected:
            raise damaged()
        return Derived(await self.commit(receipt), self._checksums.length, expected)
