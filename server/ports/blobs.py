"""Where the bytes of instances live."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from server.model.buffer import Buffer
from server.model.instance import Locator
from server.model.receipt import Receipt

MOST_PIECE_BYTES = 1 << 20
"""Largest piece that may be asked for."""


def most_piece_bytes() -> int:
    """Return the size of pieces for who does not care."""
    return MOST_PIECE_BYTES


class BlobWriter(Protocol):
    """One blob in the making."""

    @property
    def crc32c(self) -> int:
        """CRC-32C of all that was written."""
        ...

    async def write(self, data: Buffer) -> None:
        """Append `data`. Returns when the store has taken it, which is the caller's back-pressure.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def commit(self, receipt: Receipt) -> Locator:
        """Make the blob durable and readable, with a receipt, and return where it is.

        When this returns, the bytes and their name survive a power cut. The blob counts as unsettled
        until `BlobStore.settle`. Committing ends the writer.

        Raises: as `write`.
        """
        ...


class BlobStore(Protocol):
    """Write-once blobs behind opaque locators.

    A blob goes through: open (invisible) → committed (durable, readable, unsettled) → settled (the index has it).
    A blob that is never committed disappears. One that is committed but not settled when its process dies is handed
    out by `recover`, so that the index can be asked about it; what it does not know is quarantined.
    Locators never derive from what a client sent and are never used twice.
    Several processes may use the same store at once.
    """

    def open_write(self, size_hint: int | None = None) -> AbstractAsyncContextManager[BlobWriter]:
        """Start a blob. Leaving the context without a commit discards it, in every case, including cancellation."""
        ...

    async def settle(self, locators: Sequence[Locator]) -> None:
        """Say that the index has committed these blobs. Unknown and already settled ones are ignored."""
        ...

    def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """Yield the bytes from `offset`, `length` of them or to the end, in pieces of at most `piece_bytes()`.

        That is asked before each piece, and says at most `MOST_PIECE_BYTES`.

        A blob that was opened for reading stays readable to its end even if it is deleted meanwhile, or fails with
        BLOB_MISSING; it never just ends.
        No piece is yielded before all its bytes are known to be those that were written. With `crc32c`, the CRC-32C
        that the caller knows of the whole blob, they are also known to be bytes of a blob that has it.

        Raises:
            DataLoss: BLOB_MISSING, before the first piece; BLOB_DAMAGED when the blob is shorter than asked for, or the
                bytes of the next piece have changed.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def read_unverified(self, locator: Locator) -> AsyncIterator[bytes]:
        """Yield all bytes as they are on the disk now, past the page cache where possible, in pieces of at most 1 MiB.

        Nothing is compared with a checksum: this is for callers that look for damage, or read what is left.

        Raises:
            DataLoss: BLOB_MISSING, before the first piece; BLOB_DAMAGED when it is cut off.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def size(self, locator: Locator) -> int:
        """Return the size in bytes.

        Raises:
            DataLoss: BLOB_MISSING; BLOB_DAMAGED when nothing tells the size any more.
        """
        ...

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """Return what was recorded with a blob, and the CRC-32C that its bytes had then.

        Raises:
            DataLoss: BLOB_MISSING; BLOB_DAMAGED when the record can't be trusted.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def delete(self, locators: Sequence[Locator]) -> None:
        """Erase these blobs for good. Unknown ones are ignored."""
        ...

    def recover(self) -> AsyncIterator[Sequence[Locator]]:
        """Sweep what dead processes left: discard blobs that were never committed, yield those not settled for sure.

        The caller settles, quarantines or deletes all of a batch before it asks for the next; to settle what was
        settled before does no harm. Never touches the work of a living process.
        """
        ...

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """Note that the index does not know these blobs. Durable when it returns; they are settled and readable then.

        That an index does not know a blob proves nothing: it may be restored from an old backup, damaged, or that of
        another archive. What is quarantined stays until `delete`. Noting the same blobs again changes nothing.

        Raises: as `BlobWriter.write`.
        """
        ...

    def quarantined(self, until: datetime | None = None) -> AsyncIterator[Sequence[Locator]]:
        """Yield the blobs that were quarantined at `until` or before, or all of them, in batches, oldest first."""
        ...

    async def release(self, locators: Sequence[Locator]) -> None:
        """End the quarantine of a batch that `quarantined` has yielded, once it is known what becomes of its blobs."""
        ...

    def sparse(self) -> AsyncGenerator[Sequence[Locator]]:
        """Yield blobs that stand in the way of giving back the space of deleted ones, in batches of a few MiB.

        Whoever stores them anew, and some time later deletes these, makes the store smaller. Those that wait to be
        erased anyway should be left alone. A blob is yielded again by a later call only if something else was deleted
        beside it, or if the call before was not read to its end. While one process reads this, others get nothing.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """Yield all committed blobs and their sizes, in no order; for audits."""
        ...

    async def check(self) -> None:
        """Prove that blobs can be read now.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def check_writing(self, size_bytes: int = 0) -> None:
        """Prove that a blob can be written and made durable now, and that there is room for one of `size_bytes`.

        Raises: as `BlobWriter.write`.
        """
        ...

    async def free_bytes(self) -> int:
        """Return how much room there is.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...
