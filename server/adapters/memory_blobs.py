"""Blobs in memory: for trying things out and for tests. Holds everything, survives nothing."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import google_crc32c

from server.model.errors import DataLoss, Reason
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import most_piece_bytes


class MemoryBlobs:
    """BlobStore (see `server.ports.blobs`) that lives as long as the object."""

    def __init__(self) -> None:
        self._blobs: dict[Locator, bytes] = {}
        self._receipts: dict[Locator, Receipt] = {}
        self._quarantined: dict[tuple[Locator, ...], datetime] = {}

    @asynccontextmanager
    async def open_write(self, size_hint: int | None = None) -> AsyncIterator["_Writer"]:
        """See the port."""
        yield _Writer(self._blobs, self._receipts)

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port: nothing outlives the process, so nothing is ever left behind."""

    async def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
    ) -> AsyncIterator[bytes]:
        """See the port."""
        blob = self._existing(locator)
        end = len(blob) if length is None else offset + length
        if end > len(blob):
            raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance are cut off.")
        while offset < end:
            piece = blob[offset : min(offset + piece_bytes(), end)]
            yield piece
            offset += len(piece)

    async def size(self, locator: Locator) -> int:
        """See the port."""
        return len(self._existing(locator))

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        blob = self._existing(locator)
        return self._receipts[locator], google_crc32c.value(blob)

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        for locator in locators:
            self._blobs.pop(locator, None)
            self._receipts.pop(locator, None)

    async def recover(self) -> AsyncIterator[list[Locator]]:
        """See the port: there is nobody to inherit from."""
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

    async def sparse(self) -> AsyncGenerator[list[Locator]]:
        """See the port: the space of each blob comes back with it."""
        for batch in list[list[Locator]]():
            yield batch

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
            raise DataLoss(Reason.BLOB_MISSING, "The bytes of the instance are missing.")
        return self._blobs[locator]


class _Writer:
    """BlobWriter (see `server.ports.blobs`)."""

    def __init__(self, blobs: dict[Locator, bytes], receipts: dict[Locator, Receipt]) -> None:
        self._blobs = blobs
        self._receipts = receipts
        self.crc32c = 0
        self._pieces: list[bytes] = []

    async def write(self, data: bytes) -> None:
        """See the port."""
        self._pieces.append(data)
        self.crc32c = google_crc32c.extend(self.crc32c, data)

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        locator = uuid.uuid4().hex
        self._blobs[locator] = b"".join(self._pieces)
        self._receipts[locator] = receipt
        return locator
