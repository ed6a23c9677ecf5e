"""Derived blobs: their first bytes are their own, the others are the last ones of another blob, the base.

The own bytes are stored like a blob, followed by a description of the rest:

    facts      number of own bytes, offset in the base, size of the base, size of the derived blob (64-bit little-endian
               integers), CRC-32C of the base, CRC-32C of the derived blob, locator of the base
    foot       mark `DSt1`, size of the facts (u16), CRC-32C of facts, mark and size

The locator ends with `-t`. A base is never a derived blob itself: bytes that a new derived blob would share with the
own ones of another are copied. A base must not be deleted before the blobs derived from it; the index, which deletes
all versions of an instance together, guarantees that.

An adopted blob has the same form with the base `@`: its own bytes are the record of a file, which has all of its bytes
(see `adopted`). Unlike other derived blobs it may be a base.
"""

import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from cachetools import LRUCache

from server.adapters.blobs.checksums import crc32c_of, joined
from server.model.buffer import Buffer
from server.model.errors import DataLoss, Reason
from server.model.ids import PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import MAX_PIECE_BYTES, Derived, SharedBytes, Tail, most_piece_bytes

SUFFIX = "-t"
_MARK = b"DSt1"
_FACTS = struct.Struct("<QQQQII")
_FOOT = struct.Struct("<4sHI")
_MAX_DESCRIPTION_BYTES = 256
_MAX_KEPT = 10_000
_MAX_KEPT_RECORD_BYTES = 4 << 20
_IN_A_FILE = "@"


@dataclass(frozen=True, slots=True)
class Description:
    """The parts of a derived blob.

    own_bytes: number of its own bytes, which come first.
    base, base_offset, base_size, base_crc32c: the blob with the others, where they start, and its size and CRC-32C.
    size, crc32c: of the derived blob.
    """

    own_bytes: int
    base: Locator
    base_offset: int
    base_size: int
    base_crc32c: int
    size: int
    crc32c: int

    @property
    def is_adopted(self) -> bool:
        """The bytes are in a file, of which the own bytes are a record."""
        return self.base == _IN_A_FILE

    def encoded(self) -> bytes:
        """Return facts and foot."""
        numbers = (self.own_bytes, self.base_offset, self.base_size, self.size, self.base_crc32c, self.crc32c)
        facts = _FACTS.pack(*numbers) + self.base.encode("ascii")
        return facts + _FOOT.pack(_MARK, len(facts), crc32c_of(_FOOT.pack(_MARK, len(facts), 0), crc32c_of(facts)))


def _parsed(data: bytes, stored_bytes: int) -> Description:
    """Return the description at the end of `data`, the last of `stored_bytes` bytes. Raises DataLoss."""
    if len(data) >= _FOOT.size:
        mark, length, check = _FOOT.unpack(data[-_FOOT.size :])
        facts = data[-_FOOT.size - length : -_FOOT.size]
        is_valid = mark == _MARK and check == crc32c_of(_FOOT.pack(mark, length, 0), crc32c_of(facts))
        if is_valid and _FACTS.size <= len(facts) == length:
            own, offset, base_size, size, base_crc32c, crc32c = _FACTS.unpack_from(facts)
            if own + length + _FOOT.size == stored_bytes:
                base = facts[_FACTS.size :].decode("ascii")
                return Description(own, base, offset, base_size, base_crc32c, size, crc32c)
    raise DataLoss(Reason.BLOB_DAMAGED, "The record of the parts of the stored bytes has changed.")


class Parts(Protocol):
    """Access to blobs as they are stored: of derived ones, to the own bytes with the description."""

    async def read_own(self, locator: Locator, offset: int, length: int) -> Buffer:
        """Return a verified range of at most `MAX_PIECE_BYTES`."""
        ...

    async def own_size(self, locator: Locator) -> int:
        """Return the number of stored bytes."""
        ...

    async def stored_size(self, locator: Locator) -> int:
        """As `own_size`, but a missing blob may be found only when it is read."""
        ...

    async def own_receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """Return the receipt, and the CRC-32C of the stored bytes."""
        ...

    def read_own_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """As `BlobStore.read_unverified`."""
        ...

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """As `BlobStore.read_piece`."""
        ...


class Files(Protocol):
    """Files that have the bytes of adopted blobs; each by its record, see `adopted`."""

    async def read_piece(self, record: bytes, crc32c: int, offset: int, length: int) -> Buffer:
        """Return a verified range of at most `MAX_PIECE_BYTES`."""
        ...

    def read_unverified(self, record: bytes) -> AsyncGenerator[bytes]:
        """As `BlobStore.read_unverified`."""
        ...

    async def check(self, record: bytes) -> None:
        """Check that the file exists and has its size."""
        ...


class OwnWriter(Protocol):
    """A `BlobWriter` of the own bytes."""

    @property
    def crc32c(self) -> int:
        """CRC-32C of the bytes written so far."""
        ...

    @property
    def length(self) -> int:
        """Number of bytes written so far."""
        ...

    async def write(self, data: Buffer) -> None:
        """As `BlobWriter.write`."""
        ...

    async def commit(self, receipt: Receipt) -> Locator:
        """As `BlobWriter.commit`."""
        ...

    async def commit_derived(self, receipt: Receipt) -> Locator:
        """As `BlobWriter.commit`; the locator is that of a derived blob."""
        ...


def is_derived(locator: Locator) -> bool:
    """Return whether a locator is that of a derived blob."""
    return locator.endswith(SUFFIX)


class DerivedBlobs:
    """Reads and writes derived blobs; the descriptions of the last ones read are kept in memory."""

    def __init__(self, parts: Parts, files: Files) -> None:
        self._parts = parts
        self._files = files
        self._kept: LRUCache[Locator, Description] = LRUCache(_MAX_KEPT)
        self._kept_records: LRUCache[Locator, bytes] = LRUCache(_MAX_KEPT_RECORD_BYTES, getsizeof=_kept_bytes)

    async def commit(self, writer: OwnWriter, tail: Tail, receipt: Receipt) -> Derived:
        """See `BlobWriter.commit_before`."""
        base, offset, size, crc32c = tail.locator, tail.offset, tail.size_bytes, tail.crc32c
        left = size - offset
        # As the CRC is linear: that of the base without its start, appended to that of the new start.
        whole = joined(writer.crc32c ^ tail.before_crc32c, crc32c, left)
        whole_size = writer.length + left
        if is_derived(base) and not (found := await self._description(base)).is_adopted:
            while offset < found.own_bytes:
                piece = await self._parts.read_own(base, offset, min(MAX_PIECE_BYTES, found.own_bytes - offset))
                await writer.write(piece)
                offset += len(piece)
            offset += found.base_offset - found.own_bytes
            base, size, crc32c = found.base, found.base_size, found.base_crc32c  # it exists as long as that blob does
        elif size:
            await self._parts.own_receipt(base)  # it exists
        description = Description(writer.length, base, offset, size, crc32c, whole_size, whole)
        await writer.write(description.encoded())
        locator = await writer.commit_derived(receipt)
        self._kept[locator] = description
        return Derived(locator, whole_size, whole)

    async def commit_adopted(self, writer: OwnWriter, size: int, crc32c: int, receipt: Receipt) -> Locator:
        """Commit a blob whose bytes are in a file with this size and CRC-32C; its record has been written."""
        description = Description(writer.length, _IN_A_FILE, 0, size, crc32c, size, crc32c)
        await writer.write(description.encoded())
        return await writer.commit_derived(receipt)

    async def copy(
        self,
        locator: Locator,
        open_write: Callable[[int, PartitionName], AbstractAsyncContextManager[OwnWriter]],
        base: Locator | None = None,
    ) -> Locator:
        """Copy a blob as it is stored, of a derived one only its own bytes. Its receipt is copied, too.

        base: a copy of the base of a derived blob, to which the copy refers.
        """
        receipt, _ = await self._parts.own_receipt(locator)
        size, description = await self._parts.stored_size(locator), b""
        if base is not None:
            found = await self._description(locator)
            size, description = found.own_bytes, replace(found, base=base).encoded()
        async with open_write(size + len(description), receipt.partition) as writer:
            for start in range(0, size, MAX_PIECE_BYTES):
                await writer.write(await self._parts.read_own(locator, start, min(MAX_PIECE_BYTES, size - start)))
            if description:
                await writer.write(description)
            return await (writer.commit_derived if is_derived(locator) else writer.commit)(receipt)

    async def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncGenerator[Buffer]:
        """See `BlobStore.read`."""
        found = await self._of(locator, crc32c)
        left = found.size - offset if length is None else length
        if offset + left > found.size:
            raise _damaged()
        while left > 0:
            size = min(left, piece_bytes())
            yield await self._piece(locator, found, offset, size)
            offset += size
            left -= size

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """See `BlobStore.read_piece`."""
        found = await self._of(locator, crc32c)
        if offset + length > found.size:
            raise _damaged()
        return await self._piece(locator, found, offset, length)

    async def _piece(self, locator: Locator, found: Description, offset: int, size: int) -> Buffer:
        if found.is_adopted:
            return await self._files.read_piece(await self._record(locator, found), found.crc32c, offset, size)
        own = min(size, found.own_bytes - offset)
        if own == size:
            return await self._parts.read_own(locator, offset, size)
        own = max(own, 0)
        at = found.base_offset + offset + own - found.own_bytes
        shared = await self._parts.read_piece(found.base, at, size - own, found.base_crc32c)
        return b"".join((await self._parts.read_own(locator, offset, own), shared)) if own else shared

    async def read_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """See `BlobStore.read_unverified`."""
        found = await self._description(locator)
        if found.is_adopted:
            async with aclosing(self._files.read_unverified(await self._record(locator, found))) as pieces:
                async for piece in pieces:
                    yield piece
            return
        is_of_a_file = is_derived(found.base)
        base = self.read_unverified(found.base) if is_of_a_file else self._parts.read_own_unverified(found.base)
        for pieces, start, stop in (
            (self._parts.read_own_unverified(locator), 0, found.own_bytes),
            (base, found.base_offset, found.base_size),
        ):
            at = 0
            async with aclosing(pieces):
                async for piece in pieces:
                    if kept := piece[max(0, start - at) : max(0, stop - at)]:
                        yield kept
                    at += len(piece)
                    if at >= stop:
                        break

    async def shared(self, locator: Locator) -> SharedBytes | None:
        """See `BlobStore.shared`."""
        if not is_derived(locator):
            return None
        found = await self._description(locator)
        if found.is_adopted:
            return None
        return SharedBytes(found.own_bytes, found.base, found.base_size, found.base_crc32c, found.base_offset)

    async def size(self, locator: Locator) -> int:
        """See `BlobStore.size`."""
        found = await self._description(locator)
        if found.is_adopted:
            await self._files.check(await self._record(locator, found))
        elif is_derived(found.base):
            await self.size(found.base)
        else:
            await self._parts.own_size(found.base)
        return found.size

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See `BlobStore.receipt`."""
        receipt, _ = await self._parts.own_receipt(locator)
        return receipt, (await self._description(locator)).crc32c

    async def _of(self, locator: Locator, crc32c: int | None) -> Description:
        found = await self._description(locator)
        if crc32c is not None and crc32c != found.crc32c:
            raise _damaged()
        return found

    async def _record(self, locator: Locator, found: Description) -> bytes:
        """Return the record of the file of an adopted blob."""
        record: bytes | None = self._kept_records.get(locator)
        if record is None:
            pieces = []
            for start in range(0, found.own_bytes, MAX_PIECE_BYTES):
                size = min(MAX_PIECE_BYTES, found.own_bytes - start)
                pieces.append(await self._parts.read_own(locator, start, size))
            record = b"".join(pieces)
            self._kept_records[locator] = record
        return record

    async def _description(self, locator: Locator) -> Description:
        found: Description | None = self._kept.get(locator)
        if found is None:
            stored_bytes = await self._parts.stored_size(locator)
            length = min(stored_bytes, _MAX_DESCRIPTION_BYTES)
            found = _parsed(bytes(await self._parts.read_own(locator, stored_bytes - length, length)), stored_bytes)
            self._kept[locator] = found
        return found


def _damaged() -> DataLoss:
    return DataLoss(Reason.BLOB_DAMAGED, "The stored bytes of the instance are truncated or have changed.")


def _kept_bytes(record: bytes) -> int:
    """Return the cost of a record in the cache, which always holds one of any size."""
    return min(len(record) + 200, _MAX_KEPT_RECORD_BYTES)
