"""The blob store, which holds the bytes of instances."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server.model.buffer import Buffer
from server.model.ids import PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt

MAX_PIECE_BYTES = 1 << 20
"""Largest piece, in bytes."""


def most_piece_bytes() -> int:
    """Return the default size of pieces in bytes."""
    return MAX_PIECE_BYTES


@dataclass(frozen=True, slots=True)
class Tail:
    """The bytes of a committed blob from an offset to its end.

    locator, size_bytes, crc32c: of that blob.
    offset: at which the bytes start.
    before_crc32c: CRC-32C of the bytes before the offset.
    """

    locator: Locator
    size_bytes: int
    crc32c: int
    offset: int
    before_crc32c: int


@dataclass(frozen=True, slots=True)
class Derived:
    """A committed blob that shares bytes with another one."""

    locator: Locator
    size_bytes: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class SharedBytes:
    """How a blob shares bytes with another one, its base: after its own bytes follow those of the base from an offset.

    own_bytes: number of its own bytes.
    base, base_bytes, base_crc32c: the base, its size and its CRC-32C. The base shares no bytes of another blob.
    offset: in the base.
    """

    own_bytes: int
    base: Locator
    base_bytes: int
    base_crc32c: int
    offset: int


class BlobWriter(Protocol):
    """A blob that is being written."""

    @property
    def crc32c(self) -> int:
        """CRC-32C of the bytes written so far."""
        ...

    async def write(self, data: Buffer) -> None:
        """Append `data`. Returns when the store has taken it, which is back-pressure for the caller.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def commit(self, receipt: Receipt) -> Locator:
        """Make the blob durable and readable, with a receipt, and return its locator.

        When this returns, the bytes and their name survive a power cut. The blob counts as unsettled
        until `BlobStore.settle`. Committing ends the writer.

        Raises: as `write`.
        """
        ...

    async def commit_before(self, tail: Tail, receipt: Receipt) -> Derived:
        """As `commit`: the blob consists of the written bytes and those of the tail, which are not copied.

        The blob of the tail must not be deleted before the new one.

        Raises: as `write`; and as `BlobStore.size`, of the blob of the tail.
        """
        ...


class Relocation(Protocol):
    """Index operations for a blob store that moves blobs. Raises: as `InstanceIndex`."""

    async def instances(self, locators: Sequence[Locator]) -> Sequence[Sequence[Locator]]:
        """Return the instances that have these blobs: of each all blobs in this store, those of earlier versions first.

        Deleted instances are among them until their erasure begins.
        """
        ...

    async def relocate(self, moves: Sequence[Mapping[Locator, Locator]]) -> int:
        """Refer instances to committed copies, in one transaction. Return the number of blobs that were moved.

        An instance that has other blobs than `moves` says is not moved, nor is one that is being changed or deleted.
        From this call on the caller no longer owns the copies, whatever its outcome: each is settled, deleted or
        quarantined. The old blobs are deleted when no reader can use them any more.

        Args:
            moves: of each instance all blobs in this store; old locator → copy, or the same locator for a blob that
                stays. Blobs that share bytes must be moved together, or stay.
        """
        ...


class BlobStore(Protocol):
    """Write-once blobs behind opaque locators.

    States of a blob: open (invisible) → committed (durable, readable, unsettled) → settled (the index has it).
    A blob that is never committed disappears. One that is committed but not settled when its process ends is handed
    out by `recover`, so that the index can be asked about it; one that the index does not know is quarantined.
    Locators never derive from what a client sent and are never used twice.
    Several processes may use the same store at once.
    """

    def open_write(
        self, size_hint: int | None = None, partition: PartitionName | None = None
    ) -> AbstractAsyncContextManager[BlobWriter]:
        """Start a blob. Leaving the context without a commit discards it, even on cancellation.

        size_hint: expected size in bytes.
        partition: that of the receipt, for stores that keep partitions in different places.
        """
        ...

    def adopt(self, folder: str, path: str) -> AbstractAsyncContextManager[BlobWriter]:
        """Start a blob whose bytes stay in a file of an adopted folder.

        The writer must get the bytes of the file, of which it keeps checksums. Deleting the blob does not delete the
        file. Reading it raises, in addition to what `read` states:
            DataLoss: BLOB_MISSING, the file does not exist; BLOB_DAMAGED, it was changed or truncated.
            Unavailable: STORAGE_UNAVAILABLE, the folder is not configured, does not exist, or is empty.

        Args:
            folder: its name in the settings.
            path: of the file, below the folder.
        """
        ...

    async def settle(self, locators: Sequence[Locator]) -> None:
        """Record that the index has committed these blobs. Unknown and already settled ones are ignored."""
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

        `piece_bytes` is called before each piece and returns at most `MAX_PIECE_BYTES`.

        A blob that is deleted while it is read stays readable to its end, or the read fails with BLOB_MISSING; it never
        ends early without an error.
        No piece is yielded before all its bytes are verified to be those that were written. With `crc32c`, the CRC-32C
        of the whole blob, they are also verified to belong to a blob that has it. Pieces of equal ranges of two blobs
        have equal sizes.

        Raises:
            DataLoss: BLOB_MISSING, before the first piece; BLOB_DAMAGED when the blob is shorter than requested, or the
                bytes of the next piece have changed.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """Return `length` bytes from `offset`, from 1 to `MAX_PIECE_BYTES` of them: what `read` yields as one piece.

        Most reads are of one piece, and this costs less. `crc32c` is that of the whole blob.

        Raises: as `read`.
        """
        ...

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        """Prepare for reading these blobs soon, in this order. A hint, which never fails; local stores ignore it.

        following: blobs that are read after these. The store may prepare some of them, too, if that costs no request of
            its own; they are announced again later.
        """
        ...

    def read_unverified(self, locator: Locator) -> AsyncIterator[bytes]:
        """Yield all bytes as they are stored now, bypassing caches where possible, in pieces of at most 1 MiB.

        No checksum is compared: this is for callers that look for damage, or recover what is left.

        Raises:
            DataLoss: BLOB_MISSING, before the first piece; BLOB_DAMAGED when it is truncated.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def size(self, locator: Locator) -> int:
        """Return the size in bytes.

        Raises:
            DataLoss: BLOB_MISSING; BLOB_DAMAGED when the size can't be determined any more.
        """
        ...

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """Return the receipt of a blob, and the CRC-32C that its bytes had when it was committed.

        Raises:
            DataLoss: BLOB_MISSING; BLOB_DAMAGED when the record of these is damaged.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def shared(self, locator: Locator) -> SharedBytes | None:
        """Return which bytes a blob shares with another one; None if it shares none.

        Raises:
            DataLoss: BLOB_MISSING, BLOB_DAMAGED; a blob that shares none need not be examined.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def delete(self, locators: Sequence[Locator]) -> None:
        """Erase these blobs. Unknown ones are ignored."""
        ...

    def recover(self) -> AsyncIterator[Sequence[Locator]]:
        """Clean up after ended processes: discard uncommitted blobs, yield committed ones that may be unsettled.

        The caller settles, quarantines or deletes all of a batch before it asks for the next; blobs that are settled
        already may be among them. Never touches blobs of a running process.
        """
        ...

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """Record durably that the index does not know these blobs. They are settled then and stay readable.

        A blob may be unknown because the index was restored from an old backup, is damaged, or belongs to another
        archive. A quarantined blob stays until `delete`. Quarantining the same blobs again changes nothing.

        Raises: as `BlobWriter.write`.
        """
        ...

    def quarantined(self, until: datetime | None = None) -> AsyncIterator[Sequence[Locator]]:
        """Yield the blobs that were quarantined at `until` or before, or all of them, in batches, oldest first."""
        ...

    async def release(self, locators: Sequence[Locator]) -> None:
        """Remove the record of a batch that `quarantined` has yielded, after deciding about its blobs."""
        ...

    async def compact(self, relocation: "Relocation") -> bool:
        """Free the space of deleted blobs by moving others; a limited amount of work per call.

        Old copies remain until they are deleted like other blobs. Returns True if there may be more to do. A store that
        frees all space in `delete` has nothing to do. One process does this at a time.

        Raises: as `BlobWriter.write`, and as `relocation`.
        """
        ...

    def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """Yield all committed blobs and their sizes, in no order; for audits. Bytes that blobs share count once."""
        ...

    async def check(self) -> None:
        """Check that blobs can be read now.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def check_writing(self, size_bytes: int = 0) -> None:
        """Check that a blob can be written and made durable now, and that there is space for one of `size_bytes`.

        Raises: as `BlobWriter.write`.
        """
        ...

    async def free_bytes(self) -> int:
        """Return the free space in bytes; a store without a limit returns more than any limit in the settings.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...
