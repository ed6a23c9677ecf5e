"""Where the bytes of instances live."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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


class Relocation(Protocol):
    """What a store that moves blobs asks and tells the index. Raises: as `InstanceIndex` does."""

    async def named(self, locators: Sequence[Locator]) -> set[Locator]:
        """Return those locators that an instance names: only these are worth moving."""
        ...

    async def relocate(self, copies: Mapping[Locator, Locator]) -> int:
        """Let instances name committed copies, in one transaction; old locator → copy. Return how many do now.

        From this call on the copies are not the store's any more, whatever becomes of it: each will be settled, deleted
        or quarantined. The old blobs of instances that name copies will be deleted when no reader can be at them.
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

    async def compact(self, relocation: "Relocation") -> bool:
        """Give back the space of deleted blobs, as far as others must move for that; a limited amount of work.

        Old copies stay until they are deleted like other blobs. Returns whether there may be more to do at once. A
        store that gives back all space in `delete` has nothing to do. While one process does this, others do nothing.

        Raises: as `BlobWriter.write`, and as `relocation`.
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
        """Return how much room there is; more than any limit if there is no end to it.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...
